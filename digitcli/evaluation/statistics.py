"""Intervals and tests that tell real differences from chance, by the distributions of scipy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# The probability of chance below which a difference counts, as usual.
SIGNIFICANCE = 0.05
# Below this a probability may be 0 only because a float cannot be smaller.
LEAST_P = 1e-300


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of at least two normally distributed values.

    Student, "The probable error of a mean", 1908.
    """
    from scipy.special import stdtrit

    mean, error = statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5
    half = float(stdtrit(len(values) - 1, 0.975)) * error
    return mean - half, mean + half


def difference_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two means, each of at least two values.

    Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", 1947. The degrees of freedom are not rounded. `scipy.stats.ttest_ind` computes the same, but
    warns where one of two networks always has the same accuracy.
    """
    from scipy.special import stdtrit

    difference = statistics.fmean(first) - statistics.fmean(second)
    shares = [statistics.variance(values) / len(values) for values in (first, second)]
    total = sum(shares)
    if total == 0:
        return difference, difference
    squares = [share**2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True)]
    half = float(stdtrit(total**2 / sum(squares), 0.975)) * math.sqrt(total)
    return difference - half, difference + half


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the probability that two equally good models differ at least this much on the same images.

    only_first, only_second: the number of images that only the one model reads correctly.

    The exact test of McNemar, "Note on the sampling error of the difference between correlated proportions
    or percentages", 1947.
    """
    from scipy.special import bdtr

    fewer, count = min(only_first, only_second), only_first + only_second
    return min(1.0, 2 * float(bdtr(fewer, count, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the probabilities of several tests, corrected for the number of tests.

    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def describe_p(p: float) -> str:
    """Return the probability of a test with two digits; one too small for a float is below a limit, not 0."""
    return f"{p:.2g}" if p >= LEAST_P else f"<{LEAST_P:g}"
