"""A training step as one CUDA graph: the GPU is told once what a step is, and then only to do it again.

Small networks are trained in many small kernels, which a CPU launches more slowly than a GPU computes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from digitcli.architectures.recipe import Recipe
from digitcli.errors import UsageError
from digitcli.training.configuration import TrainConfig

EAGER_STEPS = 3  # before it is recorded: libraries choose their algorithms, the optimizer makes its state
OPTIMIZERS = (
    "adam",
    "adamw",
)  # those whose learning rate can be a tensor, and which compute nothing on the CPU


class Update(Protocol):
    """A whole step on the digits at some indices (B,), the loss of which it gives."""

    def __call__(self, indices: Tensor) -> Tensor: ...  # noqa: D102


Record = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]


def record_cuda_graph(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """What does all that the function does on the GPU, at once; recording does not do it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


class GraphedUpdate:
    """An `Update` that is recorded after a few steps; then its indices are the only thing that changes.

    The learning rate is a tensor of the optimizer, and random numbers follow from the seed of each step.
    """

    def __init__(self, update: Update, record: Record = record_cuda_graph) -> None:
        self._update, self._record = update, record
        self._steps = 0
        self._indices: Tensor | None = None
        self._replay: Callable[[], Tensor] | None = None

    def __call__(self, indices: Tensor) -> Tensor:
        """One step; the loss is a copy that later steps leave alone."""
        self._steps += 1
        if self._steps <= EAGER_STEPS:
            return self._beside(indices)
        if self._indices is None:
            self._indices = indices.clone()
        self._indices.copy_(indices)
        if self._replay is None:
            static = self._indices
            self._replay = self._record(lambda: self._update(static))
        return self._replay().clone()

    def _beside(self, indices: Tensor) -> Tensor:
        """On a stream of its own, as CUDA asks for before it records."""
        if indices.device.type != "cuda":
            return self._update(indices)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._update(indices)
        torch.cuda.current_stream().wait_stream(stream)
        return loss


def check_graphs(
    config: TrainConfig, recipe: Recipe, device: torch.device, task: str, processes: int
) -> None:
    """Whether the steps of a run can be recorded, where that is asked for.

    Raises:
        UsageError: they cannot.
    """
    if not config.cuda_graphs:
        return
    reasons = {
        "are for GPUs, see --device": device.type != "cuda",
        "are for single digits": task != "digit",
        "are for one process": processes > 1,
        f"do not go with {recipe.optimizer}; take adamw": recipe.optimizer not in OPTIMIZERS,
    }
    for reason, holds in reasons.items():
        if holds:
            raise UsageError(f"CUDA graphs {reason}.", "Leave --cuda-graphs out.")
