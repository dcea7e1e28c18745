"""Training in several processes at a time, each on its share of every batch: data-parallel, by `torchrun`.

Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017: gradients are averaged over
the processes before each step, so that all of them take the same one.
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

from digitcli.errors import EnvironmentFault
from digitcli.inference.devices import choose_device, rank_and_size

TIMEOUT = datetime.timedelta(seconds=45)  # for a process that is still there and does not answer
ASKING = datetime.timedelta(seconds=5)  # for finding out which one


@dataclass(frozen=True)
class Processes:
    """The processes of a run, of which this has the number `rank`; the first alone writes and reports."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the first."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """The rows of a batch that this process computes."""
        return batch if self.size == 1 else batch[self.rank :: self.size]

    def average(self, network: nn.Module, loss: Tensor, stop: int | None) -> tuple[Tensor, int | None]:
        """Average the gradients, and the loss; gives it, and the number of a signal that any process got.

        Raises:
            EnvironmentFault: a process has ended, or does not answer.
        """
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        said = torch.tensor([float(stop or 0), float(stop is not None)], device=loss.device)
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.detach().reshape(1), said])
        self._together(lambda: dist.all_reduce(flat))
        flat[:-2] /= self.size
        averaged = flat[:-3].split([gradient.numel() for gradient in gradients])
        for parameter, gradient, mean in zip(parameters, gradients, averaged, strict=True):
            parameter.grad = gradient.copy_(mean.view_as(gradient))  # laid out as it was
        signals, signalled = flat[-2:].tolist()
        return flat[-3], round(signals / signalled) if signalled else None

    def of_leader(self, number: float) -> float:
        """What the first process knows: the same for all."""
        if self.size == 1:
            return number
        told = torch.tensor([number], dtype=torch.float64, device=_device_of_backend())
        self._together(lambda: dist.broadcast(told, src=0))
        return float(told)

    def average_buffers(self, *networks: nn.Module | None) -> None:
        """Average what batch norms have seen, of which each process has seen its share."""
        if self.size == 1:
            return
        for network in networks:
            for buffer in network.buffers() if network is not None else ():
                if buffer.is_floating_point():
                    self._together(lambda buffer=buffer: dist.all_reduce(buffer))  # type: ignore[misc]
                    buffer /= self.size

    def _together(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:
            first_line = next(iter(str(_which_failed() or error).splitlines()), "")
            cause = f"Process {self.rank} of 0 to {self.size - 1} goes on alone: {first_line}"
            remedy = "What ended the other stands above or in its log; go on with --resume."
            raise EnvironmentFault(cause, remedy) from error


ALONE = Processes()


def _which_failed() -> RuntimeError | None:
    """What the others' silence is called by PyTorch, which knows their numbers where gloo is used."""
    try:
        dist.monitored_barrier(timeout=ASKING)
    except (RuntimeError, ValueError) as error:
        return error if isinstance(error, RuntimeError) else None
    return None


def _device_of_backend() -> torch.device:
    return torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")


def device_of_process(name: str) -> torch.device:
    """The device of that name; of several processes on a machine each has a GPU of its own.

    Raises:
        The errors of `choose_device`.
    """
    device = choose_device(name)
    if device.type == "cuda" and rank_and_size()[1] > 1 and name in ("auto", "cuda"):
        return choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return device


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Within it, the processes that `torchrun` has started know of each other; alone there is one.

    Raises:
        EnvironmentFault: they do not find each other, or cannot exchange what this device computes.
    """
    rank, size = rank_and_size()
    if size == 1:
        yield Processes()
        return
    chosen = device_of_process(device)
    if chosen.type not in ("cpu", "cuda"):
        raise EnvironmentFault(f"Several processes cannot train on {chosen}.", "Take --device cpu.")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    try:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        cause = f"Process {rank} does not find the other {size - 1}: {error}"
        remedy = "Start all of them: torchrun --nproc-per-node 2 -m digitcli train ..."
        raise EnvironmentFault(cause, remedy) from error
    try:
        yield Processes(rank, size)
    finally:
        dist.destroy_process_group()
