"""A few real digits, and writers for the file formats of digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist_test


@pytest.fixture(scope="session")
def digits() -> Digits:
    """Forty digits of MNIST, four of each, in order of the digit."""
    mnist = load_mnist_test()
    return mnist.take(np.concatenate([np.flatnonzero(mnist.labels == digit)[:4] for digit in range(10)]))


@pytest.fixture(scope="session")
def few_digits(digits: Digits) -> Digits:
    """Ten digits, one of each."""
    return digits.take(np.arange(0, 40, 4))


@pytest.fixture(scope="session")
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """Return the bytes of an IDX file of an array of integers below 256."""

    def as_idx(array: np.ndarray) -> bytes:
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        return header + array.astype(np.uint8).tobytes()

    return as_idx


@pytest.fixture
def write_idx(idx_bytes: Callable[[np.ndarray], bytes]) -> Callable[[Path, str, Digits], None]:
    """Write two IDX files whose names begin with `stem`, for example `train` or `emnist-digits-test`."""

    def write(folder: Path, stem: str, digits: Digits) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(digits.images))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(digits.labels))

    return write


@pytest.fixture(scope="session")
def csv_text() -> Callable[..., str]:
    """Return the text of a CSV table like Kaggle's, with or without a header."""

    def as_csv(digits: Digits, *, header: bool = True) -> str:
        table = np.column_stack([digits.labels, digits.images.reshape(len(digits), -1)]).tolist()
        names = ["label", *(f"pixel{index}" for index in range(784))]
        return "".join(",".join(map(str, row)) + "\n" for row in ([names] if header else []) + table)

    return as_csv
