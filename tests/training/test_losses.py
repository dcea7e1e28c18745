"""The losses, against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from digitcli.architectures.recipe import Recipe
from digitcli.training.losses import loss_function, squared_error


def test_the_margin_loss_equals_a_calculation_by_hand() -> None:
    lengths = torch.tensor([[0.95, 0.05, 0.3], [0.5, 0.2, 0.0001]])
    expected = (0.5 * 0.2**2 + 0.4**2 + 0.5 * 0.1**2) / 2
    loss = loss_function(Recipe(loss="margin"))(lengths.logit(), torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_target_of_no_digit_is_ten_equal_probabilities() -> None:
    loss = loss_function(Recipe(synthetic=1))
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    of_none = loss(logits, torch.full((4,), 10))
    torch.testing.assert_close(of_none, -logits.log_softmax(dim=-1).mean())
    assert of_none > loss(torch.zeros(4, 10), torch.full((4,), 10))
    labels = torch.tensor([3, 0, 9, 9])
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels))
    smooth = loss_function(Recipe(synthetic=1, label_smoothing=0.1))
    torch.testing.assert_close(smooth(logits, labels), F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_squared_error_equals_its_definition() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    outputs = torch.sigmoid(logits)
    expected = 0.5 * ((outputs[0] - torch.tensor([0.0, 1.0])) ** 2).sum()
    expected += 0.5 * ((outputs[1] - torch.tensor([1.0, 0.0])) ** 2).sum()
    torch.testing.assert_close(squared_error(logits, torch.tensor([1, 0])), expected / 2)


def test_squared_error_is_as_exact_for_logits_in_bfloat16() -> None:
    logits = torch.tensor([[7.0, -7.0]], dtype=torch.bfloat16, requires_grad=True)
    squared_error(logits, torch.tensor([1])).backward()
    assert logits.grad is not None and logits.grad[0, 0].item() == pytest.approx(9.1e-4, rel=0.01)


def test_label_smoothing_reaches_the_loss() -> None:
    logits, labels = torch.randn(4, 10), torch.arange(4)
    smoothed = loss_function(Recipe(label_smoothing=0.2))(logits, labels)
    torch.testing.assert_close(smoothed, F.cross_entropy(logits, labels, label_smoothing=0.2))
    assert loss_function(Recipe(loss="squared_error")) is squared_error
