"""Data-parallel training: several processes, started by `torchrun`, each compute a share of every batch.

`DistributedDataParallel` averages the gradients during the backward pass, so that every process takes the
same step (Li et al., "PyTorch Distributed: experiences on accelerating data parallel training", 2020).
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from digitcli.errors import EnvironmentFault
from digitcli.inference.devices import choose_device, rank_and_size

# The longest time that a process waits for another one which runs but does not answer: the first process may
# spend some seconds on saving while the others wait.
TIMEOUT = datetime.timedelta(seconds=45)
DIAGNOSIS_TIMEOUT = datetime.timedelta(seconds=5)  # to find out which process does not answer
LossFunction = Callable[[int, int, float], Tensor]  # of the epoch, the step and the progress


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    rank: The number of this process, from 0. Process 0 alone writes files and reports events.
    size: The number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """Return the rows of a batch that this process computes."""
        return batch if self.size == 1 else batch[self.rank :: self.size]

    def gather(self, *numbers: float) -> Tensor:
        """Return the numbers of all processes (processes, numbers), in float64; see `failures_explained`."""
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        rows = torch.zeros(self.size, len(numbers), dtype=torch.float64, device=device)
        rows[self.rank] = rows.new_tensor(numbers)
        with self.failures_explained():
            dist.all_reduce(rows)
        return rows.cpu()

    def check_equal(self, steps: int) -> None:
        """Check that all processes continue after the same number of steps.

        Raises:
            EnvironmentFault: they do not, or a process has ended or does not answer.
        """
        if self.size > 1 and len(set(counts := self.gather(steps).flatten().tolist())) > 1:
            cause = f"The processes continue after different numbers of steps: {counts}."
            remedy = "Let all of them see the same run folder, on a file system that they share."
            raise EnvironmentFault(cause, remedy)

    def average_buffers(self, *networks: nn.Module | None) -> None:
        """Average the statistics of batch normalization, which each process takes from its own share.

        Float64 leaves statistics that all processes have in common, as those of frozen stages, as they are.
        """
        if self.size == 1:
            return
        for network in networks:
            for buffer in network.buffers() if network is not None else ():
                if buffer.is_floating_point():
                    total = buffer.double()
                    with self.failures_explained():
                        dist.all_reduce(total)
                    buffer.copy_(total / self.size)

    @contextlib.contextmanager
    def failures_explained(self) -> Iterator[None]:
        """Explain a failed exchange with other processes within the context.

        Raises:
            EnvironmentFault: A process has ended or does not answer.
        """
        try:
            yield
        except RuntimeError as error:
            is_of_exchange = isinstance(error, dist.DistError) or "gloo" in str(error)  # a mere RuntimeError
            if self.size == 1 or not is_of_exchange:
                raise
            reason = next(iter(str(_find_failed_process() or error).splitlines()), "")
            cause = f"Process {self.rank} of {self.size} lost the connection to another process: {reason}"
            remedy = "Read the error of the other process above or in its log, then continue with --resume."
            raise EnvironmentFault(cause, remedy) from error


ONE_PROCESS = Processes()


class _LossModule(nn.Module):
    """A loss as a module, because `DistributedDataParallel` prepares its exchange in a module's `forward`.

    It registers the network's parameters but not its buffers, which would be exchanged before every step.
    """

    def __init__(self, network: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.parameters_of_network = nn.ParameterList(network.parameters())
        self.loss = loss

    def forward(self, epoch: int, step: int, progress: float) -> Tensor:  # noqa: D102
        return self.loss(epoch, step, progress)


def average_gradients(network: nn.Module, loss: LossFunction, processes: Processes) -> LossFunction:
    """Return a loss of the network whose backward pass averages the gradients over the processes."""
    if processes.size == 1:
        return loss
    with processes.failures_explained():
        return DistributedDataParallel(
            _LossModule(network, loss), gradient_as_bucket_view=True, static_graph=True
        )


def _find_failed_process() -> RuntimeError | None:
    """Return PyTorch's description of the process that does not answer, which only gloo can find."""
    try:
        dist.monitored_barrier(timeout=DIAGNOSIS_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        return error if isinstance(error, RuntimeError) else None
    return None


def device_of_process(name: str) -> torch.device:
    """Return the device of that name; each of several processes on a machine gets its own GPU."""
    device = choose_device(name)
    if device.type == "cuda" and rank_and_size()[1] > 1 and name in ("auto", "cuda"):
        return choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return device


@contextlib.contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Connect the processes that `torchrun` has started; without it there is one process.

    Processes that are connected already, as by Ray Train, stay so.

    Raises:
        EnvironmentFault: the processes do not find each other, or cannot exchange tensors of this device.
    """
    if dist.is_available() and dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    rank, size = rank_and_size()
    if size == 1:
        yield ONE_PROCESS
        return
    chosen = device_of_process(device)
    if chosen.type not in ("cpu", "cuda"):
        raise EnvironmentFault(f"Several processes cannot train on {chosen}.", "Use --device cpu.")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    try:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        cause = f"Process {rank} cannot connect to the other {size - 1}: {error}"
        remedy = "Start all of them: torchrun --nproc-per-node 2 -m digitcli train ..."
        raise EnvironmentFault(cause, remedy) from error
    try:
        yield Processes(rank, size)
    finally:
        dist.destroy_process_group()
