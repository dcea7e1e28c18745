"""The statistics, against figures from tables and textbooks, and against scipy's own tests."""

from __future__ import annotations

import pytest
from scipy import stats

from digitcli.evaluation.statistics import (
    describe_p,
    difference_interval,
    holm,
    mcnemar,
    mean_interval,
)

FIRST, SECOND = [0.91, 0.93, 0.92, 0.95], [0.90, 0.91, 0.89]


def test_the_interval_of_a_mean_is_students() -> None:
    low, high = mean_interval([0.99, 0.992, 0.994])
    assert low == pytest.approx(0.992 - 4.302653 * 0.002 / 3**0.5, abs=1e-9)
    assert high == pytest.approx(0.996968, abs=1e-6)


def test_the_difference_of_two_means_is_judged_by_welchs_test() -> None:
    low, high = difference_interval(
        [30.02, 29.99, 30.11, 29.97, 30.01, 29.99], [29.89, 29.93, 29.72, 29.98, 30.02, 29.98]
    )
    assert (low + high) / 2 == pytest.approx(0.095, abs=1e-3)
    assert low == pytest.approx(-0.019, abs=0.002)  # 7.03 degrees of freedom
    test = stats.ttest_ind(FIRST, SECOND, equal_var=False)
    interval = test.confidence_interval()
    assert difference_interval(FIRST, SECOND) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_means_whose_values_do_not_vary_have_an_interval_too() -> None:
    assert difference_interval([0.5, 0.5], [0.4, 0.4]) == (pytest.approx(0.1), pytest.approx(0.1))
    low, high = difference_interval([1.0, 1.0], [1.9, 2.0])  # one of them varies: 1 degree of freedom
    assert (low, high) == (pytest.approx(-0.95 - 12.706205 * 0.05), pytest.approx(-0.95 + 12.706205 * 0.05))


def test_mcnemar_is_the_sign_test_of_images_that_one_model_reads() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(10, 0) == pytest.approx(2 / 1024)
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx(2 * 9 / 256)
    assert mcnemar(3_000, 2_000) < 1e-40
    for counts in ((3, 9), (40, 41), (0, 12), (250, 190)):
        assert mcnemar(*counts) == pytest.approx(stats.binomtest(counts[0], sum(counts)).pvalue, rel=1e-9)


def test_holm_corrects_for_the_number_of_tests() -> None:
    assert holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_probability_that_underflows_is_not_0() -> None:
    assert mcnemar(0, 2000) == 0.0
    assert describe_p(mcnemar(0, 2000)) == describe_p(1e-310) == "<1e-300"
    assert [describe_p(p) for p in (1.0, 0.0456, 2e-300)] == ["1", "0.046", "2e-300"]
