"""Muon, against its publication."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import create_model
from digitcli.errors import UsageError
from digitcli.training.muon import check_muon, is_large, orthogonal
from digitcli.training.optimization import create_optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-25, 1.0, 1e20])
def test_matrices_of_any_scale_are_made_orthogonal(dtype: torch.dtype, scale: float) -> None:
    torch.manual_seed(0)
    turned = orthogonal(scale * torch.randn(64, 48), dtype)
    values = torch.linalg.svdvals(turned)
    assert (values == 0).all() if scale == 0 else 0.5 < values.median() < 1.5


def test_muon_does_not_train_stacks_of_matrices() -> None:
    assert is_large(torch.zeros(64, 32, 3, 3)) and is_large(torch.zeros(32, 32))
    assert not is_large(torch.zeros(400, 8, 160)) and not is_large(torch.zeros(10, 128))


def test_muon_has_nesterov_momentum_and_decoupled_weight_decay() -> None:
    """Jordan et al.: momentum, looked at one step ahead; the weights shrink by lr times decay besides."""
    torch.manual_seed(0)
    layer = nn.Linear(40, 40, bias=False)
    muon = create_optimizer(layer, Recipe(optimizer="muon", lr=0.1, weight_decay=0.5))
    gradients = torch.randn(2, 40, 40)
    expected, momentum = layer.weight.detach().clone(), torch.zeros(40, 40)
    for gradient in gradients:
        layer.weight.grad = gradient.clone()
        muon.step()
        momentum = 0.95 * momentum + gradient
        change = orthogonal(gradient + 0.95 * momentum, torch.float32)
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 40**0.5 * change
    torch.testing.assert_close(layer.weight.detach(), expected, atol=2e-3, rtol=0)


def test_muon_makes_large_matrices_orthogonal_and_adamw_trains_the_rest() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 40, 3), nn.Linear(40, 10))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    muon = create_optimizer(network, Recipe(optimizer="muon", lr=0.1))
    gradients = [torch.randn_like(parameter) for parameter in network.parameters()]
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    muon.step()
    kernel, *others = [parameter - was for parameter, was in zip(network.parameters(), before, strict=True)]
    singular = torch.linalg.svdvals(kernel.flatten(1) / (0.1 * 0.2 * 72**0.5))
    assert singular.min() > 0.5 and singular.max() < 1.4
    assert (kernel * gradients[0]).sum() < 0
    for change, gradient in zip(others, gradients[1:], strict=True):
        torch.testing.assert_close(change, -0.1 * gradient.sign(), atol=1e-3, rtol=0)  # AdamW's first step


@pytest.mark.parametrize("arch", ["softmax", "micro", "lenet1", "hog"])
def test_muon_is_refused_for_networks_without_a_large_matrix(arch: str) -> None:
    with pytest.raises(UsageError, match=f"'{arch}' has none"):
        check_muon(arch, create_model(arch), Recipe(optimizer="muon"))
    check_muon(arch, create_model(arch), Recipe())
    check_muon("lenet5", create_model("lenet5"), Recipe(optimizer="muon"))
