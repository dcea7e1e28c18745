"""A training step as one CUDA graph, for small networks whose many short kernels a CPU launches too slowly.

The graph repeats recorded kernels with the same tensors. So the indices of the batch lie in one tensor that
is overwritten before each step, and the learning rate is a tensor of the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from digitcli.architectures.recipe import Recipe
from digitcli.errors import UsageError
from digitcli.training.configuration import TrainConfig

# The number of steps before the recording: in them libraries choose their algorithms and the optimizer
# creates its state. PyTorch's documentation recommends 3.
WARMUP_STEPS = 3

# The optimizers whose learning rate can be a tensor and which compute nothing on the CPU.
OPTIMIZERS = ("adam", "adamw")


def record_cuda_graph(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Record the kernels of a function, without running them, and return a function that runs them."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


class GraphedStep:
    """A step on the digits at some indices (B,), which is recorded after `WARMUP_STEPS` and then repeated.

    step: Takes a whole step and returns its loss.
    record: Records the kernels of a function, see `record_cuda_graph`.
    """

    def __init__(
        self,
        step: Callable[[Tensor], Tensor],
        record: Callable[[Callable[[], Tensor]], Callable[[], Tensor]] = record_cuda_graph,
    ) -> None:
        self._step, self._record = step, record
        self._steps = 0
        self._indices = torch.empty(0)
        self._replay: Callable[[], Tensor] | None = None

    def __call__(self, indices: Tensor) -> Tensor:
        """Take one step and return a copy of its loss, which later steps do not overwrite."""
        self._steps += 1
        if self._steps <= WARMUP_STEPS:
            return self._warm_up(indices)
        if self._replay is None:
            self._indices = indices.clone()
            self._replay = self._record(lambda: self._step(self._indices))
        self._indices.copy_(indices)
        return self._replay().clone()

    def _warm_up(self, indices: Tensor) -> Tensor:
        """Take a step on a stream of its own, which CUDA requires before a recording."""
        if indices.device.type != "cuda":
            return self._step(indices)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._step(indices)
        torch.cuda.current_stream().wait_stream(stream)
        return loss


def check_cuda_graphs(
    config: TrainConfig, recipe: Recipe, device: torch.device, task: str, processes: int
) -> None:
    """Check that the steps of a run can be recorded, if `--cuda-graphs` was given.

    Raises:
        UsageError: the device, the task, the optimizer or several processes make a recording impossible.
    """
    if not config.cuda_graphs:
        return
    reasons = {
        f"needs a GPU, but the device is {device}": device.type != "cuda",
        "needs an architecture of single digits": task != "digit",
        f"needs one process, but there are {processes}": processes > 1,
        f"needs --optimizer adam or adamw, but it is {recipe.optimizer}": recipe.optimizer not in OPTIMIZERS,
    }
    for reason, holds in reasons.items():
        if holds:
            raise UsageError(f"--cuda-graphs {reason}.", "Leave --cuda-graphs out.")
