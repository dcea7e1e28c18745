"""Rounding of weights whose errors make up for each other, and the form in which integers are stored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from digitcli.architectures.compression import (
    LOG_SCALE,
    ORIGINAL,
    QuantizedWeight,
    apply_changes,
    pack,
    unpack,
    with_plain_weights,
)
from digitcli.compression.quantization import quantize_weights
from digitcli.compression.rounding import MOST_INPUTS, input_products, round_weights


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(4, 4, (1, 5), padding="same", groups=4),
        nn.Conv2d(4, 2, 3, dilation=2),
    ],
    ids=str,
)
def test_products_are_those_of_what_a_layer_multiplies_with_its_weights(layer: Any) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 4, 12, 10)
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


def test_weights_whose_inputs_have_nothing_in_common_become_the_nearest_integers() -> None:
    torch.manual_seed(0)
    weight, scale = torch.randn(4, 5), torch.full((4,), 0.25)
    rounded = round_weights(weight, scale, 5, torch.eye(5)[None])
    torch.testing.assert_close(rounded, (weight / 0.25).round() * 0.25)


@pytest.mark.parametrize("bits", range(3, 8))
def test_integers_of_any_number_of_bits_are_stored_exactly(bits: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 3))
    changes = quantize_weights(network, bits)
    expected = network[0].weight.detach().clone()
    stored = pack(changes, network.state_dict())
    assert stored["0" + ORIGINAL].nbytes == -(-21 * bits // 8) and stored["0" + LOG_SCALE].nbytes == 3
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    again = nn.Sequential(nn.Linear(7, 3))
    apply_changes(again, changes)
    again.load_state_dict(unpack(changes, stored, shapes))
    assert torch.equal(again[0].weight, expected)
    with pytest.raises(ValueError, match=f"do not hold 21 integers of {bits} bits"):
        unpack(changes, {**stored, "0" + ORIGINAL: stored["0" + ORIGINAL][:-1]}, shapes)


def test_older_files_of_4_bits_have_scales_that_are_not_rounded() -> None:
    changes = [{"change": "quantize_weights", "bits": {"0": 4}}]
    network = nn.Sequential(nn.Linear(3, 1))
    apply_changes(network, changes)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    halves = {
        "0.bias": torch.zeros(1).half(),
        "0" + LOG_SCALE: torch.tensor([-1.3]).half(),
        "0" + ORIGINAL: torch.tensor([9 + 16 * 6, 11 + 16 * 8], dtype=torch.uint8),  # 1, -2, 3 and no weight
    }
    network.load_state_dict(unpack(changes, halves, shapes))
    expected = torch.tensor([[1.0, -2.0, 3.0]]) * halves["0" + LOG_SCALE].float().exp2()
    torch.testing.assert_close(with_plain_weights(network)[0].weight, expected)


def test_training_sees_the_scale_that_is_stored_and_changes_it() -> None:
    quantizer = QuantizedWeight(4, 1)
    with torch.no_grad():
        quantizer.log_scale.fill_(-1.3)
    assert quantizer.scale.item() == pytest.approx(2**-1.25)
    quantizer(torch.tensor([[0.3, -0.7, 9.0]])).sum().backward()
    assert quantizer.log_scale.grad is not None and quantizer.log_scale.grad.abs().item() > 0


@pytest.mark.parametrize("bits", [2, 9, "4", 4.0])
def test_other_numbers_of_bits_are_refused(bits: Any) -> None:
    with pytest.raises(ValueError, match="weights cannot have"):
        QuantizedWeight(bits, 1)
