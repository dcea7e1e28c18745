"""Many pictures: several processes read them, this one keeps their order."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from typing import Any

from digitcli.inference.model_resolution import ResolvedModel
from digitcli.recognition.preprocess import Picture
from digitcli.recognition.reader import Reader, in_order
from digitcli.recognition.results import Reading
from digitcli.recognition.sources import Source
from digitcli.worker_process import begin_child

Pictures = Iterable[Picture | Source]

PORTION_SECONDS = 0.25  # of work is handed to a process at a time,
FEWEST, MOST = 4, 128  # and so many pictures
AHEAD = 3  # portions for each process are handed out and not read yet

_reader: Reader  # of a child


def read_in_processes(
    pictures: Pictures,
    processes: int,
    models: Sequence[ResolvedModel],
    settings: dict[str, Any],
    read_here: Callable[[Pictures], Iterator[Reading]],
) -> Iterator[Reading]:
    """The readings of pictures in their order, by processes that have a `Reader` of these models each.

    A process that dies, of whatever it was given, or that the system does not give, loses nothing: what is
    left is read here.
    """
    mine = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    try:
        pool = _Pool(processes, context, initializer=_begin, initargs=(models, settings))
    except (OSError, NotImplementedError):  # no shared memory, or too few open files
        yield from read_here(pictures)
        return
    portions = _Portions(pictures)
    handed: deque[list[Picture | Source]] = deque()

    def remembered() -> Iterator[list[Picture | Source]]:
        for portion in portions:
            handed.append(portion)
            yield portion

    try:
        for readings, seconds in in_order(
            functools.partial(pool.submit, _read), remembered(), AHEAD * processes
        ):
            portions.adapt(len(handed.popleft()), seconds)
            yield from readings
    except BrokenExecutor:
        left = itertools.chain(handed, portions)
        yield from read_here(itertools.chain.from_iterable(left))
    finally:
        for child in set(multiprocessing.active_children()) - set(mine):
            child.terminate()  # what takes long is not waited for
        with contextlib.suppress(RuntimeError):  # what cannot be joined was never started
            pool.shutdown(cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    """One that is broken where the system gives it no further process."""

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        try:
            return super().submit(function, *given, **named)
        except OSError as fault:
            raise BrokenExecutor(str(fault)) from fault
        except RuntimeError as fault:
            if "start new thread" not in str(fault):  # as where a program has no guard against being imported
                raise
            raise BrokenExecutor(str(fault)) from fault


class _Portions:
    """Pictures, so many at a time as take a process about `PORTION_SECONDS`."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = iter(pictures)
        self._count = FEWEST

    def __iter__(self) -> Iterator[list[Picture | Source]]:
        portion: list[Picture | Source] = []
        try:
            for picture in self._pictures:
                portion.append(picture)
                if len(portion) >= self._count:
                    yield portion
                    portion = []
        except Exception:  # from asking for the next: those before it come first
            if portion:
                yield portion
            raise
        if portion:
            yield portion

    def adapt(self, count: int, seconds: float) -> None:
        """What so many pictures took."""
        wanted = round(count * PORTION_SECONDS / max(seconds, 1e-3))
        self._count = min(max(wanted, FEWEST), 2 * self._count, MOST)


def _begin(models: Sequence[ResolvedModel], settings: dict[str, Any]) -> None:
    global _reader
    begin_child()
    _reader = Reader(*models, **settings)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _read(portion: list[Picture | Source]) -> tuple[list[Reading], float]:
    began = time.perf_counter()
    readings = list(_reader.read_all(portion))
    return readings, time.perf_counter() - began
