from __future__ import annotations

import math

import pytest
import torch

from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.metrics import accuracy, ece, nll


def test_accuracy_counts() -> None:
    logits = torch.eye(10)
    assert accuracy(logits, torch.arange(10)) == 1.0
    assert accuracy(logits, torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0])) == 0.9


def test_nll_of_knowing_nothing_is_the_logarithm_of_ten() -> None:
    assert nll(torch.zeros(5, 10), torch.arange(5)) == pytest.approx(math.log(10))


def test_ece_is_zero_when_confidence_is_earned() -> None:
    logits = torch.tensor([[math.log(3), 0.0]]).repeat(1500, 1)  # sure to three quarters
    labels = (torch.arange(1500) % 4 == 0).long()  # right in three of four
    assert ece(logits, labels) == pytest.approx(0.0, abs=1e-6)


def test_ece_of_certain_nonsense_is_one() -> None:
    logits = torch.tensor([[100.0, 0.0]]).repeat(30, 1)
    assert ece(logits, torch.ones(30, dtype=torch.long)) == pytest.approx(1.0)


def test_ece_by_an_independent_formula() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(300, 10), torch.randint(0, 10, (300,))
    confidence, predicted = logits.softmax(-1).max(-1)
    rows = sorted(zip(confidence.tolist(), (predicted == labels).tolist(), strict=True))
    bins = [rows[start : start + 20] for start in range(0, 300, 20)]
    expected = (
        sum(abs(sum(right for _, right in rows) - sum(sure for sure, _ in rows)) for rows in bins) / 300
    )
    assert ece(logits, labels) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_scaling(true_temperature: float) -> None:
    torch.manual_seed(0)
    honest = 3 * torch.randn(20_000, 10)
    labels = torch.multinomial(honest.softmax(-1), 1).squeeze(1)
    assert fit_temperature(honest * true_temperature, labels) == pytest.approx(true_temperature, rel=0.03)


def test_temperature_never_raises_the_nll() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(500, 10), torch.randint(0, 10, (500,))
    assert nll(logits, labels, fit_temperature(logits, labels)) <= nll(logits, labels) + 1e-6
