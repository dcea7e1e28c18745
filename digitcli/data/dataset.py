"""Labelled digits in memory: their split into training, validation and test part, and their faults.

NumPy only.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from digitcli.errors import InputError, counted

VALIDATION_SIZE = 5_000  # at most; of MNIST's 60,000 training digits it is a twelfth
VALIDATION_SHARE = 1 / 12  # of the training part
TEST_SHARE = 1 / 7  # of a dataset without a test part, as in MNIST: 10,000 of 70,000
SPLIT_SEED = 2026  # every run has the same split, so that models can be compared on it
IMBALANCE = 5.0  # so many times as frequent as the rarest digit may the most frequent be; in MNIST it is 1.2

Hashes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Labelled images of digits.

    images: uint8 (N, 28, 28), ink 255 on paper 0.
    labels: int64 (N,).
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> Digits:
        """Return the digits at the indices, in their order."""
        return Digits(self.images[indices], self.labels[indices])

    def hashes(self) -> npt.NDArray[np.int64]:
        """Return a 64-bit BLAKE2b hash of each image, (N,): equal images have equal hashes."""
        content = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in self.images)
        return np.frombuffer(content, "<i8").astype(np.int64)


def concatenate(*parts: Digits) -> Digits:
    """Return all digits of several parts, in their order."""
    images, labels = [part.images for part in parts], [part.labels for part in parts]
    return Digits(np.concatenate(images), np.concatenate(labels))


@dataclass(frozen=True)
class Failure:
    """An input that could not be used.

    file: its path or its place in a file.
    reason: one of the reason codes, for example `corrupt`.
    cause: a sentence for people.
    """

    file: str
    reason: str
    cause: str


def describe_failures(failures: tuple[Failure, ...]) -> str:
    """Name the first three inputs that could not be used, each with its cause, and count the others."""
    shown = "; ".join(f"{failure.file}: {failure.cause}" for failure in failures[:3])
    return shown + (f"; and {len(failures) - 3} more" if len(failures) > 3 else "")


@dataclass(frozen=True)
class Dataset:
    """Labelled digits from one source.

    name: the name for reports and checkpoints.
    train: the training part.
    test: the test part, if the source has one.
    failures: the inputs that could not be used.
    train_files, test_files: the files of the digits of each part, in their order, if each has its own.
    test_groups: the group of each test digit, in their order, if the test part consists of groups that are
        also evaluated by themselves.
    """

    name: str
    train: Digits
    test: Digits | None = None
    failures: tuple[Failure, ...] = field(default=())
    train_files: tuple[str, ...] = field(default=())
    test_files: tuple[str, ...] = field(default=())
    test_groups: tuple[str, ...] = field(default=())

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of every image and label: the same digits have the same digest in any file format."""
        sha256 = hashlib.sha256()
        for part in (self.train, self.test):
            if part is not None:
                sha256.update(np.ascontiguousarray(part.images).tobytes())
                sha256.update(part.labels.astype("<i8").tobytes())
        return sha256.hexdigest()


@dataclass(frozen=True)
class Splits:
    """The parts of a dataset.

    train: a run trains on it.
    validation: choices are made on it. It is the training part itself if that has one digit of each class.
    test: the trained model is measured on it, once.
    train_indices: the place of each digit of `train` in the training part of the dataset, int64 (N,).
    """

    train: Digits
    validation: Digits
    test: Digits
    train_indices: npt.NDArray[np.int64]

    @property
    def holds_validation_out(self) -> bool:
        """Whether no validation digit is a training digit."""
        return self.validation is not self.train


def split(dataset: Dataset) -> Splits:
    """Hold out a twelfth for validation, 5,000 digits at most, and a seventh as test part if there is none.

    The last training digit of a class is never held out. If the dataset has a test part and one training
    digit of each class, these are the validation part, too.

    Raises:
        InputError: There are too few digits to hold any out.
    """
    digits, test = dataset.train, dataset.test
    indices = np.arange(len(digits))
    if test is None:
        indices, held_out = _hold_out(indices, digits.labels, round(len(digits) * TEST_SHARE), dataset.name)
        if not len(held_out):
            cause = f"{dataset.name} has one digit of each class, so none can be held out to test on."
            raise InputError(cause, "Provide test digits too, or two training digits or more of each class.")
        test = digits.take(held_out)
    size = min(VALIDATION_SIZE, round(len(indices) * VALIDATION_SHARE))
    indices, held_out = _hold_out(indices, digits.labels, size, dataset.name)
    train = digits.take(indices)
    return Splits(train, digits.take(held_out) if len(held_out) else train, test, indices)


def _hold_out(
    indices: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], size: int, name: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split off `size` indices at random, but never the last one of a label; both parts keep their order."""
    if not 0 < size < len(indices):
        count = counted(len(indices), "training digit")
        cause = f"{name} has {count}, too few to hold some out for validation."
        remedy = "Training needs at least 12 pictures; a few hundred of each digit make a useful model."
        raise InputError(cause, remedy)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(indices))
    _, from_the_end = np.unique(labels[indices[order[::-1]]], return_index=True)
    last_of_each_label = order[::-1][from_the_end]
    held_out = np.sort(order[~np.isin(order, last_of_each_label)][:size])
    return np.delete(indices, held_out), indices[held_out]


def worst_fault(train: Digits, test: Digits | None) -> str | None:
    """Return the worst fault of a training and a test part as a sentence; None if there is none."""
    if imbalance := find_imbalance(train):
        return imbalance
    hashes = train.hashes()
    return find_contradictions(train, hashes) or find_copies(test, hashes)


def find_imbalance(digits: Digits) -> str | None:
    """Return that a digit is missing or rare, as a sentence, or None."""
    counts = np.bincount(digits.labels, minlength=10)
    if missing := np.flatnonzero(counts == 0).tolist():
        return f"Digits that do not occur: {', '.join(map(str, missing))}."
    rare, frequent = int(counts.argmin()), int(counts.argmax())
    if counts[rare] * IMBALANCE >= counts[frequent]:
        return None
    return f"The digit {rare} occurs {counts[rare]:,} times, {frequent} occurs {counts[frequent]:,} times."


def find_contradictions(digits: Digits, hashes: Hashes) -> str | None:
    """Return that equal images have different labels, as a sentence, or None.

    hashes: `digits.hashes()`, int64 (N,).
    """
    pairs = np.unique(np.stack([hashes, digits.labels]), axis=1)  # each pair once
    _, counts = np.unique(pairs[0], return_counts=True)
    contradictions = int((counts > 1).sum())
    if not contradictions:
        return None
    return f"Distinct training images that occur with different labels: {contradictions:,}."


def find_copies(test: Digits | None, hashes: Hashes) -> str | None:
    """Return that test images are training images too, as a sentence, or None.

    hashes: those of the training images, int64 (N,).
    """
    copies = 0 if test is None else int(np.isin(test.hashes(), hashes).sum())
    return f"{copies:,} of {len(test or ()):,} test images are training images too." if copies else None
