"""A network layer by layer: shapes, parameters, multiplications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

INPUT_SHAPE = {"digit": (1, 1, 28, 28), "line": (1, 1, 40, 200)}


@dataclass(frozen=True)
class Layer:
    """One layer; `shape` is its output without the batch, `macs` are multiply-accumulates an image."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """All layers in the order of computation, and their sums."""

    layers: tuple[Layer, ...]
    parameters: int
    macs: int


def summarise(network: nn.Module, task: str = "digit") -> Summary:
    """Run one empty image through the network and note what each layer does to it."""
    calls: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def note(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            first = (
                output[0] if isinstance(output, tuple) else output
            )  # recurrent layers also give their state
            shape = tuple(first.shape[1:]) if isinstance(first, Tensor) else ()
            calls.append((name, layer, shape))

        return hook

    leaves = [(name, layer) for name, layer in network.named_modules() if not any(layer.children())]
    handles = [layer.register_forward_hook(note(name)) for name, layer in leaves]
    was_training = network.training
    counter = FlopCounterMode(display=False)
    try:
        with torch.inference_mode(), counter:
            _Whole(network.eval())(torch.zeros(INPUT_SHAPE[task]))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    macs = {path: sum(counts.values()) // 2 for path, counts in counter.get_flop_counts().items()}
    recurrent = {name: _recurrent_macs(layer, shape) for name, layer, shape in calls}
    layers = tuple(
        Layer(
            name,
            type(layer).__name__,
            shape,
            _count(layer),
            macs.get(f"_Whole.network.{name}", 0) + recurrent[name],
        )
        for name, layer, shape in calls
    )
    return Summary(layers, _count(network), macs.get("Global", 0) + sum(recurrent.values()))


def _recurrent_macs(layer: nn.Module, shape: tuple[int, ...]) -> int:
    """PyTorch counts none: every weight is used once a step of the sequence (T, features)."""
    if not isinstance(layer, nn.RNNBase):
        return 0
    weights = [parameter for name, parameter in layer.named_parameters() if name.startswith("weight")]
    return shape[0] * sum(weight.numel() for weight in weights)


class _Whole(nn.Module):
    """Runs every layer, those too that only `locate` uses."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return getattr(self.network, "locate", self.network)(images)


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
