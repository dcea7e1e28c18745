"""Find what is wrong with labelled digits by counting: imbalance, contradictions, copies in the test part."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits

Hashes = npt.NDArray[np.int64]

# The most frequent digit may be this many times as frequent as the rarest; in MNIST it is 1.2 times.
IMBALANCE = 5.0


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
