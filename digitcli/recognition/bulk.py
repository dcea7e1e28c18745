"""Read many pictures with several processes, and keep the order of the pictures."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Protocol

from PIL import ImageFile

from digitcli.errors import DigitcliError
from digitcli.recognition.pipeline import ordered_map
from digitcli.recognition.readings import Reading
from digitcli.recognition.sources import Source
from digitcli.threads import set_up_worker

if TYPE_CHECKING:
    from digitcli.recognition.pipeline import Picture

    Pictures = Iterable[Picture | Source]
    Portion = list[Picture | Source]

# Seconds of work that a process gets at a time: much more than the time to send it (chosen by hand).
PORTION_SECONDS = 0.25
# Pictures in the first portion, whose duration is not known yet (chosen by hand).
MIN_PORTION = 4
# Pictures in a portion at most, so that the readings still come steadily (chosen by hand).
MAX_PORTION = 128
# Portions in flight for each process, so that no process waits for this one (chosen by hand).
PORTIONS_PER_PROCESS = 3


class BulkReader(Protocol):
    """The part of `Reader` that a worker process uses."""

    def read_all(self, pictures: Pictures) -> Iterator[Reading]:
        """Yield one reading a page, in the order of the pictures."""


_reader: BulkReader  # of a worker process


def read_in_processes(
    pictures: Pictures,
    processes: int,
    create_reader: Callable[[], BulkReader],
    read_here: Callable[[Pictures], Iterator[Reading]],
) -> Iterator[Reading]:
    """Yield one reading a page, in the order of the pictures; each process reads with a reader of its own.

    When a process dies, or the system cannot start one, no picture is lost: `read_here` reads in this process
    the portions that the workers did not finish, and then the rest; it also reads pictures that cannot be
    sent to a worker. `create_reader` must be picklable.
    """
    context = multiprocessing.get_context("spawn")
    try:
        pool = ProcessPoolExecutor(processes, context, initializer=_begin_worker, initargs=(create_reader,))
    except (OSError, NotImplementedError):  # no shared memory, or too few open files
        yield from read_here(pictures)
        return
    size = PortionSize()
    remaining = iter(pictures)
    is_broken = False

    def pictures_until_broken() -> Iterator[Picture | Source]:
        for picture in remaining:
            yield picture
            if is_broken:
                return

    portions = _portions(pictures_until_broken(), size)
    try:
        for portion, task in ordered_map(
            lambda portion: _submit(pool, portion), portions, PORTIONS_PER_PROCESS * processes
        ):
            try:
                readings, seconds = task.result()
            except DigitcliError:
                raise
            except Exception as error:
                is_broken = is_broken or isinstance(error, BrokenExecutor)
                yield from read_here(portion)
                continue
            size.adapt(len(portion), seconds)
            yield from readings
        if is_broken:
            yield from read_here(remaining)
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # a picture that takes long must not delay the end
        with contextlib.suppress(RuntimeError):  # joining a process that never started
            pool.shutdown(cancel_futures=True)


class PortionSize:
    """The number of pictures that take a process about `PORTION_SECONDS`."""

    def __init__(self) -> None:
        self.pictures = MIN_PORTION

    def adapt(self, pictures: int, seconds: float) -> None:
        """Learn from the duration of a portion; the size at most doubles at a time."""
        ideal = round(pictures * PORTION_SECONDS / max(seconds, 1e-3))
        self.pictures = min(max(ideal, MIN_PORTION), 2 * self.pictures, MAX_PORTION)


def _portions(pictures: Pictures, size: PortionSize) -> Iterator[Portion]:
    """Group pictures; an error that `pictures` raises follows those before it."""
    portion: Portion = []
    try:
        for picture in pictures:
            portion.append(picture)
            if len(portion) >= size.pictures:
                yield portion
                portion = []
    except Exception:
        if portion:
            yield portion
        raise
    if portion:
        yield portion


def _submit(pool: ProcessPoolExecutor, portion: Portion) -> Future[tuple[list[Reading], float]]:
    """Hand a portion to the pool; where it cannot take it, the future holds an error.

    That is a `BrokenExecutor`, or a `TypeError` where a picture is an image that was opened from a file: a
    copy of it in another process has lost that.
    """
    failed: Future[tuple[list[Reading], float]] = Future()
    if any(isinstance(picture, ImageFile.ImageFile) for picture in portion):
        failed.set_exception(TypeError("An opened image cannot be sent to a process."))
        return failed
    try:
        return pool.submit(_read_portion, portion)
    except (BrokenExecutor, OSError) as error:
        failed.set_exception(BrokenExecutor(str(error)))
    except RuntimeError as error:
        if "start new thread" not in str(error):  # a program that lacks the guard of its main module
            raise
        failed.set_exception(BrokenExecutor(str(error)))
    return failed


def _begin_worker(create_reader: Callable[[], BulkReader]) -> None:
    global _reader
    set_up_worker()
    _reader = create_reader()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _read_portion(portion: Portion) -> tuple[list[Reading], float]:
    """Return the readings of a portion and the seconds that they took."""
    began = time.perf_counter()
    readings = list(_reader.read_all(portion))
    return readings, time.perf_counter() - began
