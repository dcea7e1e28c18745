from __future__ import annotations

import numpy as np
import pytest

from digitcli.evaluation.diversity import Diversity, measure_diversity

LABELS = np.array([1, 1, 1, 1, 2, 2, 2, 2])


def answers(*wrong: int) -> np.ndarray:
    changed = LABELS.copy()
    changed[list(wrong)] = 3
    return changed


def test_the_measures_by_hand() -> None:
    found = measure_diversity(answers(0, 1), answers(1, 2, 3), LABELS)
    assert (found.both_wrong, found.disagreement) == (1, 3 / 8)
    # 1 both, 4 none, 1 and 2 alone
    assert found.correlation == pytest.approx((1 * 4 - 1 * 2) / np.sqrt(2 * 6 * 3 * 5))
    assert found.q == pytest.approx((4 - 2) / (4 + 2))
    wrong = [np.isin(np.arange(8), places) for places in ([0, 1], [1, 2, 3])]
    assert found.correlation == pytest.approx(np.corrcoef(wrong)[0, 1])


def test_equal_and_opposite_mistakes_are_the_extremes() -> None:
    assert measure_diversity(answers(0, 1), answers(0, 1), LABELS) == Diversity(2, 0.0, 1.0, 1.0)
    opposite = measure_diversity(answers(0, 1, 2, 3), answers(4, 5, 6, 7), LABELS)
    assert (opposite.correlation, opposite.q, opposite.both_wrong) == (-1.0, -1.0, 0)


def test_a_classifier_without_mistakes_has_no_correlation() -> None:
    assert measure_diversity(answers(), answers(0), LABELS) == Diversity(0, 1 / 8, None, None)


def test_two_different_wrong_answers_disagree() -> None:
    first, second = answers(0), answers(0)
    second[0] = 4
    found = measure_diversity(first, second, LABELS)
    assert (found.both_wrong, found.disagreement, found.correlation) == (1, 1 / 8, 1.0)
