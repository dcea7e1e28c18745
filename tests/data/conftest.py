"""Real digits, a few of each, and the forms that tests write them in."""

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
    """One of each."""
    return digits.take(np.arange(0, 40, 4))


@pytest.fixture(scope="session")
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """The IDX file of an array of small numbers."""

    def as_idx(array: np.ndarray) -> bytes:
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        return header + array.astype(np.uint8).tobytes()

    return as_idx


@pytest.fixture
def write_idx(idx_bytes: Callable[[np.ndarray], bytes]) -> Callable[[Path, str, Digits], None]:
    """Write the two IDX files whose names begin with `stem`, as in `train` or `emnist-digits-test`."""

    def write(folder: Path, stem: str, digits: Digits) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(digits.images))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(digits.labels))

    return write


@pytest.fixture(scope="session")
def csv_text() -> Callable[..., str]:
    """Kaggle's table, with or without its header."""

    def as_csv(digits: Digits, *, header: bool = True) -> str:
        table = np.column_stack([digits.labels, digits.images.reshape(len(digits), -1)]).tolist()
        names = ["label", *(f"pixel{index}" for index in range(784))]
        return "".join(",".join(map(str, row)) + "\n" for row in ([names] if header else []) + table)

    return as_csv
