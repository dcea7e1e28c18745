"""Plain layers: they compute what the network computes, or the network is refused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.errors import UsageError
from digitcli.export.c_source import make_steps
from digitcli.export.channels_last import channels_last
from digitcli.export.export import export
from digitcli.export.plain_layers import PlainLayer, plain_layers
from digitcli.export.tflite_file import tflite_bytes
from digitcli.inference.runtime import TfliteRuntime
from digitcli.inference.torch_runtime import infer
from tests.support.exports import randomize


def logits_of(layers: tuple[PlainLayer, ...], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Compute layers by another runtime than PyTorch."""
    pytest.importorskip("ai_edge_litert")
    (logits,) = TfliteRuntime(tflite_bytes(channels_last(layers), "float32", {}, ""), 1).run(images)
    return logits


class Doubled(nn.ReLU):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(values)


class Branch(nn.Sequential):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + super().forward(values)  # type: ignore[no-any-return]


class Named(nn.ReLU):
    """An activation that computes what ReLU computes."""


def test_what_no_function_computes_is_refused() -> None:
    for name in ("resnet", "vit", "lstm", "capsnet", "hog"):
        with pytest.raises(UsageError, match=f"cannot hold {name}: it has") as failure:
            plain_layers(create_model(name).eval(), name, "c")
        assert "--to onnx" in failure.value.remedy
    for format in ("c", "html", "tflite", "saved_model"):
        with pytest.raises(UsageError, match=f"The format {format} cannot hold reader"):
            export("reader", format, verify=False)
    for layer in (
        nn.Conv2d(1, 2, 3, dilation=2),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(3, ceil_mode=True),
        nn.AdaptiveAvgPool2d(2),
        nn.BatchNorm2d(1, track_running_stats=False),
        nn.Linear(28, 28),
        Doubled(),
        Branch(nn.Conv2d(1, 1, 1)),
    ):
        network = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(10))
        network(torch.zeros(2, 1, 28, 28))
        with pytest.raises(UsageError, match="cannot hold"):
            plain_layers(network.eval(), "own", "c")
    layers = plain_layers(nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Named()).eval(), "own", "c")
    assert [layer.kind for layer in layers] == ["linear", "relu"]


def test_a_layer_that_stands_in_a_network_twice_is_computed_twice(digits: Digits) -> None:
    torch.manual_seed(0)
    activation, middle = nn.Tanh(), nn.Linear(20, 20)
    layers_of = (nn.Linear(784, 20), activation, middle, activation, middle, activation, nn.Linear(20, 10))
    network = nn.Sequential(nn.Flatten(), *layers_of)
    layers = plain_layers(network.eval(), "own", "c")
    assert [layer.kind for layer in layers] == ["linear", "tanh"] * 3 + ["linear"]
    logits = logits_of(layers, digits.images[:4])
    np.testing.assert_allclose(logits, infer(network, digits.images[:4]).numpy(), atol=1e-5)
    steps = make_steps(layers, quantized=False, packed=False)
    assert len({name for step in steps for name in step.records}) == 4


def test_a_batch_normalization_that_follows_no_weights_is_a_layer(digits: Digits) -> None:
    network = nn.Sequential(
        nn.BatchNorm2d(1), nn.MaxPool2d(3, ceil_mode=True, padding=1), nn.Flatten(), nn.LazyLinear(10)
    )
    network(torch.zeros(2, 1, 28, 28))
    layers = plain_layers(randomize(network).eval(), "own", "c")
    assert [layer.kind for layer in layers] == ["scale", "max_pool", "linear"]
    logits = logits_of(layers, digits.images[:4])
    np.testing.assert_allclose(logits, infer(network, digits.images[:4]).numpy(), atol=1e-5)
