"""Intervals and tests that tell real differences from chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# Student's t: the two-sided 95 % quantile for 1, 2, 3 ... degrees of freedom.
_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


# The probability of chance below which a difference counts, as usual.
SIGNIFICANCE = 0.05
# Below this a probability may be 0 only because a float cannot be smaller.
LEAST_P = 1e-300
# Steps of the sum that stands for an integral: the error is below a millionth.
INTEGRATION_STEPS = 1000


def t_95(degrees_of_freedom: float) -> float:
    """Return the two-sided 95 % quantile of Student's t, for 1 degree of freedom or more.

    Between whole degrees of freedom, its logarithm is interpolated over their reciprocals: the result is up
    to 3 % too large below 2 degrees, 0.5 % below 3, and 0.1 % above.
    """
    whole = int(degrees_of_freedom)
    share = whole * (whole + 1) * (1 / whole - 1 / degrees_of_freedom)
    return math.pow(_t_95_of_whole(whole), 1 - share) * math.pow(_t_95_of_whole(whole + 1), share)


def _t_95_of_whole(whole: int) -> float:
    """Return the quantile for whole degrees of freedom.

    Above 30 it is computed from the first terms of the Cornish-Fisher expansion.
    """
    if whole <= len(_T_95):
        return _T_95[whole - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * whole) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * whole**2)


def student_tail(t: float, degrees_of_freedom: float) -> float:
    """Return the probability that a variable with Student's distribution lies further from 0 than t.

    With t = sqrt(n) tan(angle), the density is proportional to cos(angle)^(n - 1), which is summed up.
    """
    n = degrees_of_freedom
    start = math.atan(abs(t) / math.sqrt(n))
    width = (math.pi / 2 - start) / INTEGRATION_STEPS
    angles = (start + (step + 0.5) * width for step in range(INTEGRATION_STEPS))
    area = width * math.fsum(math.cos(angle) ** (n - 1) for angle in angles)
    scale = math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)) / math.sqrt(math.pi)
    return min(1.0, 2 * scale * area)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of at least two normally distributed values.

    Student, "The probable error of a mean", 1908.
    """
    mean = statistics.fmean(values)
    half = t_95(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def difference_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two means, each of at least two values.

    Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", 1947.
    """
    difference, error, degrees_of_freedom = _welch_terms(first, second)
    half = t_95(degrees_of_freedom) * error
    return difference - half, difference + half


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the probability that two means of at least two values each differ this much by chance.

    Values that do not vary tell nothing about chance: then it is 1. Welch, 1947, see `difference_interval`.
    """
    difference, error, degrees_of_freedom = _welch_terms(first, second)
    if error == 0:
        return 1.0
    return student_tail(difference / error, degrees_of_freedom)


def _welch_terms(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Return the difference of two means, its standard error and its degrees of freedom, 1 at least."""
    shares = [statistics.variance(values) / len(values) for values in (first, second)]
    difference, total = statistics.fmean(first) - statistics.fmean(second), sum(shares)
    if total == 0:
        return difference, 0.0, 1.0
    denominator = sum(
        share**2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True)
    )
    return difference, math.sqrt(total), max(1.0, total**2 / denominator)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the probability that two equally good models differ at least this much on the same images.

    only_first, only_second: the number of images that only the one model reads correctly.

    The exact test of McNemar, "Note on the sampling error of the difference between correlated proportions
    or percentages", 1947.
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    ways = tail = 1  # to choose none of the images, then one, then two ...
    for number in range(fewer):
        ways = ways * (count - number) // (number + 1)
        tail += ways
    return min(1.0, float(2 * tail / (1 << count)))


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
