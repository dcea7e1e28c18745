"""Learning-rate schedules, optimizers, the average of the weights, and the choice of the number format."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from digitcli.architectures.model_surgery import freeze, stages_of
from digitcli.architectures.recipe import Optimizer, Recipe
from digitcli.architectures.registry import create_model
from digitcli.errors import UsageError
from digitcli.training.optimization import (
    choose_dtype,
    create_average,
    create_optimizer,
    is_large,
    orthogonal,
    scheduled_lr,
    set_lr,
    update_average,
)
from digitcli.training.setup import create_network


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    for schedule in ("cosine", "linear"):
        recipe = Recipe(lr=2.0, schedule=schedule, warmup=0.2)
        rates = [scheduled_lr(recipe, step / 100) for step in range(101)]
        assert rates[:21] == sorted(rates[:21]) and rates[20:] == sorted(rates[20:], reverse=True)
        assert rates[0] > 0
        assert (rates[10], rates[20], rates[100]) == pytest.approx((1.0, 2.0, 0.0))
        assert scheduled_lr(Recipe(lr=1.0, schedule=schedule, warmup=0.0), 0.5) == pytest.approx(0.5)
    assert scheduled_lr(Recipe(lr=1.0, schedule="constant", warmup=0.0), 0.9) == 1.0


def test_weight_decay_applies_to_matrices_alone_and_frozen_stages_are_left_out() -> None:
    for name in get_args(Optimizer):
        optimizer = create_optimizer(nn.Linear(3, 3), Recipe(optimizer=name, weight_decay=0.1))
        decays = {group["params"][0].ndim: group["weight_decay"] for group in optimizer.param_groups}
        assert decays == {2: 0.1, 1: 0.0}
        network = create_model("fast")
        freeze(network, 1)
        optimizer = create_optimizer(network, Recipe(optimizer=name))
        set_lr(optimizer, 0.4)
        rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        frozen, *trained = stages_of(network)
        assert not any(parameter in rates for parameter in frozen.parameters)
        assert [rates[parameter] for stage in trained for parameter in stage.parameters] == [0.4] * len(rates)


def test_plain_sgd_takes_the_textbook_step() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    optimizer = create_optimizer(network, Recipe(optimizer="sgd", lr=0.5))
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(network.weight, before - 0.5)


def test_the_average_equals_its_definition_and_forgets_the_initial_weights() -> None:
    network = nn.BatchNorm1d(1)
    recipe = Recipe(ema_decay=0.5)
    average = create_average(network, recipe)
    assert average is not None and create_average(network, Recipe(ema_decay=0.0)) is None
    expected = 0.0
    for steps, weight in enumerate([4.0, 8.0, 1.0, 2.0], start=1):
        with torch.no_grad():
            network.weight.fill_(weight)
            network.running_mean.fill_(weight)
        network.num_batches_tracked += 7
        update_average(average, network, recipe, steps)
        decay = 0.0 if steps == 1 else min(0.5, (1 + steps) / (10 + steps))
        expected = decay * expected + (1 - decay) * weight
    assert average.weight.item() == average.running_mean.item() == pytest.approx(expected)
    assert not average.weight.requires_grad and average.num_batches_tracked == 28


def test_only_a_device_with_native_instructions_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for avx512_bf16, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda given=avx512_bf16: given)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda given=amx: given)
        dtype, reason = choose_dtype(torch.device("cpu"))
        assert dtype == ("bfloat16" if avx512_bf16 or amx else "float32")
        assert "cpu" in reason and "bfloat16" in reason
    for native in (False, True):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation, native=native: including_emulation or native,
        )
        assert choose_dtype(torch.device("cuda"))[0] == ("bfloat16" if native else "float32")
    assert choose_dtype(torch.device("mps"))[0] == "float32"


def test_large_matrices_of_any_scale_are_made_orthogonal() -> None:
    for scale in (0.0, 1e-30, 1e-25, 1.0, 1e20):
        for dtype in (torch.float32, torch.bfloat16):
            torch.manual_seed(0)
            values = torch.linalg.svdvals(orthogonal(scale * torch.randn(64, 48), dtype))
            assert (values == 0).all() if scale == 0 else 0.5 < values.median() < 1.5, (scale, dtype)
    assert is_large(torch.zeros(64, 32, 3, 3)) and is_large(torch.zeros(32, 32))
    assert not is_large(torch.zeros(400, 8, 160)) and not is_large(torch.zeros(10, 128))
    for arch in ("softmax", "micro", "lenet1", "hog"):
        with pytest.raises(UsageError, match=f"'{arch}' has none"):
            create_network(arch, Recipe(optimizer="muon"))


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
