"""Schedules, optimizers, averages, losses and curves."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from digitcli.training.events import EpochDone
from torch import nn

from digitcli.architectures.recipe import Optimizer, Recipe
from digitcli.architectures.registry import create_model, resolve_recipe
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import UsageError
from digitcli.inference.torch_runtime import infer
from digitcli.training.configuration import TrainConfig
from digitcli.training.curves import draw_curves
from digitcli.training.digit_task import DigitMaterial
from digitcli.training.losses import loss_function, squared_error
from digitcli.training.muon import check_muon, is_large, orthogonal
from digitcli.training.optimization import create_average, create_optimizer, scheduled_lr, update_average
from digitcli.training.task import derive_seed


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(schedule: str) -> None:
    recipe = Recipe(lr=2.0, schedule=schedule, warmup=0.2)
    rates = [scheduled_lr(recipe, step / 100) for step in range(101)]
    assert rates[:21] == sorted(rates[:21]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[0] > 0
    assert rates[20] == pytest.approx(2.0)
    assert rates[100] == pytest.approx(0.0)


def test_the_margin_loss_by_hand() -> None:
    lengths = torch.tensor([[0.95, 0.05, 0.3], [0.5, 0.2, 0.0001]])
    expected = (0.5 * 0.2**2 + 0.4**2 + 0.5 * 0.1**2) / 2
    loss = loss_function(Recipe(loss="margin"))(lengths.logit(), torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_what_is_no_digit_is_taught_to_be_any_of_them_alike() -> None:
    loss = loss_function(Recipe(synthetic=1))
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    of_none = loss(logits, torch.full((4,), 10))
    torch.testing.assert_close(of_none, -logits.log_softmax(dim=-1).mean())
    assert of_none > loss(torch.zeros(4, 10), torch.full((4,), 10))
    labels = torch.tensor([3, 0, 9, 9])
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels))
    smooth = loss_function(Recipe(synthetic=1, label_smoothing=0.1))
    torch.testing.assert_close(smooth(logits, labels), F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_halfway_down_the_schedules_have_halved() -> None:
    for schedule in ("cosine", "linear"):
        assert scheduled_lr(Recipe(lr=1.0, schedule=schedule, warmup=0.0), 0.5) == pytest.approx(0.5)
    assert scheduled_lr(Recipe(lr=1.0, schedule="constant", warmup=0.0), 0.9) == 1.0


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_only_matrices_decay(name: str) -> None:
    optimizer = create_optimizer(nn.Linear(3, 3), Recipe(optimizer=name, weight_decay=0.1))
    decays = {group["params"][0].ndim: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {2: 0.1, 1: 0.0}


def test_plain_sgd_is_the_textbook_step() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    optimizer = create_optimizer(network, Recipe(optimizer="sgd", lr=0.5))
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(network.weight, before - 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-25, 1.0, 1e20])
def test_matrices_of_any_size_are_turned(dtype: torch.dtype, scale: float) -> None:
    torch.manual_seed(0)
    turned = orthogonal(scale * torch.randn(64, 48), dtype)
    values = torch.linalg.svdvals(turned)
    assert (values == 0).all() if scale == 0 else 0.5 < values.median() < 1.5


def test_muon_leaves_stacks_of_matrices_alone() -> None:
    assert is_large(torch.zeros(64, 32, 3, 3)) and is_large(torch.zeros(32, 32))
    assert not is_large(torch.zeros(400, 8, 160)) and not is_large(torch.zeros(10, 128))


def test_muon_remembers_where_it_was_going_and_decays_beside() -> None:
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


@pytest.mark.parametrize("arch", ["softmax", "tiny", "micro", "lenet1", "hog"])
def test_muon_is_refused_where_it_would_train_nothing(arch: str) -> None:
    with pytest.raises(UsageError, match=f"'{arch}' has none"):
        check_muon(arch, create_model(arch), Recipe(optimizer="muon"))
    check_muon(arch, create_model(arch), Recipe())
    check_muon("lenet5", create_model("lenet5"), Recipe(optimizer="muon"))


@pytest.mark.parametrize("arch", ["sigmoid_mlp", "capsnet", "fast"])
def test_the_validation_loss_is_the_one_that_is_trained(arch: str, few_digits: Path) -> None:
    dataset, recipe = load_dataset(str(few_digits)), resolve_recipe(arch)
    material = DigitMaterial(TrainConfig(arch=arch), recipe, dataset, torch.device("cpu"))
    torch.manual_seed(0)
    network = create_model(arch)
    validation = split(dataset).validation
    expected = loss_function(recipe)(infer(network, validation.images), torch.from_numpy(validation.labels))
    assert material.validate(network)[0] == pytest.approx(float(expected))


def test_muon_turns_hidden_matrices_and_leaves_the_rest_to_adamw() -> None:
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


def test_the_average_follows_the_weights_and_forgets_the_start() -> None:
    network = nn.BatchNorm1d(2)
    recipe = Recipe(ema_decay=0.999)
    average = create_average(network, recipe)
    assert average is not None
    with torch.no_grad():
        network.weight.fill_(5.0)
        network.running_mean.fill_(3.0)
    for steps in range(1, 200):
        update_average(average, network, recipe, steps)
    torch.testing.assert_close(average.weight, torch.full((2,), 5.0))
    torch.testing.assert_close(average.running_mean, torch.full((2,), 3.0))


def test_the_average_by_its_definition() -> None:
    network = nn.Linear(1, 1, bias=False)
    recipe = Recipe(ema_decay=0.5)
    average = create_average(network, recipe)
    assert average is not None
    expected = 0.0
    for steps, weight in enumerate([4.0, 8.0, 1.0, 2.0], start=1):
        with torch.no_grad():
            network.weight.fill_(weight)
        update_average(average, network, recipe, steps)
        decay = 0.0 if steps == 1 else min(0.5, (1 + steps) / (10 + steps))
        expected = decay * expected + (1 - decay) * weight
    assert average.weight.item() == pytest.approx(expected)
    assert not average.weight.requires_grad


def test_the_average_takes_over_what_is_no_float() -> None:
    network = nn.BatchNorm1d(2)
    average = create_average(network, Recipe(ema_decay=0.9))
    assert average is not None
    network.num_batches_tracked += 7
    update_average(average, network, Recipe(ema_decay=0.9), 5)
    assert average.num_batches_tracked == 7


def test_no_average_where_none_is_asked_for() -> None:
    assert create_average(nn.Linear(1, 1), Recipe(ema_decay=0.0)) is None


def test_squared_error_is_as_exact_for_logits_in_bfloat16() -> None:
    logits = torch.tensor([[7.0, -7.0]], dtype=torch.bfloat16, requires_grad=True)
    squared_error(logits, torch.tensor([1])).backward()
    assert logits.grad is not None and logits.grad[0, 0].item() == pytest.approx(9.1e-4, rel=0.01)


def test_squared_error_by_its_definition() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    outputs = torch.sigmoid(logits)
    expected = 0.5 * ((outputs[0] - torch.tensor([0.0, 1.0])) ** 2).sum()
    expected += 0.5 * ((outputs[1] - torch.tensor([1.0, 0.0])) ** 2).sum()
    torch.testing.assert_close(squared_error(logits, torch.tensor([1, 0])), expected / 2)


def test_label_smoothing_reaches_the_loss() -> None:
    logits, labels = torch.randn(4, 10), torch.arange(4)
    smoothed = loss_function(Recipe(label_smoothing=0.2))(logits, labels)
    torch.testing.assert_close(smoothed, F.cross_entropy(logits, labels, label_smoothing=0.2))
    assert loss_function(Recipe(loss="squared_error")) is squared_error


def test_seeds_differ_in_every_part_and_stay_the_same() -> None:
    seeds = {derive_seed(seed, epoch, step) for seed in range(5) for epoch in range(5) for step in range(5)}
    assert len(seeds) == 125
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_curves_are_an_svg_of_every_epoch(epochs: int) -> None:
    rows = [
        EpochDone(epoch, 0.1, 1 / epoch, 1.1 / epoch, 1 - 0.1 / epoch, 1000.0, 1.0 * epoch)
        for epoch in range(1, epochs + 1)
    ]
    picture = ElementTree.fromstring(draw_curves("a <name> & more", rows))
    (lines, dots) = (
        [part for part in picture.iter() if part.tag.endswith(tag)] for tag in ("path", "circle")
    )
    curves = [line.get("d", "") for line in lines if line.get("class") == "line" and "L" in line.get("d", "")]
    assert len(dots) == (3 if epochs == 1 else 0)
    assert [curve.count("L") for curve in curves].count(epochs - 1) >= (0 if epochs == 1 else 3)


def test_curves_of_a_perfect_run_are_drawn_too() -> None:
    assert "svg" in draw_curves("perfect", [EpochDone(1, 0.1, 0.0, 0.0, 1.0, 1.0, 1.0)])
