"""Comparisons of labelled digits, and writers for the file formats of digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from digitcli.data.dataset import Digits


def are_equal(actual: Digits | None, expected: Digits) -> bool:
    """Return whether there are digits, with the expected images and labels."""
    return (
        actual is not None
        and np.array_equal(actual.images, expected.images)
        and np.array_equal(actual.labels, expected.labels)
    )


def as_idx(array: np.ndarray) -> bytes:
    """Return the bytes of an IDX file of an array of integers below 256."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, stem: str, digits: Digits) -> None:
    """Write two IDX files whose names begin with `stem`, for example `train` or `emnist-digits-test`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}-images-idx3-ubyte").write_bytes(as_idx(digits.images))
    (folder / f"{stem}-labels-idx1-ubyte").write_bytes(as_idx(digits.labels))


def as_csv(digits: Digits, *, header: bool = True) -> str:
    """Return the text of a CSV table like Kaggle's, with or without a header."""
    table = np.column_stack([digits.labels, digits.images.reshape(len(digits), -1)]).tolist()
    names = ["label", *(f"pixel{index}" for index in range(784))]
    return "".join(",".join(map(str, row)) + "\n" for row in ([names] if header else []) + table)
