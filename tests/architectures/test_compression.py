"""Compressed networks: what a checkpoint stores of them, and that it rebuilds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from digitcli.architectures.compression import (
    QuantizedInput,
    QuantizedWeight,
    pack,
    unpack,
)
from digitcli.architectures.registry import create_model
from digitcli.compression.changes import quantize_weights
from digitcli.errors import ModelError
from digitcli.inference.checkpoint import Header, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import open_network

LINEAR = next(name for name, layer in create_model("softmax").named_modules() if isinstance(layer, nn.Linear))
QUANTIZED: list[dict[str, Any]] = [{"change": "quantize_weights", "bits": {"0": 4}}]


def quantized_linear(inputs: int = 7, outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(inputs, outputs))
    quantize_weights(network, 4)
    return network


def test_two_integers_of_four_bits_share_a_byte_and_come_back() -> None:
    network = quantized_linear()
    packed = pack(QUANTIZED, network.state_dict())
    name = "0.parametrizations.weight.original"
    assert packed[name].dtype == torch.uint8 and packed[name].numel() == 11  # 21 integers
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    network.load_state_dict(unpack(QUANTIZED, packed, shapes))
    integers = network[0].weight / network[0].parametrizations.weight[0].scale[:, None]  # type: ignore
    torch.testing.assert_close(integers, integers.round())
    assert integers.abs().max().item() == pytest.approx(7)
    again = pack(QUANTIZED, network.state_dict())
    assert all(torch.equal(packed[key], again[key]) for key in packed), "it changes when it is stored again"


def test_training_sees_rounded_weights_and_moves_the_weights_and_their_scales() -> None:
    network = quantized_linear()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    images, targets = torch.randn(64, 7), torch.randn(64, 3)
    losses = []
    for _ in range(40):
        loss = (network(images) - targets).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        scale = network[0].parametrizations.weight[0].scale[:, None]  # type: ignore
        steps = network[0].weight / scale  # type: ignore
        assert (steps - steps.round()).abs().max() < 1e-4
    assert losses[-1] < losses[0]
    assert all(not torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_scale_has_the_gradient_of_the_rounding_error() -> None:
    quantizer = QuantizedWeight(4, 1)
    weight = torch.tensor([[0.3, 1.6, 9.0]], requires_grad=True)
    quantizer(weight).sum().backward()
    # d/dscale is round(w) - w inside the range and 7 outside; the scale is 1, and its logarithm is to base 2
    expected = (0 - 0.3) + (2 - 1.6) + 7
    assert quantizer.log_scale.grad is not None and weight.grad is not None
    assert float(quantizer.log_scale.grad) == pytest.approx(expected * 0.6931472, rel=1e-5)
    assert weight.grad.tolist() == [[1, 1, 0]], "a clipped weight has no gradient"


def written(path: Path, changes: list[dict[str, Any]]) -> Path:
    network = create_model("softmax", compression=changes)
    header = Header(architecture="softmax", arguments={"compression": changes})
    write_checkpoint(path, header, pack(changes, network.state_dict()))
    return path


def test_changes_that_do_not_fit_are_an_error_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    cases: list[tuple[list[Any], str]] = [
        ([{"change": "shrink"}], "knows no compression 'shrink'"),
        ([{"change": "fold", "layers": {"7": "nothing"}}], "does not fit its architecture"),
        ([{"change": "quantize_weights", "bits": {"9": 4}}], "does not fit its architecture"),
        ([{"change": "factorize", "ranks": {LINEAR: 2}}], "knows no compression 'factorize'"),
        (
            [{"change": "resize", "attributes": {LINEAR: {"forward": 3}}, "shapes": {}}],
            "forward cannot become",
        ),
        ([{"change": "resize", "attributes": {}, "shapes": {f"{LINEAR}.weight": [9**9]}}], "the shape"),
        ([{"change": "resize", "attributes": {}, "shapes": {f"{LINEAR}.weight": [20, 784]}}], "the shape"),
        *(([{"change": "quantize_weights", "bits": {LINEAR: bits}}], f"{bits} bits") for bits in (2, 6, 9)),
        ([{"change": "quantize_inputs", "ranges": {LINEAR: ["a", 0]}}], "does not fit its architecture"),
        ([{"change": "quantize_inputs", "ranges": {LINEAR: [0.0, 0]}}], "the scale 0.0"),
        ([{"change": "quantize_inputs", "ranges": {LINEAR: [0.1, 256]}}], "the zero point 256"),
        ([{"x": 1}], "damaged header"),
        (["fold"], "damaged header"),
    ]
    for changes, message in cases:
        header = Header(architecture="softmax", arguments={"compression": changes})
        write_checkpoint(path, header, create_model("softmax").state_dict())
        with pytest.raises(ModelError, match=message):
            open_network(resolve_model(path))


def test_too_few_integers_are_an_error_of_the_model(tmp_path: Path) -> None:
    path = written(tmp_path / "four.safetensors", [{"change": "quantize_weights", "bits": {LINEAR: 4}}])
    header, tensors = read_checkpoint(path)
    cut = {key: value[:-1] if value.dtype == torch.uint8 else value for key, value in tensors.items()}
    write_checkpoint(path, replace(header), cut)
    with pytest.raises(ModelError, match="do not hold 7840 integers"):
        open_network(resolve_model(path))


def needs_values() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    assert float(network[1].weight.detach().std()) > 0  # tensors without values have no deviation
    return network


def test_integers_are_unpacked_where_a_network_needs_values(
    tmp_path: Path, plugins: Callable[..., None]
) -> None:
    plugins(needy=f"{__name__}:needs_values")
    network = create_model("needy").eval()
    changes = quantize_weights(network, 8)
    header = Header(architecture="needy", arguments={"compression": changes})
    write_checkpoint(tmp_path / "eight.safetensors", header, pack(changes, network.state_dict()))
    images = torch.rand(5, 1, 28, 28)
    opened = open_network(resolve_model(tmp_path / "eight.safetensors"))
    torch.testing.assert_close(opened(images), network(images), atol=0.05, rtol=0)


def test_numbers_that_float16_cannot_hold_and_number_formats_stay_as_they_are() -> None:
    tensors = {
        "large": torch.tensor([1e5, 1.0]),
        "small": torch.tensor([0.1, 0.25]),
        "count": torch.tensor(3),
    }
    packed = pack([{"change": "fold", "layers": {}}], tensors)
    assert [packed[name].dtype for name in tensors] == [torch.float32, torch.float16, torch.int64]
    assert torch.equal(packed["large"], tensors["large"])
    values = QuantizedInput(0.1, 0)(torch.tensor([0.26], dtype=torch.bfloat16))
    assert values.dtype == torch.bfloat16 and abs(float(values) - 0.3) < 0.01
