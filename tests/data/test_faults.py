"""The faults of labelled digits that counting shows, the worst first."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Digits, concatenate, worst_fault
from digitcli.data.mnist import load_mnist, load_mnist_test


@pytest.fixture(scope="module")
def some() -> Digits:
    """The first 2,000 test digits of MNIST."""
    return load_mnist_test().take(np.arange(2000))


def test_mnist_has_no_faults() -> None:
    mnist = load_mnist()
    assert worst_fault(mnist.train, mnist.test) is None


def test_missing_and_rare_digits_come_first(some: Digits) -> None:
    sevens, others = np.flatnonzero(some.labels == 7), np.flatnonzero(some.labels != 7)
    assert worst_fault(some.take(others), some) == "Digits that do not occur: 7."
    rare = worst_fault(some.take(np.concatenate([others, sevens[:3]])), some)
    assert rare is not None and rare.startswith("The digit 7 occurs 3 times, ")


def test_equal_images_with_different_labels_come_next(some: Digits) -> None:
    changed = Digits(some.images[:2], (some.labels[:2] + 1) % 10)
    fault = worst_fault(concatenate(some, changed), some)
    assert fault == "Distinct training images that occur with different labels: 2."


def test_test_images_that_are_training_images_come_last(some: Digits) -> None:
    train, test = some.take(np.arange(1500)), some.take(np.arange(1490, 1600))
    assert worst_fault(train, test) == "10 of 110 test images are training images too."
    assert worst_fault(train, None) is None
