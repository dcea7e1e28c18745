from __future__ import annotations

import numpy as np
import pytest
import torch

from digitcli.evaluation.calibration import (
    coverage,
    fit_temperature,
    reliability,
    risk_table,
    threshold_for_error,
)
from digitcli.evaluation.metrics import calibration_error, nll


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_scaling(true_temperature: float) -> None:
    torch.manual_seed(0)
    honest = 3 * torch.randn(20_000, 10)
    labels = torch.multinomial(honest.softmax(-1), 1).squeeze(1)
    assert fit_temperature(honest * true_temperature, labels) == pytest.approx(true_temperature, rel=0.03)


@pytest.mark.parametrize("n", [1, 10, 60])
def test_a_few_correct_answers_do_not_raise_the_confidence(n: int) -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 10, (n,))
    logits = 0.1 * torch.randn(n, 10) + 0.5 * torch.nn.functional.one_hot(labels, 10)
    assert (logits.argmax(-1) == labels).all() and fit_temperature(logits, labels) == 1.0


def test_temperature_never_raises_the_nll() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(500, 10), torch.randint(0, 10, (500,))
    assert nll(logits, labels, fit_temperature(logits, labels)) <= nll(logits, labels) + 1e-6


def test_the_ece_is_the_sum_over_the_reliability_bins() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 300)
    right = random.random(300) < confidence
    bins = reliability(confidence, right)
    assert [one.n for one in bins] == [20] * 15
    assert all(before.confidence <= after.confidence for before, after in zip(bins, bins[1:], strict=False))
    error = sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / 300
    assert error == pytest.approx(calibration_error(confidence, right))


def test_empty_bins_are_left_out() -> None:
    assert [one.n for one in reliability([0.9, 0.8], [True, False])] == [1, 1]


def test_the_most_confident_answers_by_hand() -> None:
    confidence, right = np.linspace(1, 0.5, 200), np.arange(200) != 199
    found = {one.coverage: one for one in coverage(confidence, right)}
    assert found[1.0].accuracy == 199 / 200
    assert found[0.995].accuracy == 1.0
    assert found[0.995].confidence == pytest.approx(confidence[198])
    assert found[0.9].confidence == pytest.approx(confidence[179])


def test_thresholds_of_a_risk_table_keep_the_error() -> None:
    random = np.random.default_rng(0)
    confidences = random.random(5000)
    right = random.random(5000) < confidences
    table = risk_table(confidences.tolist(), right.tolist())
    assert list(table) and [table[error] for error in table] == sorted(table.values(), reverse=True)
    for error, confidence in table.items():
        answered = confidences >= confidence
        assert 1 - right[answered].mean() <= float(error)
        assert 0 < answered.mean() < 1


def test_answers_of_equal_confidence_share_a_threshold() -> None:
    assert risk_table([0.9] * 4, [True, True, True, False]) == {}
    assert risk_table([0.9] * 10 + [0.8] * 10, [True] * 20) == {"0.05": 0.8, "0.1": 0.8}


def test_an_error_needs_so_many_answers_that_one_of_them_may_be_wrong() -> None:
    errors = ("0.01", "0.02", "0.03", "0.05", "0.1")
    assert risk_table([0.9] * 199, [True] * 199) == dict.fromkeys(errors, 0.9)


def test_the_threshold_for_an_error() -> None:
    table = {"0.01": 0.97, "0.05": 0.9}
    assert threshold_for_error(0.01, table) == 0.97 and threshold_for_error(0.04, table) == 0.97
    assert threshold_for_error(0.5, table) == 0.9
    assert threshold_for_error(0.001, table) == 1.0
    assert threshold_for_error(0.02, {}) == pytest.approx(0.98)
