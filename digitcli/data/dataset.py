"""Labelled digits in memory, and how they are split. NumPy only."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from digitcli.errors import InputError

VALIDATION_SIZE = 5_000
VALIDATION_SHARE = 1 / 12  # of MNIST's 60,000 this is 5,000
TEST_SHARE = 1 / 7  # of 70,000 this is MNIST's 10,000
SPLIT_SEED = 2026  # one split for every run, so that models can be compared on it


@dataclass(frozen=True)
class Digits:
    """Images (N, 28, 28), uint8, ink 255 on paper 0, and labels (N,), int64."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> Digits:
        """The digits at those indices, in that order."""
        return Digits(self.images[indices], self.labels[indices])

    def hashes(self) -> npt.NDArray[np.int64]:
        """A 64-bit BLAKE2b hash of each image (N,): equal images have equal hashes, whatever their label."""
        content = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in self.images)
        return np.frombuffer(content, "<i8").astype(np.int64)


def concatenate(*parts: Digits) -> Digits:
    """All digits of several parts, in their order."""
    images, labels = [part.images for part in parts], [part.labels for part in parts]
    return Digits(np.concatenate(images), np.concatenate(labels))


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, `reason` in one word and `cause` in a sentence."""

    file: str
    reason: str
    cause: str


def describe_failures(failures: tuple[Failure, ...]) -> str:
    """The first inputs that could not be used, each with its cause, and how many more there are."""
    shown = "; ".join(f"{failure.file}: {failure.cause}" for failure in failures[:3])
    return shown + (f"; and {len(failures) - 3} more" if len(failures) > 3 else "")


@dataclass(frozen=True)
class Dataset:
    """A training part and, where the source has one, a test part of its own."""

    name: str
    train: Digits
    test: Digits | None = None
    failures: tuple[Failure, ...] = field(default=())

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over every image and label: the same digits give the same digest from any file format."""
        sha256 = hashlib.sha256()
        for part in (self.train, self.test):
            if part is not None:
                sha256.update(np.ascontiguousarray(part.images).tobytes())
                sha256.update(part.labels.astype("<i8").tobytes())
        return sha256.hexdigest()


@dataclass(frozen=True)
class Splits:
    """What a run trains on, chooses on, and is judged on once."""

    train: Digits
    validation: Digits
    test: Digits


def split(dataset: Dataset) -> Splits:
    """Hold out validation digits (5,000 of MNIST) and, without a test part, a seventh as the test set.

    Raises:
        InputError: too few digits to hold any out.
    """
    train, test = dataset.train, dataset.test
    if test is None:
        train, test = _hold_out(train, round(len(train) * TEST_SHARE), dataset.name)
    size = min(VALIDATION_SIZE, round(len(train) * VALIDATION_SHARE))
    train, validation = _hold_out(train, size, dataset.name)
    return Splits(train, validation, test)


def _hold_out(digits: Digits, size: int, name: str) -> tuple[Digits, Digits]:
    """Split off `size` digits at random; the rest keeps its order."""
    if not 0 < size < len(digits):
        raise InputError(
            f"{name} has {len(digits)} training digits, too few to hold some out for validation.",
            "Training needs at least 12 pictures; a few hundred a digit make a useful model.",
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits))
    return digits.take(np.sort(order[size:])), digits.take(np.sort(order[:size]))
