"""The summary of a network: the output shape, parameters and multiplications of every layer."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from digitcli.architectures.model_surgery import stages_of
from digitcli.gap_format import COLUMNS

WHOLE = "AllOutputs.network"  # the name of the network in PyTorch's counter
INPUT_SHAPE = {  # by task
    "digit": (1, 1, 28, 28), "line": (1, 1, 40, 200), "page": (1, 4, 256, 256), "gaps": (1, 1, 40, COLUMNS),
}  # fmt: skip
EXAMPLES = 3  # images in an example; an exporter takes 1 for a batch that never has another size
EXAMPLE_SHAPE = INPUT_SHAPE | {"page": (1, 4, 64, 96), "gaps": (1, 1, 12, COLUMNS)}  # smaller, to be fast


def input_shape(network: nn.Module, task: str) -> tuple[int, ...]:
    """Return the shape of an input: that of the task, with as many channels as the network takes."""
    number, channels, height, width = INPUT_SHAPE[task]
    return number, getattr(network, "channels", channels), height, width


def example_input(network: nn.Module, task: str) -> Tensor:
    """Return images for a network of a task, for programs that trace what it computes."""
    return torch.rand(EXAMPLES, input_shape(network, task)[1], *EXAMPLE_SHAPE[task][2:])


@dataclass(frozen=True)
class Layer:
    """One layer: the shape of its output and its multiply-accumulate operations, both for one image.

    stage: The number of its stage from 1, see `stages_of`; None for a layer without weights.
    """

    name: str
    stage: int | None
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """All layers in the order of computation, and their sums; a layer with parts comes after its parts."""

    layers: tuple[Layer, ...]
    parameters: int
    macs: int


def summarize(network: nn.Module, task: str = "digit") -> Summary:
    """Return the summary of a network for an input of its task, by one forward pass of an empty image."""
    calls: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def record(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            # recurrent layers return their state too
            first = output[0] if isinstance(output, tuple) else output
            shape = tuple(first.shape[1:]) if isinstance(first, Tensor) else ()
            calls.append((name, layer, shape))

        return hook

    handles = [layer.register_forward_hook(record(name)) for name, layer in network.named_modules() if name]
    was_training = network.training
    counter = FlopCounterMode(display=False)
    try:
        with torch.inference_mode(), _attention_as_products(), counter:
            AllOutputs(network.eval())(torch.zeros(input_shape(network, task)))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    counted = {path: sum(counts.values()) // 2 for path, counts in counter.get_flop_counts().items()}
    parameters = _own_parameters(network, {name for name, _, _ in calls})
    layers, macs, stages = [], counted.get("Global", 0), _stage_numbers(network)
    for name, layer, shape in calls:
        own = counted.get(f"{WHOLE}.{name}", 0) - sum(
            counted.get(f"{WHOLE}.{name}.{part}", 0) for part, _ in layer.named_children()
        )
        if isinstance(layer, nn.RNNBase):
            macs += _recurrent_macs(layer, shape) - own
            own = _recurrent_macs(layer, shape)
        if parameters[name] or own or not any(layer.children()):
            layers.append(Layer(name, stages.get(name), type(layer).__name__, shape, parameters[name], own))
    return Summary(tuple(layers), sum(each.numel() for each in network.parameters()), macs)


def _stage_numbers(network: nn.Module) -> dict[str, int]:
    """Return the number of the stage of each layer with weights, by the name of the layer."""
    return {
        f"{name}.{part}".rstrip("."): number
        for number, stage in enumerate(stages_of(network), start=1)
        for name, block in stage.layers.items()
        for part, layer in block.named_modules()
        if layer.state_dict()
    }


def _own_parameters(network: nn.Module, called: Set[str]) -> Counter[str]:
    """Count the parameters of each called layer, without those of its called parts."""
    counts: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        owner = name.rpartition(".")[0]
        while owner and owner not in called:
            owner = owner.rpartition(".")[0]
        counts[owner] += parameter.numel()
    return counts


def _recurrent_macs(layer: nn.RNNBase, shape: tuple[int, ...]) -> int:
    """Return the operations of a recurrent layer, which uses every weight once per step of (T, features).

    PyTorch's counter counts none of them on some devices and all of them on others.
    """
    weights = [parameter for name, parameter in layer.named_parameters() if name.startswith("weight")]
    return shape[0] * sum(weight.numel() for weight in weights)


@contextlib.contextmanager
def _attention_as_products() -> Iterator[None]:
    """Let PyTorch compute attention by matrix products: its counter does not count the fused operation."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


class AllOutputs(nn.Module):
    """A network that runs every layer, and returns all outputs which the recognition of pictures uses."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        outputs = getattr(self.network, "locate", self.network)(images)
        return outputs if isinstance(outputs, tuple) else (outputs,)
