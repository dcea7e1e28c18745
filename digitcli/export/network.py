"""A network as PyTorch's exporters take it: with all its outputs, and with an example of its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EXAMPLES = 3  # images in the example; an exporter takes 1 for a batch that never has another size
INPUT_PX = {"digit": (28, 28), "line": (40, 200), "page": (64, 96)}  # height and width of the example
CHANNELS = {"digit": 1, "line": 1, "page": 4}


class AllOutputs(nn.Module):
    """A network that returns all outputs which the recognition of pictures uses."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        if hasattr(self.network, "locate"):
            return self.network.locate(images)  # type: ignore[operator, no-any-return]
        return (self.network(images),)


def example_input(network: nn.Module, task: str) -> Tensor:
    """Return images for a network of a task, with as many channels as it takes."""
    return torch.rand(EXAMPLES, getattr(network, "channels", CHANNELS[task]), *INPUT_PX[task])
