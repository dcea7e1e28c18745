"""Measure how much the mistakes of two classifiers have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Diversity:
    """How two classifiers differ. Their average gains the more, the less their mistakes have in common.

    both_wrong: the number of images that both misread.
    disagreement: the fraction of the images to which they give different answers.
    correlation: the correlation of their mistakes, from -1 to 1: 1 if they misread the same images, 0 if
        their mistakes are independent. None if one of them misreads no image or all of them.
    q: Yule's Q of their mistakes, from -1 to 1, which reaches 1 also where one of them makes more mistakes.
        None where it is 0 / 0.
    """

    both_wrong: int
    disagreement: float
    correlation: float | None
    q: float | None


def measure_diversity(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> Diversity:
    """Return how the answers (N,) of two classifiers differ on images with these labels (N,).

    Kuncheva & Whitaker, "Measures of diversity in classifier ensembles and their relationship with the
    ensemble accuracy", 2003; Yule, "On the association of attributes in statistics", 1900.
    """
    one, two = first != labels, second != labels
    both, none = int((one & two).sum()), int((~one & ~two).sum())
    only_one, only_two = int((one & ~two).sum()), int((~one & two).sum())
    margins = (both + only_one) * (none + only_two) * (both + only_two) * (none + only_one)
    agreeing, opposed = both * none, only_one * only_two
    return Diversity(
        both_wrong=both,
        disagreement=float(np.mean(first != second)),
        correlation=(agreeing - opposed) / math.sqrt(margins) if margins else None,
        q=(agreeing - opposed) / (agreeing + opposed) if agreeing + opposed else None,
    )
