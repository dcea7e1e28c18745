"""A few real digits."""

from __future__ import annotations

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
