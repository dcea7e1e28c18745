"""The statistics, against figures from tables and textbooks."""

from __future__ import annotations

import pytest
from scipy import stats

from digitcli.evaluation.statistics import (
    describe_p,
    difference_interval,
    holm,
    mcnemar,
    mean_interval,
    student_tail,
    t_95,
    welch,
)


def test_quantiles_of_t_approach_the_normal_distribution() -> None:
    assert t_95(1) == 12.706 and t_95(4) == 2.776 and t_95(30) == 2.042
    assert t_95(40) == pytest.approx(2.021, abs=1e-3) and t_95(120) == pytest.approx(1.980, abs=1e-3)
    quantiles = [t_95(degrees) for degrees in range(1, 200)]
    assert quantiles == sorted(quantiles, reverse=True)


@pytest.mark.parametrize(
    ("degrees_of_freedom", "excess"), [(1.5, 0.03), (2.4, 0.005), (3.19, 1e-3), (47.3, 1e-3)]
)
def test_the_quantile_between_whole_degrees_is_at_most_a_little_too_large(
    degrees_of_freedom: float, excess: float
) -> None:
    exact = stats.t.ppf(0.975, degrees_of_freedom)
    assert exact * (1 - 2e-4) <= t_95(degrees_of_freedom) <= exact * (1 + excess)


def test_the_interval_of_a_mean_is_students() -> None:
    low, high = mean_interval([0.99, 0.992, 0.994])
    assert (low, high) == (pytest.approx(0.992 - 4.303 * 0.002 / 3**0.5), pytest.approx(0.996968, abs=1e-5))


def test_the_interval_of_a_difference_is_welchs() -> None:
    low, high = difference_interval(
        [30.02, 29.99, 30.11, 29.97, 30.01, 29.99], [29.89, 29.93, 29.72, 29.98, 30.02, 29.98]
    )
    assert (low + high) / 2 == pytest.approx(0.095, abs=1e-3)
    assert low == pytest.approx(-0.019, abs=0.002)  # 7.03 degrees of freedom
    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.91, 0.89]
    exact = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert difference_interval(first, second) == pytest.approx((exact.low, exact.high), abs=2e-5)
    assert difference_interval([0.5, 0.5], [0.4, 0.4]) == (pytest.approx(0.1), pytest.approx(0.1))


def test_mcnemar_is_the_sign_test_of_images_that_one_model_reads() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(10, 0) == pytest.approx(2 / 1024)
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx(2 * 9 / 256)
    assert mcnemar(3_000, 2_000) < 1e-40


def test_holm_corrects_for_the_number_of_tests() -> None:
    assert holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 3.7, 30])
@pytest.mark.parametrize("t", [0.0, 0.5, 2.0, 9.0])
def test_the_tail_of_student_is_that_of_scipy(t: float, degrees_of_freedom: float) -> None:
    expected = 2 * stats.t.sf(t, degrees_of_freedom)
    assert student_tail(t, degrees_of_freedom) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_welchs_probability_is_that_of_scipy() -> None:
    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.91, 0.89]
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert welch(first, second) == pytest.approx(expected, rel=1e-3)
    assert welch([1.0, 1.0], [1.0, 1.0]) == welch([1.0, 1.0], [2.0, 2.0]) == 1.0  # no test without variance


def test_a_probability_that_underflows_is_not_0() -> None:
    assert mcnemar(0, 2000) == 0.0
    assert describe_p(mcnemar(0, 2000)) == describe_p(1e-310) == "<1e-300"
    assert [describe_p(p) for p in (1.0, 0.0456, 2e-300)] == ["1", "0.046", "2e-300"]
