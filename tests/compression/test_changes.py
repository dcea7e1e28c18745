"""Every change on every architecture of single digits: what it does, and that a checkpoint holds it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from digitcli.architectures.compression import Change, pack, with_plain_weights
from digitcli.architectures.registry import ARCHITECTURES, create_model
from digitcli.compression.changes import (
    MOST_INPUTS,
    fold,
    input_products,
    prune,
    quantize_inputs,
    quantize_weights,
    round_weights,
)
from digitcli.errors import UsageError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import load_network, open_network
from digitcli.strip_format import ALPHABET
from tests.support.exports import randomize

DIGITS = [row.name for row in ARCHITECTURES if row.task == "digit"]
NOT_PRUNED = {"softmax", "hog", "vit", "mixer", "lstm"}


@pytest.fixture
def images(digits) -> Tensor:  # type: ignore[no-untyped-def]
    return torch.from_numpy(digits.images[:16, None]).float() / 255


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomize(create_model(name)).eval()


def same_after_storing(
    name: str, network: nn.Module, changes: list[Change], images: Tensor, tolerance: float = 0.02
) -> None:
    """Assert that a checkpoint of a changed network answers as the network does, but for its float16."""
    arguments = {"compression": changes}
    write_checkpoint(
        path := Path("changed.safetensors"),
        Header(architecture=name, arguments=arguments, alphabet=ALPHABET),
        pack(changes, network.state_dict()),
    )
    with torch.inference_mode():
        expected = network(images)
        actual = open_network(resolve_model(path))(images)
    scale = expected.abs().max()
    torch.testing.assert_close(actual / scale, expected / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", DIGITS)
def test_a_checkpoint_holds_every_change_of_every_architecture(name: str, images: Tensor) -> None:
    network = built(name)
    original = network(images)
    scale = original.abs().max()

    folded = copy.deepcopy(network)
    if changes := fold(folded):
        torch.testing.assert_close(folded(images), original, atol=1e-3, rtol=1e-3)
        assert sum(map(torch.numel, folded.parameters())) < sum(map(torch.numel, network.parameters()))
        same_after_storing(name, folded, changes, images)

    rounded = copy.deepcopy(network)
    changes = quantize_inputs(rounded, lambda layer: layer(images))
    expected = rounded(images)
    assert 0 < (expected - original).abs().max() < 0.2 * scale
    same_after_storing(name, rounded, changes, images)
    torch.testing.assert_close(with_plain_weights(rounded)(images), expected)

    for bits in (8, 4) if name in ("fast", "vit", "lstm") else (4,):
        quantized = copy.deepcopy(network)
        changes = quantize_weights(quantized, bits)
        expected = quantized(images)
        assert 0 < (expected - original).abs().max() < (0.1 if bits == 8 else 1.5) * scale
        torch.testing.assert_close(with_plain_weights(copy.deepcopy(quantized))(images), expected)
        # A weight in the middle of two of few integers may become the other one, as its scale is rounded.
        same_after_storing(name, quantized, changes, images, tolerance=0.02 if bits == 8 else 0.06)
    trained = load_network(resolve_model(Path("changed.safetensors"))).state_dict()
    assert len([each for each in trained if each.endswith("log_scale")]) == len(changes[0]["bits"])


@pytest.mark.parametrize("name", DIGITS)
def test_pruned_networks_have_fewer_channels(name: str, images: Tensor) -> None:
    pytest.importorskip("torch_pruning")
    network = built(name)
    before = sum(map(torch.numel, network.parameters()))

    def loss_of(network: nn.Module) -> Tensor:
        return functional.cross_entropy(network(images), torch.arange(16) % 10)

    if name in NOT_PRUNED:
        with pytest.raises(UsageError, match="hannel"):
            prune(network, images[:2], loss_of, 0.5)
        return
    changes = prune(network, images[:2], loss_of, 0.5)
    assert sum(map(torch.numel, network.parameters())) < 0.9 * before
    same_after_storing(name, network, changes, images)


def test_channels_without_effect_are_removed_first(images: Tensor) -> None:
    pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 26 * 26, 10)).eval()
    with torch.no_grad():
        network[0].weight[::2], network[0].bias[::2] = 0, -1  # these maps are always zero
    expected = network(images)
    prune(network, images[:2], lambda net: functional.cross_entropy(net(images), torch.arange(16) % 10), 0.5)
    assert network[0].weight.shape == (4, 1, 3, 3) and network[3].weight.shape == (10, 4 * 26 * 26)
    torch.testing.assert_close(network(images), expected)


def test_zero_is_exact_and_the_ends_of_a_range_are_kept(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 4)).eval()
    shifted = 3 * images - 1
    (change,) = quantize_inputs(network, lambda layer: layer(shifted))
    ((scale, zero_point),) = change["ranges"].values()
    quantizer: Callable[[Tensor], Tensor] = network[1].input_quantizer  # type: ignore[assignment]
    assert quantizer(torch.zeros(1)).item() == 0 and scale == pytest.approx(3 / 255)
    ends = torch.tensor([-1.0, 2.0])
    torch.testing.assert_close(quantizer(ends), ends, atol=scale, rtol=0)
    assert quantizer(torch.tensor([9.0])).item() == pytest.approx((255 - zero_point) * scale)


def test_a_reader_is_pruned_with_both_of_its_heads() -> None:
    pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    network = randomize(create_model("reader")).eval()
    lines = torch.rand(2, 3, 40, 64)
    before = sum(map(torch.numel, network.parameters()))
    shapes = [output.shape for output in network.locate(lines)]  # type: ignore[operator]
    changes = prune(network, lines, lambda whole: whole(lines).square().mean(), 0.3)
    assert [output.shape for output in network.locate(lines)] == shapes  # type: ignore[operator]
    assert sum(map(torch.numel, network.parameters())) < 0.85 * before
    same_after_storing("reader", network, changes, lines)


class Both(nn.Module):
    """A network that also uses the output of its layer without the normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.layer(images)
        return maps + self.norm(maps)  # type: ignore[no-any-return]


class Twice(nn.Module):
    """A network that uses its layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(1), nn.BatchNorm2d(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.layer(self.first(self.layer(images))))  # type: ignore[no-any-return]


def test_a_normalization_that_no_layer_can_take_over_is_kept() -> None:
    without_statistics = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    for network in (Both(), Twice(), without_statistics):
        assert fold(network.eval()) == [], network


def test_products_are_those_of_what_a_layer_multiplies_with_its_weights() -> None:
    torch.manual_seed(0)
    layers: tuple[Any, ...] = (
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(4, 4, (1, 5), padding="same", groups=4),
        nn.Conv2d(4, 2, 3, dilation=2),
    )
    images = torch.rand(3, 4, 12, 10)
    for layer in layers:
        products = input_products(layer, {"layer": layer}, lambda network: network(images))["layer"]
        outputs = layer(images) - layer.bias.view(-1, 1, 1)
        weights = layer.weight.view(layer.groups, -1, products.shape[1])
        squares = (weights @ products @ weights.transpose(1, 2)).diagonal(dim1=1, dim2=2).flatten()
        torch.testing.assert_close(squares, outputs.square().sum(dim=(0, 2, 3)))


def test_layers_with_too_many_inputs_and_unused_layers_are_left_out() -> None:
    network = nn.ModuleDict({"wide": nn.Linear(MOST_INPUTS + 1, 1), "unused": nn.Linear(2, 1)})
    wide = network["wide"]
    assert input_products(network, dict(network), lambda _: wide(torch.ones(1, MOST_INPUTS + 1))) == {}


def test_the_errors_of_weights_make_up_for_each_other() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 9, 3) @ torch.randn(2, 3, 200) + 0.1 * torch.randn(2, 9, 200)  # groups, I, N
    weight, scale = torch.randn(8, 1, 3, 3), torch.full((8,), 0.3)

    def error(rounded: Tensor) -> float:
        return float(((rounded - weight).view(2, 4, 9) @ inputs).square().sum())

    nearest = (weight / 0.3).round().clamp(-7, 7) * 0.3
    rounded = round_weights(weight, scale, 4, inputs @ inputs.transpose(1, 2))
    assert error(rounded) < 0.5 * error(nearest)
    torch.testing.assert_close(rounded / 0.3, (rounded / 0.3).round(), atol=1e-5, rtol=0)
    assert (rounded / 0.3).abs().max() < 7.01
