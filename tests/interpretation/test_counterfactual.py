"""Counterfactuals are read as the other digit after a small change that looks drawn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation.counterfactual import adversarial, counterfactual, optimal_input


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_model("fast")


@pytest.mark.parametrize("digit", [1, 2, 9])
def test_a_seven_becomes_another_digit_by_little_ink(network: nn.Module, images: Tensor, digit: int) -> None:
    seven = images[:1]
    changed = counterfactual(network, seven, digit)
    assert changed is not None
    assert torch.allclose(255 * changed, (255 * changed).round(), atol=1e-4)  # it is stored in grey levels
    assert int(network(changed).argmax()) == digit
    assert changed.min() >= 0 and changed.max() <= 1
    assert (changed - seven).abs().sum() < 0.5 * seven.sum()


def test_noise_changes_every_pixel_a_little_where_ink_changes_few_pixels_much(
    network: nn.Module, images: Tensor
) -> None:
    seven = images[:1]
    drawn, noisy = counterfactual(network, seven, 2), adversarial(network, seven, 2)
    assert drawn is not None and noisy is not None
    assert int(network(noisy).argmax()) == 2
    largest = [float((changed - seven).abs().max()) for changed in (drawn, noisy)]
    touched = [int(((changed - seven).abs() > 0.01).sum()) for changed in (drawn, noisy)]
    assert largest[1] <= 0.3 < largest[0] and touched[0] < touched[1]


def test_nothing_is_returned_where_nothing_is_found(images: Tensor) -> None:
    class Sure(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.eye(10)[7].expand(len(batch), 10) + 0 * batch.sum()

    assert counterfactual(Sure(), images[:1], 3) is adversarial(Sure(), images[:1], 3) is None


def test_an_optimal_input_has_the_ink_that_it_should(network: nn.Module, images: Tensor) -> None:
    mean = images[:1]
    for digit in (0, 1, 8):
        optimal = optimal_input(network, mean, digit)
        assert int(network(optimal).argmax()) == digit
        assert 0.7 < float(optimal.sum() / mean.sum()) < 1.5
