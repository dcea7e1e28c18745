"""The interface between the training loop and a task, and what tasks share: seeds and pools of batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from digitcli.data.dataset import Failure
from digitcli.training.data_parallel import Processes
from digitcli.worker_process import set_up_worker

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class FinalMetrics:
    """The final metrics of a trained network, and its errors.

    validation_accuracy, test_accuracy: Fractions from 0 to 1.
    temperature: The divisor of the logits, fitted on the validation examples.
    test_nll: The negative log-likelihood of the test labels, in nats.
    test_ece: The expected calibration error, a fraction.
    misread: The indices of the test examples that the network reads wrongly.
    """

    validation_accuracy: float
    temperature: float
    test_accuracy: float
    test_nll: float
    test_ece: float
    misread: tuple[int, ...]


class TrainingTask(Protocol):
    """The examples of a run with their losses and metrics.

    unit: The name of one example, "digit" or "line".
    name: The name of the dataset.
    digest: A hash of the dataset.
    failures: The files of the dataset that could not be read.
    sizes: The number of examples by split: train, validation, test and synthetic.
    sources: The hashes of further data that examples are made from, by name.
    batch_size: The number of examples of a step, over all processes.
    steps: The number of steps of an epoch.
    header: Further fields of the checkpoint's header.
    preparation_seconds: The time in which further examples were made before the first step.
    least_temperature: The least temperature if all validation examples are read correctly.
    train_hashes: A hash of each training digit (N,), with which an evaluation detects training digits among
        its own; None if the training examples are generated.
    """

    unit: str
    name: str
    digest: str
    failures: tuple[Failure, ...]
    sizes: dict[str, int]
    sources: dict[str, str]
    batch_size: int
    steps: int
    header: dict[str, Any]
    least_temperature: float
    preparation_seconds: float

    @property
    def train_hashes(self) -> Tensor | None: ...  # noqa: D102

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the mean loss of this process's part of the batch.

        epoch, step: The numbers of complete epochs and of the epoch's complete steps.
        progress: The completed share of the run, from 0 to 1.
        """

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the loss and the accuracy on the validation examples."""

    def validate_batch(self, network: nn.Module) -> float:
        """Return the accuracy on one batch of the validation examples."""

    def test(self, network: nn.Module) -> FinalMetrics:
        """Fit the temperature on the validation examples, then use the test examples, once."""


def seed_random(device: torch.device, seed: int) -> None:
    """Seed the random generators of the CPU and of this device.

    `torch.manual_seed` seeds every device, which takes 50 times as long.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def derive_seed(*parts: int) -> int:
    """Return a seed that depends on all parts.

    A seed for each step makes it unnecessary to save the state of random generators.
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Pools(Protocol[Batch]):
    """An endless sequence of pools, each a list of batches."""

    def __getitem__(self, number: int, /) -> list[Batch]:
        """Compose a pool, which depends on its number."""


class PoolReader(Generic[Batch]):
    """Reads the pools of a run one after the other; each process takes every `processes.size`-th pool.

    pools: returns the pools; it is called when the first batch is asked for.
    workers: how many other processes compose; with 0, this one does.
    prefetch: the number of pools that each of them composes ahead.
    """

    def __init__(
        self, pools: Callable[[], Pools[Batch]], workers: int, prefetch: int, processes: Processes
    ) -> None:
        self._pools, self.workers, self._prefetch, self._processes = pools, workers, prefetch, processes
        self._next: Iterator[list[Batch]] = iter(())
        self._number, self._pool = -1, list[Batch]()

    def batch(self, pool: int, index: int) -> Batch:
        """Return a batch of a pool of this process. Pools in their order cost least."""
        if pool != self._number:
            if pool != self._number + 1 or self._number < 0:
                self._next = iter(self._loader(first=pool))
            self._number, self._pool = pool, next(self._next)
        return self._pool[index]

    def _loader(self, first: int) -> DataLoader[list[Batch]]:
        options: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": self._prefetch}
        return DataLoader(
            self._pools(),  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(first * self._processes.size + self._processes.rank, 2**31, self._processes.size),
            collate_fn=_unchanged,
            num_workers=self.workers,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # the global generator belongs to dropout and must not be advanced
            **(options if self.workers else {}),
        )


def _begin_worker(number: int) -> None:
    set_up_worker()


def _unchanged(pool: list[Batch]) -> list[Batch]:
    return pool
