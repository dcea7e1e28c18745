"""Labelled digits: their digest, the parts that every run holds out, and the faults that counting shows."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import (
    SPLIT_SEED,
    Dataset,
    Digits,
    Failure,
    concatenate,
    describe_failures,
    split,
    worst_fault,
)
from digitcli.data.mnist import load_mnist, load_mnist_test
from digitcli.errors import InputError


def numbered_digits(count: int) -> Digits:
    """Return digits of which no two are equal: the first four pixels hold the number of each."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, :4] = np.arange(count, dtype="<u4").view(np.uint8).reshape(-1, 4)
    return Digits(images, np.arange(count) % 10)


def numbers_of(digits: Digits) -> list[int]:
    """Return the numbers that `numbered_digits` gave to these digits."""
    numbers: list[int] = np.ascontiguousarray(digits.images[:, 0, :4]).view("<u4").ravel().tolist()
    return numbers


def test_the_digest_depends_on_images_labels_and_parts_only() -> None:
    digits, test = numbered_digits(12), numbered_digits(3)
    digest = Dataset("a", digits, test).digest
    other_layout = Digits(np.asfortranarray(digits.images), digits.labels.astype(">i8"))
    failures = (Failure("x.png", "corrupt", "It is damaged."),)
    assert Dataset("b", other_layout, test, failures).digest == digest
    changed = Digits(digits.images, digits.labels[::-1].copy())
    others = [Dataset("a", changed, test), Dataset("a", digits), Dataset("a", test, digits)]
    assert len({digest, *(dataset.digest for dataset in others)}) == 4


def test_a_twelfth_is_held_out_for_validation_and_a_seventh_for_testing() -> None:
    test = numbered_digits(12)
    for count, has_test, sizes in (
        (840, True, (770, 70, 12)),
        (840, False, (660, 60, 120)),
        (70_000, True, (65_000, 5_000, 12)),
    ):
        digits = numbered_digits(count)
        splits, again = (split(Dataset(name, digits, test if has_test else None)) for name in "ab")
        assert (len(splits.train), len(splits.validation), len(splits.test)) == sizes
        assert (splits.test is test) == has_test
        parts = [numbers_of(part) for part in (splits.train, splits.validation, splits.test)]
        kept = parts[:2] if has_test else parts
        assert sorted(number for part in kept for number in part) == list(range(count))
        assert all(part == sorted(part) for part in parts)
        assert all(part != list(range(part[0], part[0] + len(part))) for part in kept)  # drawn at random
        assert parts == [numbers_of(part) for part in (again.train, again.validation, again.test)]


def test_too_few_digits_are_an_input_error_that_names_the_dataset() -> None:
    for count, has_test in ((0, True), (5, True), (1, False), (3, False)):
        test = numbered_digits(3) if has_test else None
        with pytest.raises(InputError, match=r"few\.npz has \d training digits?,") as caught:
            split(Dataset("few.npz", numbered_digits(count), test))
        assert caught.value.remedy


def test_three_failures_are_named_and_the_others_counted() -> None:
    failures = tuple(Failure(f"{number}.png", "empty_file", "It is empty.") for number in range(4))
    assert describe_failures(failures[:1]) == "0.png: It is empty."
    text = describe_failures(failures)
    assert text.endswith("; and 1 more") and text.count("It is empty.") == 3


def test_every_class_keeps_a_training_digit() -> None:
    test = numbered_digits(20)
    for count in (20, 50):
        for dataset in (Dataset("few", numbered_digits(count)), Dataset("few", numbered_digits(count), test)):
            splits = split(dataset)
            assert set(splits.train.labels) == set(range(10)) and splits.holds_validation_out
            assert numbers_of(splits.validation)
            assert not set(numbers_of(splits.train)) & set(numbers_of(splits.validation))
    splits = split(Dataset("few", numbered_digits(10), test))
    assert numbers_of(splits.train) == numbers_of(splits.validation) == list(range(10))
    assert not splits.holds_validation_out
    with pytest.raises(InputError, match="one digit of each class") as caught:
        split(Dataset("few", numbered_digits(10)))
    assert "test digits" in caught.value.remedy
    first_held_out = int(np.random.default_rng(SPLIT_SEED).permutation(300)[0])
    labels = np.where(np.arange(300) == first_held_out, 3, 5)
    rare = Dataset("rare", Digits(numbered_digits(300).images, labels), numbered_digits(3))
    train = split(rare).train
    assert first_held_out in numbers_of(train) and len(train) == 275  # another one is held out in its place


def test_the_worst_fault_is_a_missing_digit_then_a_contradiction_then_a_copy() -> None:
    mnist, some = load_mnist(), load_mnist_test().take(np.arange(2000))
    assert worst_fault(mnist.train, mnist.test) is None
    sevens, others = np.flatnonzero(some.labels == 7), np.flatnonzero(some.labels != 7)
    assert worst_fault(some.take(others), some) == "Digits that do not occur: 7."
    rare = worst_fault(some.take(np.concatenate([others, sevens[:3]])), some)
    assert rare is not None and rare.startswith("The digit 7 occurs 3 times, ")
    changed = Digits(some.images[:2], (some.labels[:2] + 1) % 10)
    fault = worst_fault(concatenate(some, changed), some)
    assert fault == "Distinct training images that occur with different labels: 2."
    train, test = some.take(np.arange(1500)), some.take(np.arange(1490, 1600))
    assert worst_fault(train, test) == "10 of 110 test images are training images too."
    assert worst_fault(train, None) is None
