"""Calibrate confidences, describe how well they are calibrated, and find thresholds of few wrong answers.

A threshold with a guarantee is found by Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test:
calibrating predictive algorithms to achieve risk control", 2021: fixed-sequence testing with exact binomial
p-values. The thresholds and their order are fixed before any answer is seen. Each is tested from the
strictest on, and the first that fails ends the test.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.charts import Panel, Series, draw_chart
from digitcli.evaluation.metrics import equal_mass_bins, nll

COVERAGES = (1.0, 0.999, 0.995, 0.99, 0.98, 0.95, 0.9)  # the fractions of the answers that are reported
ERRORS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)  # the fractions of wrong answers in a risk table
MIN_TEMPERATURE = 0.05  # far below every temperature that was ever fitted
MAX_TEMPERATURE = 20.0  # far above every temperature that was ever fitted
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
# The thresholds are the logistic function of evenly spaced log-odds, since confidences crowd near 1. The
# largest log-odds is that of `recognition.confidence`. Steps of 1/8 change the odds by an eighth.
LARGEST_LOG_ODDS, SMALLEST_LOG_ODDS, LOG_ODDS_STEP = 12.0, -4.0, 0.125
# Decimals of a threshold, so that it can be printed and typed without loss.
THRESHOLD_DECIMALS = 6
# Least share of all answers at the first threshold that is tested. A first test on few answers fails by one
# wrong answer, and one on many begins behind the thresholds that would pass. In simulations from answers to
# composed pictures, a quarter found a threshold more often than a half. From 1,000 pictures on, as many or
# more were then answered as if the tests began with the least possible number.
FIRST_SHARE = 0.25
# The probability that a planned test passes, as usual (Cohen, "Statistical power analysis", 1988).
POWER = 0.8
# Wrong answers with which a planned test may still pass; with more, the plan is given up as too long.
MOST_PLANNED_WRONG = 200


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike, least: float = 1.0) -> float:
    """Return the divisor of logits (N, 10) that minimizes the NLL of held-out labels (N,).

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017. For `least` see
    `minimize_over_temperature`.
    """
    all_correct = bool((np.asarray(logits).argmax(axis=-1) == np.asarray(labels)).all())
    return minimize_over_temperature(lambda temperature: nll(logits, labels, temperature), all_correct, least)


def minimize_over_temperature(loss: Callable[[float], float], all_correct: bool, least: float = 1.0) -> float:
    """Return the temperature of the lowest loss, which has one minimum, by golden-section search.

    If all answers are correct, the loss falls with the temperature without end, since there are too few
    answers to measure the confidence. Then the result is at least `least`.
    """
    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    while high - low > 1e-4:
        left, right = high - GOLDEN_RATIO * (high - low), low + GOLDEN_RATIO * (high - low)
        if loss(math.exp(left)) < loss(math.exp(right)):
            high = right
        else:
            low = left
    best = math.exp((low + high) / 2)
    return max(least, best) if all_correct else best


@dataclass(frozen=True)
class ReliabilityBin:
    """The mean confidence and the accuracy of `n` answers of similar confidence."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class CoveragePoint:
    """The accuracy of the most confident answers.

    coverage: the fraction of all answers that these are.
    accuracy: the fraction of these that are correct.
    confidence: the lowest confidence among these.
    """

    coverage: float
    accuracy: float
    confidence: float


def reliability(confidence: npt.ArrayLike, is_correct: npt.ArrayLike) -> list[ReliabilityBin]:
    """Return the points of a reliability diagram: the bins of the ECE, from the lowest confidence up.

    Niculescu-Mizil & Caruana, "Predicting good probabilities with supervised learning", 2005.
    """
    return [
        ReliabilityBin(float(confidences.mean()), float(correct.mean()), len(confidences))
        for confidences, correct in equal_mass_bins(confidence, is_correct)
        if len(confidences)
    ]


def coverage(confidence: npt.ArrayLike, is_correct: npt.ArrayLike) -> list[CoveragePoint]:
    """Return the accuracy of the most confident answers for each of `COVERAGES`.

    Geifman & El-Yaniv, "Selective classification for deep neural networks", 2017.
    """
    confidence, is_correct = np.asarray(confidence), np.asarray(is_correct)
    order = np.argsort(-confidence, kind="stable")
    points = []
    for share in COVERAGES:
        kept = order[: math.ceil(share * len(order))]
        points.append(CoveragePoint(share, float(is_correct[kept].mean()), float(confidence[kept[-1]])))
    return points


def draw_calibration(
    model: str, reliability: Sequence[ReliabilityBin], coverage: Sequence[CoveragePoint]
) -> str:
    """Return a reliability diagram, and the error of the most confident answers, as SVG."""
    points = [(100 * row.confidence, 100 * row.accuracy) for row in reliability]
    lowest = min(min(point) for point in points)
    diagonal = [(lowest, lowest), (100.0, 100.0)]
    errors = [(100 * row.coverage, 100 * (1 - row.accuracy)) for row in coverage]
    return draw_chart(
        f"Calibration of {model}",
        [
            Panel(
                "accuracy in %",
                "confidence in %",
                [Series("measured", points), Series("perfect calibration", diagonal, dashed=True)],
                y_range=(math.floor(lowest), 100.0),
            ),
            Panel("error in %", "coverage in %", [Series("error", errors)]),
        ],
    )


def risk_table(
    confidences: Sequence[float], is_correct: Sequence[bool], weights: Sequence[float] | None = None
) -> dict[str, float]:
    """Return for each of `ERRORS` the lowest threshold above which no larger fraction is wrong.

    weights: how much each answer counts; all count the same if none are given.

    An error that no threshold reaches is left out. So is an error for which there are so few answers that
    not even one of them may be wrong. This is the inverse of the risk-coverage curve of El-Yaniv & Wiener,
    "On the foundations of noise-free selective classification", 2010.
    """
    weights = [1.0] * len(confidences) if weights is None else weights
    order = sorted(zip(confidences, is_correct, weights, strict=True), reverse=True)
    table: dict[str, float] = {}
    wrong = answered = 0.0
    for count, (confidence, correct, weight) in enumerate(order, start=1):
        wrong, answered = wrong + weight * (not correct), answered + weight
        is_tied = count < len(order) and order[count][0] == confidence
        for error in () if is_tied else ERRORS:
            if wrong <= error * answered and error * count >= 1:
                table[str(error)] = confidence
    return {str(error): table[str(error)] for error in ERRORS if str(error) in table}


def threshold_for_error(max_error: float, risk: Mapping[str, float]) -> float:
    """Return the confidence that an answer needs for at most a fraction `max_error` of answers to be wrong.

    `risk` is a risk table. Without one, the confidence itself is taken as the probability of being correct.
    Below all errors of the table the threshold is 1.
    """
    if not risk:
        return 1 - max_error
    thresholds = {float(error): confidence for error, confidence in risk.items()}
    usable = [error for error in thresholds if error <= max_error]
    return thresholds[max(usable)] if usable else 1.0


@dataclass(frozen=True)
class ThresholdTest:
    """The test of one threshold.

    threshold: the least confidence of an answer.
    answered, wrong: the number of answers with this confidence or more, and how many of them are wrong.
    p_value: the largest probability of so few wrong answers if the true share of them is above the limit.
    """

    threshold: float
    answered: int
    wrong: int
    p_value: float


@dataclass(frozen=True)
class RiskControl:
    """The tests of thresholds from strict to lenient.

    max_error: the largest share of wrong answers that a threshold may have.
    confidence: the confidence level: the probability, over the labelled pictures, that no threshold passes
        that has more.
    least_answers: the number of answers without which no threshold can pass.
    first_answers: the number of answers from which on a threshold is tested.
    tests: the tests that were made, from the strictest threshold on; only the last may have failed.
    """

    max_error: float
    confidence: float
    least_answers: int
    first_answers: int
    tests: tuple[ThresholdTest, ...]

    @property
    def proven(self) -> ThresholdTest | None:
        """The most lenient threshold that passed, or None if none did."""
        passed = [test for test in self.tests if test.p_value <= 1 - self.confidence]
        return passed[-1] if passed else None

    @property
    def in_percent(self) -> tuple[str, str]:
        """The largest share of wrong answers and the confidence level in words."""
        return f"{100 * self.max_error:g} %", f"{100 * self.confidence:g} %"


@functools.cache
def thresholds() -> tuple[float, ...]:
    """Return the thresholds in the order of their tests, from strict to lenient."""
    count = round((LARGEST_LOG_ODDS - SMALLEST_LOG_ODDS) / LOG_ODDS_STEP) + 1
    log_odds = (LARGEST_LOG_ODDS - LOG_ODDS_STEP * step for step in range(count))
    return tuple(round(1 / (1 + math.exp(-each)), THRESHOLD_DECIMALS) for each in log_odds)


def control_risk(
    confidences: npt.ArrayLike, is_right: npt.ArrayLike, max_error: float, confidence: float
) -> RiskControl:
    """Test from which confidence on at most a share `max_error` of the answers is wrong.

    The answers must be to pictures that were drawn independently from one source. The first threshold that is
    tested is the strictest with `first_answers` answers. This choice looks at confidences only, and the
    guarantee holds if no lower threshold has a smaller true share of wrong answers: given how many answers a
    threshold and the one before it have, the number of wrong ones is then binomial with a share above the
    limit, or larger, at the first tested threshold that must not pass. Where groups of pictures are fixed,
    with shares of their own, it varies less, and the test errs on the safe side (Hoeffding, "On the
    distribution of the number of successes in independent trials", 1956).
    """
    least = least_answers(max_error, confidence)
    answered, wrong = _count(confidences, is_right)
    first = max(least, math.ceil(FIRST_SHARE * answered[-1]))
    tests: list[ThresholdTest] = []
    for threshold, count, errors in zip(thresholds(), answered, wrong, strict=True):
        if count < first:
            continue
        tests.append(ThresholdTest(threshold, count, errors, binomial_tail(errors, count, max_error)))
        if tests[-1].p_value > 1 - confidence:
            break
    return RiskControl(max_error, confidence, least, first, tuple(tests))


def binomial_tail(wrong: int, answered: int, share: float) -> float:
    """Return the probability of at most `wrong` wrong answers if `share` is the probability of each."""
    from scipy.special import bdtr

    return float(bdtr(wrong, answered, share))


def least_answers(max_error: float, confidence: float) -> int:
    """Return the number of answers, all of them right, that show that at most `max_error` are wrong."""
    return _answers_for(0, max_error, confidence, 1)


def answers_to_plan(wrong_share: float, max_error: float, confidence: float) -> int | None:
    """Return how many answers pass with `POWER` if this share of all is wrong; None if too many are."""
    answers = 1
    for wrong in range(MOST_PLANNED_WRONG + 1):
        answers = _answers_for(wrong, max_error, confidence, answers)
        if wrong_share * answers <= wrong + 1 and binomial_tail(wrong, answers, wrong_share) >= POWER:
            return answers
    return None


def pictures_to_plan(
    confidences: npt.ArrayLike, is_right: npt.ArrayLike, pictures: int, max_error: float, confidence: float
) -> int | None:
    """Return an estimate of the labelled pictures that this guarantee needs; None if hardly any number does.

    Of `pictures` pictures, those with confidences were answered. The share of wrong answers at a threshold is
    taken as (wrong + 1/2) / (answered + 1 / max_error): few answers say little, and count as if half of the
    limit were wrong.
    """
    answered, wrong = _count(confidences, is_right)
    needed = []
    for count, errors in zip(answered, wrong, strict=True):
        if count < max(1, FIRST_SHARE * answered[-1]):
            continue
        answers = answers_to_plan((errors + 0.5) / (count + 1 / max_error), max_error, confidence)
        if answers is not None:
            needed.append(math.ceil(answers * pictures / count))
    return min(needed, default=None)


def _count(confidences: npt.ArrayLike, is_right: npt.ArrayLike) -> tuple[list[int], list[int]]:
    """Return the number of answers from each threshold on, and the number of wrong ones among them."""
    values = np.asarray(confidences, np.float64)
    rising = np.argsort(values, kind="stable")
    wrong_from = np.append(np.cumsum(~np.asarray(is_right, bool)[rising][::-1])[::-1], 0)
    below = np.searchsorted(values[rising], thresholds())  # the number of answers below each threshold
    return (len(values) - below).tolist(), wrong_from[below].tolist()


@functools.cache
def _answers_for(wrong: int, max_error: float, confidence: float, at_least: int) -> int:
    """Return the smallest number of answers, from `at_least` on, that may hold so many wrong ones."""

    def may_hold(answers: int) -> bool:
        return binomial_tail(wrong, answers, max_error) <= 1 - confidence

    high = max(at_least, wrong + 1)
    while not may_hold(high):
        high *= 2
    return bisect.bisect_left(range(high), True, lo=at_least, key=may_hold)
