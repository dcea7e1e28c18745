"""Find the confidence from which at most a given share of the answers is wrong, with a guarantee.

Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test: calibrating predictive algorithms to achieve risk
control", 2021: fixed-sequence testing with exact binomial p-values. The thresholds and their order are fixed
before any answer is seen. Each is tested from the strictest on, and the first that fails ends the test.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    low, high = at_least - 1, max(at_least, wrong + 1)
    while binomial_tail(wrong, high, max_error) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_tail(wrong, middle, max_error) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high
