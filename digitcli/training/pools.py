"""Pools of batches that other processes compose while a network trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader

from digitcli.training.data_parallel import Processes
from digitcli.worker_process import set_up_worker

Batch = TypeVar("Batch")


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
