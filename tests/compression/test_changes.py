"""Every change on every architecture of single digits: what it does, and that a checkpoint holds it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from digitcli.architectures.compression import Change, pack, with_plain_weights
from digitcli.architectures.registry import ARCHITECTURES, create_model
from digitcli.compression.folding import fold
from digitcli.compression.low_rank import factorize
from digitcli.compression.pruning import prune
from digitcli.compression.quantization import quantize_inputs, quantize_weights
from digitcli.errors import UsageError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import load_network, open_network
from tests.support.exports import randomize

DIGITS = [row.name for row in ARCHITECTURES if row.task == "digit"]
NOT_PRUNED = {"softmax", "hog", "vit", "mixer", "lstm"}
NOT_FACTORIZED = {"softmax", "micro"}


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
        Header(architecture=name, arguments=arguments, alphabet="0123456789.,-=/"),
        pack(changes, network.state_dict()),
    )
    with torch.inference_mode():
        expected = network(images)
        actual = open_network(resolve_model(path))(images)
    scale = expected.abs().max()
    torch.testing.assert_close(actual / scale, expected / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", DIGITS)
def test_folding_changes_no_answer(name: str, images: Tensor) -> None:
    network = built(name)
    folded = copy.deepcopy(network)
    changes = fold(folded)
    torch.testing.assert_close(folded(images), network(images), atol=1e-3, rtol=1e-3)
    if changes:
        assert sum(map(torch.numel, folded.parameters())) < sum(map(torch.numel, network.parameters()))
        same_after_storing(name, folded, changes, images)


@pytest.mark.parametrize(
    ("name", "bits"), [*((name, 4) for name in DIGITS), ("cnn", 8), ("vit", 8), ("lstm", 8)]
)
def test_quantized_weights_are_stored_as_integers(name: str, bits: int, images: Tensor) -> None:
    network = built(name)
    original = network(images)
    changes = quantize_weights(network, bits)
    difference = (network(images) - original).abs().max() / original.abs().max()
    assert 0 < difference < (0.1 if bits == 8 else 1.5)
    # A weight in the middle of two of few integers may become the other one, as its scale is rounded.
    same_after_storing(name, network, changes, images, tolerance=0.02 if bits == 8 else 0.06)


@pytest.mark.parametrize("name", DIGITS)
def test_quantized_inputs_answer_nearly_the_same(name: str, images: Tensor) -> None:
    network = built(name)
    original = network(images)
    changes = quantize_inputs(network, lambda layer: layer(images))
    rounded = network(images)
    assert 0 < (rounded - original).abs().max() < 0.2 * original.abs().max()
    same_after_storing(name, network, changes, images)
    torch.testing.assert_close(with_plain_weights(network)(images), rounded)


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


@pytest.mark.parametrize("name", DIGITS)
def test_factorized_networks_have_fewer_weights(name: str, images: Tensor) -> None:
    network = built(name)
    before = sum(map(torch.numel, network.parameters()))
    if name in NOT_FACTORIZED:
        with pytest.raises(UsageError, match="two with"):
            factorize(network, 0.01 if name == "softmax" else 0.1)
        return
    changes = factorize(network, 0.5)
    assert sum(map(torch.numel, network.parameters())) < before
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


def test_a_normalization_whose_input_others_use_too_is_kept(images: Tensor) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.layer(images)
            return maps + self.norm(maps)  # type: ignore[no-any-return]

    network = randomize(Both()).eval()
    assert fold(network) == [] and isinstance(network.norm, nn.BatchNorm2d)


def test_the_product_of_low_rank_is_the_nearest_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 30, bias=False))
    weight = network[0].weight.detach().clone()
    factorize(network, 0.5)
    first, second = network[0][0].weight, network[0][1].weight
    rank = len(first)
    assert rank == 8  # 0.5 * 1200 / 70
    error = (second @ first - weight).square().sum().item()
    assert error == pytest.approx(torch.linalg.svdvals(weight)[rank:].square().sum().item(), rel=1e-4)


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


def test_a_compressed_network_keeps_its_scales_for_training() -> None:
    network = built("micro")
    changes = quantize_weights(network, 4)
    write_checkpoint(
        path := Path("four.safetensors"),
        Header(architecture="micro", arguments={"compression": changes}),
        pack(changes, network.state_dict()),
    )
    scales = [name for name in load_network(resolve_model(path)).state_dict() if name.endswith("log_scale")]
    assert len(scales) == len(changes[0]["bits"])


def test_a_copy_with_plain_weights_leaves_the_network_as_it_was(images: Tensor) -> None:
    network = built("micro")
    quantize_weights(network, 4)
    expected = network(images)
    plain = with_plain_weights(copy.deepcopy(network))
    assert not any(name.endswith("log_scale") for name in plain.state_dict())
    torch.testing.assert_close(plain(images), expected)
    torch.testing.assert_close(network(images), expected)


def test_a_layer_that_is_used_twice_keeps_its_normalization(images: Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 3, padding=1)
            self.first, self.second = nn.BatchNorm2d(1), nn.BatchNorm2d(1)

        def forward(self, images: Tensor) -> Tensor:
            return self.second(self.layer(self.first(self.layer(images))))  # type: ignore[no-any-return]

    network = randomize(Twice()).eval()
    assert fold(network) == []


def test_a_normalization_without_statistics_is_kept(images: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    assert fold(network) == []


def test_a_reader_is_pruned_with_both_of_its_heads() -> None:
    pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    network = randomize(create_model("reader")).eval()
    lines = torch.rand(2, 1, 40, 64)
    before = sum(map(torch.numel, network.parameters()))
    shapes = [output.shape for output in network.locate(lines)]  # type: ignore[operator]
    changes = prune(network, lines, lambda whole: whole(lines).square().mean(), 0.3)
    assert [output.shape for output in network.locate(lines)] == shapes  # type: ignore[operator]
    assert sum(map(torch.numel, network.parameters())) < 0.85 * before
    same_after_storing("reader", network, changes, lines)
