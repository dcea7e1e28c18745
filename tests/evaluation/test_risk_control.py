"""The share of wrong answers is controlled with the stated confidence, and the tests can fail."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from digitcli.evaluation import calibration
from digitcli.evaluation.calibration import (
    answers_to_plan,
    binomial_tail,
    control_risk,
    least_answers,
    pictures_to_plan,
    thresholds,
)

DRAWS = 1000
Sample = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]  # confidences, and whether answers are right


def test_the_p_value_is_the_binomial_tail() -> None:
    for wrong, answered in ((0, 1), (0, 299), (3, 500), (40, 5000), (500, 500)):
        for share in (0.001, 0.01, 0.2):
            expected = binom.cdf(wrong, answered, share)
            assert binomial_tail(wrong, answered, share) == pytest.approx(expected, abs=1e-12)


def test_too_few_answers_show_nothing() -> None:
    for max_error, confidence, least in (
        (0.01, 0.95, 299), (0.05, 0.95, 59), (0.01, 0.9, 230), (0.001, 0.95, 2995), (0.5, 0.5, 1),
    ):  # fmt: skip
        assert least_answers(max_error, confidence) == least
        for count, is_proven in ((least - 1, False), (least, True)):
            control = control_risk([0.9] * count, [True] * count, max_error, confidence)
            assert (control.proven is not None) == is_proven
            assert control.least_answers == least
    control = control_risk([], [], 0.01, 0.95)
    assert control.tests == () and control.proven is None
    assert pictures_to_plan([], [], 10, 0.01, 0.95) is None


def test_thresholds_fall_can_be_typed_and_include_the_answers_at_them() -> None:
    grid = thresholds()
    assert list(grid) == sorted(set(grid), reverse=True)
    assert grid[0] > 0.9999 and grid[-1] < 0.02
    assert all(float(f"{threshold:g}") == threshold for threshold in grid)
    control = control_risk([grid[40]] * 100, [True] * 100, 0.05, 0.95)
    assert control.tests[0].threshold == grid[40] and control.tests[0].answered == 100


def test_the_first_failure_ends_the_tests_although_a_later_one_would_pass() -> None:
    confidences = [0.999] * 100 + [0.95] * 10 + [0.6] * 290
    is_right = [True] * 100 + [False] * 10 + [True] * 290
    control = control_risk(confidences, is_right, 0.05, 0.95)
    assert control.proven is not None and control.proven.answered == control.first_answers == 100
    assert 0.95 < control.proven.threshold <= 0.999
    assert (control.tests[-1].wrong, control.tests[-1].answered) == (10, 110)
    assert [test.p_value <= 0.05 for test in control.tests] == [True] * (len(control.tests) - 1) + [False]
    assert binomial_tail(10, 400, 0.05) < 0.05


def test_the_first_tested_threshold_does_not_depend_on_what_is_right() -> None:
    random = np.random.default_rng(0)
    confidences = 1 - random.random(800) ** 3
    controls = [control_risk(confidences, random.random(800) >= share, 0.05, 0.95) for share in (0, 0.1, 1)]
    assert len({control.tests[0].threshold for control in controls}) == 1


def rising_risk(random: np.random.Generator, count: int) -> Sample:
    """Draw answers of which a share `u^2 / 50` is wrong at every threshold 1 - u^3."""
    doubt = random.random(count)
    return 1 - doubt**3, random.random(count) >= 0.06 * doubt**2


def constant_risk(random: np.random.Generator, count: int) -> Sample:
    """Draw answers of which just above 1 % is wrong at every threshold, so that none may pass."""
    return 1 - random.random(count) ** 3, random.random(count) >= 0.01001


def true_risk(sample: object, threshold: float) -> float:
    """Return the share of wrong answers from a threshold on, over the distribution."""
    return 0.01001 if sample is constant_risk else (1 - threshold) ** (2 / 3) / 50


def naive_threshold(confidences: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_]) -> float | None:
    """Return the lowest threshold from which on at most 1 % of these very answers are wrong."""
    order = np.argsort(-confidences)
    shares = np.cumsum(~is_right[order]) / np.arange(1, len(order) + 1)
    below = np.flatnonzero(shares <= 0.01)
    return float(confidences[order[below[-1]]]) if len(below) else None


def test_the_guarantee_holds_in_at_least_95_percent_of_draws() -> None:
    for sample, count in itertools.product((rising_risk, constant_risk), (400, 1500)):
        broken, naively_broken, proven = 0, 0, 0
        random = np.random.default_rng(count)
        for _ in range(DRAWS):
            confidences, is_right = sample(random, count)
            control = control_risk(confidences, is_right, 0.01, 0.95)
            if control.proven is not None:
                proven += 1
                broken += true_risk(sample, control.proven.threshold) > 0.01
            naive = naive_threshold(confidences, is_right)
            naively_broken += naive is not None and true_risk(sample, naive) > 0.01
        assert broken <= 0.05 * DRAWS
        assert naively_broken > 0.4 * DRAWS  # the method that the test must tell apart
        if sample is rising_risk and count == 1500:
            assert proven > 0.6 * DRAWS


def test_a_lower_bar_for_the_p_value_would_break_the_guarantee(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "binomial_tail", lambda wrong, n, share: binom.cdf(wrong - 1, n, share))
    random = np.random.default_rng(0)
    results = [control_risk(*constant_risk(random, 1500), 0.01, 0.95) for _ in range(300)]
    assert sum(result.proven is not None for result in results) > 0.05 * 300


def test_a_plan_passes_with_the_share_of_wrong_answers_that_it_supposes() -> None:
    assert answers_to_plan(1e-6, 0.01, 0.95) == 299
    assert answers_to_plan(0.01, 0.01, 0.95) is None
    for share in (0.001, 0.004, 0.007):
        answers = answers_to_plan(share, 0.01, 0.95)
        assert answers is not None
        passed = np.random.default_rng(0).binomial(answers, share, 500)
        rate = np.mean([binomial_tail(int(wrong), answers, 0.01) <= 0.05 for wrong in passed])
        assert 0.75 < rate < 0.95


def test_a_plan_grows_for_a_tighter_guarantee_and_for_pictures_that_are_refused() -> None:
    random = np.random.default_rng(0)
    confidences, is_right = rising_risk(random, 1000)
    plans = [pictures_to_plan(confidences, is_right, 1000, error, 0.95) for error in (0.02, 0.01, 0.005)]
    assert plans == sorted(plans) and None not in plans
    assert pictures_to_plan(confidences, is_right, 2000, 0.01, 0.95) == pytest.approx(2 * plans[1], abs=2)
    assert pictures_to_plan(confidences, ~is_right, 1000, 0.01, 0.95) is None
    few = pictures_to_plan([0.99] * 10, [True] * 10, 10, 0.01, 0.95)
    assert few is not None and few > 299
