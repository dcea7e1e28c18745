"""The faults of labelled digits that counting shows, the worst first."""

from __future__ import annotations

import numpy as np

from digitcli.data.dataset import Dataset, Digits, concatenate
from digitcli.data.faults import worst_fault
from digitcli.data.mnist import load_mnist, load_mnist_test


def test_mnist_has_no_faults() -> None:
    assert worst_fault(load_mnist()) is None


def test_equal_images_with_different_labels_are_the_worst() -> None:
    digits = load_mnist_test()
    some = digits.take(np.arange(500))
    changed = Digits(some.images[:2], (some.labels[:2] + 1) % 10)
    dataset = Dataset("mine", concatenate(some, changed), test=some)
    assert worst_fault(dataset) == "Distinct training images that occur with different labels: 2."


def test_test_images_that_are_training_images_come_next() -> None:
    digits = load_mnist_test()
    train = digits.take(np.flatnonzero(digits.labels[:500] != 7))
    dataset = Dataset("mine", train, test=digits.take(np.arange(490, 600)))
    copies = int((digits.labels[490:500] != 7).sum())
    assert worst_fault(dataset) == f"{copies} of 110 test images are training images too."


def test_digits_that_are_missing_or_rare_are_named() -> None:
    digits = load_mnist_test()
    sevens = np.flatnonzero(digits.labels[:2000] == 7)
    others = np.flatnonzero(digits.labels[:2000] != 7)
    assert worst_fault(Dataset("mine", digits.take(others))) == "Digits that do not occur: 7."
    rare = worst_fault(Dataset("mine", digits.take(np.concatenate([others, sevens[:3]]))))
    assert rare is not None and rare.startswith("The digit 7 occurs 3 times, ")
    assert worst_fault(Dataset("mine", digits.take(np.arange(2000)))) is None
