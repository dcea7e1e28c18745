"""Counterfactuals are read as the other digit after a small change that looks drawn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from digitcli.errors import UsageError
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation.counterfactual import adversarial, counterfactual


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_model("fast")


@pytest.mark.parametrize("digit", [1, 2, 9])
def test_a_seven_becomes_another_digit_by_little_ink(network: nn.Module, images: Tensor, digit: int) -> None:
    seven = images[:1]
    changed = counterfactual(network, seven, digit)
    assert int(network(changed).argmax()) == digit
    assert changed.min() >= 0 and changed.max() <= 1
    assert (changed - seven).abs().sum() < 0.5 * seven.sum()


def test_noise_changes_every_pixel_a_little_where_ink_changes_few_pixels_much(
    network: nn.Module, images: Tensor
) -> None:
    seven = images[:1]
    drawn, noisy = counterfactual(network, seven, 2), adversarial(network, seven, 2)
    assert int(network(noisy).argmax()) == 2
    largest = [float((changed - seven).abs().max()) for changed in (drawn, noisy)]
    touched = [int(((changed - seven).abs() > 0.01).sum()) for changed in (drawn, noisy)]
    assert largest[1] <= 0.3 < largest[0] and touched[0] < touched[1]


def test_what_cannot_be_found_is_an_error(images: Tensor) -> None:
    class Sure(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.eye(10)[7].expand(len(batch), 10) + 0 * batch.sum()

    for find in (counterfactual, adversarial):
        with pytest.raises(UsageError, match="read as 3"):
            find(Sure(), images[:1], 3)
