"""Find what is wrong with labelled digits by counting: contradictions, copies in the test part, imbalance."""

from __future__ import annotations

import numpy as np

from digitcli.data.dataset import Dataset, Digits
from digitcli.data.mnist import DIGEST

# The most frequent digit may be this many times as frequent as the rarest; in MNIST it is 1.2 times.
IMBALANCE = 5.0


def worst_fault(dataset: Dataset) -> str | None:
    """Return the worst fault of a dataset as a sentence, None if there is none; MNIST itself has none."""
    if dataset.digest == DIGEST:
        return None
    faults = (find_contradictions(dataset), find_copies(dataset), find_imbalance(dataset.train))
    return next(filter(None, faults), None)


def find_contradictions(dataset: Dataset) -> str | None:
    """Return that equal training images have different labels, as a sentence, or None."""
    pairs = np.unique(np.stack([dataset.train.hashes(), dataset.train.labels]), axis=1)  # each pair once
    _, counts = np.unique(pairs[0], return_counts=True)
    contradictions = int((counts > 1).sum())
    if not contradictions:
        return None
    return f"Distinct training images that occur with different labels: {contradictions:,}."


def find_copies(dataset: Dataset) -> str | None:
    """Return that test images are training images too, as a sentence, or None."""
    if dataset.test is None:
        return None
    copies = int(np.isin(dataset.test.hashes(), dataset.train.hashes()).sum())
    return f"{copies:,} of {len(dataset.test):,} test images are training images too." if copies else None


def find_imbalance(digits: Digits) -> str | None:
    """Return that a digit is missing or rare, as a sentence, or None."""
    counts = np.bincount(digits.labels, minlength=10)
    if missing := np.flatnonzero(counts == 0).tolist():
        return f"Digits that do not occur: {', '.join(map(str, missing))}."
    rare, frequent = int(counts.argmin()), int(counts.argmax())
    if counts[rare] * IMBALANCE >= counts[frequent]:
        return None
    return f"The digit {rare} occurs {counts[rare]:,} times, {frequent} occurs {counts[frequent]:,} times."
