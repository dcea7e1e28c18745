"""Plain layers: they compute what the network computes, or the network is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.errors import UsageError
from digitcli.export.c_steps import Step, assign_places, make_steps
from digitcli.export.layers import PlainLayer, plain_layers
from digitcli.export.quantization import quantize, round_weights, run_layers
from digitcli.inference.torch_runtime import infer
from tests.support.exports import CHAINS, in_blocks, randomize


def steps_of(layers: Sequence[PlainLayer]) -> list[Step]:
    return make_steps(layers, assign_places(layers), quantized=False, packed=False)


NOT_HELD = ["resnet", "vit", "lstm", "capsnet", "hog"]


@pytest.mark.parametrize("architecture", CHAINS)
def test_they_compute_the_same(architecture: str, digits: Digits) -> None:
    torch.manual_seed(0)
    network = randomize(create_model(architecture)).eval()
    layers = plain_layers(network, architecture, "c")
    assert not any(layer.kind == "scale" for layer in layers), "a batch normalization is not folded"
    images = digits.images[:4]
    ((logits,),) = run_layers(layers, [images])
    np.testing.assert_allclose(logits, infer(network, images).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", NOT_HELD)
def test_other_networks_are_refused_with_a_remedy(architecture: str) -> None:
    with pytest.raises(UsageError, match=f"cannot hold {architecture}: it has") as failure:
        plain_layers(create_model(architecture).eval(), architecture, "c")
    assert "--to onnx" in failure.value.remedy


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 3, dilation=2),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(3, ceil_mode=True),
        nn.AdaptiveAvgPool2d(2),
        nn.BatchNorm2d(1, track_running_stats=False),
        nn.Linear(28, 28),
    ],
    ids=str,
)
def test_settings_that_no_function_has_are_refused(layer: nn.Module) -> None:
    network = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(10))
    network(torch.zeros(2, 1, 28, 28))
    with pytest.raises(UsageError, match="cannot hold"):
        plain_layers(network.eval(), "own", "c")


def test_a_layer_that_stands_in_a_network_twice_is_computed_twice(digits: Digits) -> None:
    torch.manual_seed(0)
    activation, middle = nn.Tanh(), nn.Linear(20, 20)
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 20),
        activation,
        middle,
        activation,
        middle,
        activation,
        nn.Linear(20, 10),
    )
    layers = plain_layers(network.eval(), "own", "c")
    assert [layer.kind for layer in layers] == ["linear", "tanh"] * 3 + ["linear"]
    ((logits,),) = run_layers(layers, [digits.images[:4]])
    np.testing.assert_allclose(logits, infer(network, digits.images[:4]).numpy(), atol=1e-5)
    assert len({step.records[0].name for step in steps_of(layers) if step.records}) == 4


class Doubled(nn.ReLU):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(values)


class Branch(nn.Sequential):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + super().forward(values)  # type: ignore[no-any-return]


class Named(nn.ReLU):
    """An activation that computes what ReLU computes."""


def test_own_layers_that_compute_something_else_are_refused() -> None:
    for layer in (Doubled(), Branch(nn.Conv2d(1, 1, 1))):
        with pytest.raises(UsageError, match="cannot hold own"):
            plain_layers(nn.Sequential(layer, nn.Flatten(), nn.Linear(784, 10)).eval(), "own", "c")
    layers = plain_layers(nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Named()).eval(), "own", "c")
    assert [layer.kind for layer in layers] == ["linear", "relu"]


def test_a_batch_normalization_that_follows_no_weights_is_a_layer(digits: Digits) -> None:
    network = nn.Sequential(
        nn.BatchNorm2d(1), nn.MaxPool2d(3, ceil_mode=True, padding=1), nn.Flatten(), nn.LazyLinear(10)
    )
    network(torch.zeros(2, 1, 28, 28))
    layers = plain_layers(randomize(network).eval(), "own", "c")
    assert [layer.kind for layer in layers] == ["scale", "max_pool", "linear"]
    ((logits,),) = run_layers(layers, [digits.images[:4]])
    np.testing.assert_allclose(logits, infer(network, digits.images[:4]).numpy(), atol=1e-5)


def test_a_batch_normalization_of_single_pixels_is_not_folded_into_maps(digits: Digits) -> None:
    network = randomize(in_blocks()).eval()
    layers = plain_layers(network, "own", "c")
    assert [layer.kind for layer in layers][-2:] == ["scale", "linear"]
    ((logits,),) = run_layers(layers, [digits.images[:4]])
    np.testing.assert_allclose(logits, infer(network, digits.images[:4]).numpy(), atol=1e-5)


def test_integers_are_as_near_to_the_weights_as_their_scale_allows() -> None:
    weights = np.random.default_rng(0).normal(size=(3, 2, 3, 3)).astype(np.float32)
    weights[1] *= 100
    weights[2] = 0
    integers, scales = quantize(weights)
    assert integers.dtype == np.int8 and np.abs(integers[:2]).reshape(2, -1).max(axis=1).tolist() == [
        127,
        127,
    ]
    assert np.all(
        np.abs(integers * scales[:, None, None, None] - weights) <= scales[:, None, None, None] / 2 * 1.001
    )


def test_rounded_layers_hold_few_values_and_their_biases() -> None:
    layers = plain_layers(create_model("softmax").eval(), "softmax", "c")
    (rounded,) = [layer for layer in round_weights(layers) if layer.kind == "linear"]
    (original,) = [layer for layer in layers if layer.kind == "linear"]
    assert rounded.weights is not None and len(np.unique(rounded.weights[0])) <= 255
    assert rounded.biases is original.biases
