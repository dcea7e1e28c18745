"""The reader of numbers: the public class that loads the models and configures the pipeline."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, get_args

import numpy as np
from PIL import Image

from digitcli.errors import DigitcliError, UsageError
from digitcli.imaging.opening import is_stack
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_models
from digitcli.inference.predictor import (
    load_classifier,
    load_gap_splitter,
    load_line_recognizer,
    load_page_finder,
)
from digitcli.inference.runtime import RuntimeName
from digitcli.recognition.confidence import Weights
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.models import (
    RecognitionModels,
    complete_models,
    reads_pictures,
)
from digitcli.recognition.pages import PageNetworks
from digitcli.recognition.pipeline import (
    PictureLike,
    PipelineOptions,
    held,
    numbered,
    ordered_map,
    read_pictures,
    readings_of,
)
from digitcli.recognition.readings import BATCH_SIZE, TOP_K, Reading, Rotation, check_ranges
from digitcli.recognition.thresholds import Thresholds, find_thresholds
from digitcli.threads import file_threads, set_up_worker

# Pictures that are opened at once.
THREADS = file_threads()
MAX_PROCESSES = 61  # Python starts no more on Windows
# Pictures that are read before other processes are worth their start, which takes seconds (chosen by hand).
PICTURES_BEFORE_PROCESSES = 128
# Seconds of work that a process gets at a time: much more than the time to send it (chosen by hand).
PORTION_SECONDS = 0.25
# Pictures in the first portion, whose duration is not known yet, and at most, so that the readings still come
# steadily (chosen by hand).
MIN_PORTION, MAX_PORTION = 4, 128
# Portions in flight for each process, so that no process waits for this one (chosen by hand).
PORTIONS_PER_PROCESS = 3

Portion = list[PictureLike]


class Reader:
    """Reads the numbers in pictures.

        Reader().read("image.png").text

    Several threads may use a reader at a time. A program that asks for several `processes` must guard its
    start by `if __name__ == "__main__"`. A reader can be pickled; what comes out loads its models when it is
    first used.

    models: shipped names, checkpoint files or run folders; without any, the default models. Models of the
        task `line` read numbers whose digits may touch, and replace the default one of their kind and the one
        for easy pictures, see `complete_models`. Models of the task `digit` alone read digits that stand
        apart. Several of the task `line`, or of the task `digit`, are averaged.
    device: the device that computes; `auto` is the fastest one.
    runtime: the library that runs the networks, see `inference.predictor`.
    batch_size: digit crops that a network takes at once.
    jobs: pictures that are opened at once.
    processes: processes that read many pictures, where the CPU computes.
    threads: threads of each network on the CPU, 0 for `threads.default_threads`.
    min_confidence: the confidence below which an answer is refused; by default that of
        `DEFAULT_MAX_ERROR` for the default models; for others, the threshold that a model stores, the one of
        a calibration first, or 0.5.
    max_error: instead of `min_confidence`, a fraction of wrong answers. The threshold is the one that
        `digitcli calibrate` has stored; else the stored confidence above which at most this fraction of the
        answers was wrong, to synthetic pictures or to the held-out ones of an adaptation; else 1 -
        `max_error`. If the fraction is not known to hold, or if a stored guarantee is not used,
        `calibration_note` says why.
    constraints: the constraints on every number, see `parse_constraints`.
    top_k: candidates for each digit and number, the best included.
    keep_pictures: whether a reading carries its picture and its ink.
    rotate: the degrees, 0, 90, 180 or 270, by which every page is turned clockwise before it is read; or
        `auto`, which turns a page if it is hard to read and is much easier to read when it is turned.

    Raises:
        UsageError: a value is out of range, or both `min_confidence` and `max_error` are given.
        ModelError: a model does not exist or is damaged.
        EnvironmentFault: the device is not available.
    """

    def __init__(
        self,
        *models: ModelLike,
        device: str = "auto",
        runtime: RuntimeName = "auto",
        batch_size: int = BATCH_SIZE,
        jobs: int = THREADS,
        processes: int = 1,
        threads: int = 0,
        min_confidence: float | None = None,
        max_error: float | None = None,
        constraints: Constraints | None = None,
        top_k: int = TOP_K,
        keep_pictures: bool = False,
        rotate: Rotation | int = "auto",
    ) -> None:
        check_ranges(min_confidence, max_error, top_k)
        counts = {"batch_size": batch_size, "jobs": jobs, "processes": processes, "threads": threads}
        for name, number in counts.items():
            if number < (least := 0 if name == "threads" else 1):
                raise UsageError(f"{name} is {number}.", f"Give {least} or more.")
        if str(rotate) not in get_args(Rotation):
            raise UsageError(f"There is no rotation '{rotate}'.", "Give auto, 0, 90, 180 or 270.")
        resolved = complete_models(resolve_models(models))
        self._arguments: dict[str, Any] = {
            "models": tuple(model.shipped_as or str(model.path.absolute()) for model in resolved),
            "device": device, "runtime": runtime, **counts, "min_confidence": min_confidence,
            "max_error": max_error, "constraints": constraints, "top_k": top_k,
            "keep_pictures": keep_pictures, "rotate": rotate,
        }  # fmt: skip
        is_plain = constraints is None and rotate == "auto"
        if min_confidence is None:
            thresholds = find_thresholds(resolved, max_error, is_plain=is_plain)
        else:
            thresholds = Thresholds(min_confidence, min_confidence, "this is the threshold that was given")
        self.thresholds = thresholds
        self.calibration_note = thresholds.note
        self.min_confidence, self.page_min_confidence = thresholds.alone, thresholds.page
        self.models = _load_models(resolved, device, runtime, batch_size, threads)
        self.name = self.models.name
        self.constraints, self.top_k = constraints, top_k
        self.processes = processes if self.models.devices == {"cpu"} and not keep_pictures else 1
        self.options = PipelineOptions(
            jobs,
            self.min_confidence,
            self.page_min_confidence,
            constraints,
            top_k,
            keep_pictures,
            rotation=0 if rotate == "auto" else int(rotate),
            finds_rotation=rotate == "auto",
        )
        self._create_worker = functools.partial(
            Reader, *resolved, device="cpu", runtime=runtime, batch_size=batch_size, jobs=1, threads=1,
            min_confidence=min_confidence, max_error=max_error, constraints=constraints, top_k=top_k,
            rotate=rotate,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self._arguments,)

    def __getattr__(self, name: str) -> Any:
        """Load the models of a reader that was pickled, and return what that gives it."""
        if name.startswith("__") or "_arguments" not in self.__dict__:
            raise AttributeError(name)
        with _loading:
            if "_create_worker" not in self.__dict__:  # the last that is set
                arguments = dict(self._arguments)
                Reader.__init__(self, *arguments.pop("models"), **arguments)
        return object.__getattribute__(self, name)

    def read(self, picture: PictureLike) -> Reading:
        """Read one picture: a path, a file's bytes, an array (H, W) or (H, W, 3), or a PIL image.

        Of a file with several pages this reads the first one; `read_all` reads all.

        Raises:
            PictureError: the picture cannot be read.
        """
        reading = next(readings_of(picture, self.models, self.options))
        if reading.error is not None:
            raise reading.error
        return reading

    def read_all(self, pictures: Iterable[PictureLike]) -> Iterator[Reading]:
        """Yield one reading a page, in the order of the pictures; a bad picture has the status `error`.

        An array (N, H, W) or (N, H, W, 3) is N pictures. Three axes of which the last has a length of 3 or 4
        are one picture in colours, which goes to `read` or into a list. Besides what `read` takes, a picture
        is an open file, a path of another file system (`UPath`), or a pair of a name and a file's bytes;
        `index` of a reading is the position of its picture.

        Pictures are taken as they are needed, and few are in memory: a reading comes when some further
        pictures have been taken, or there are no more. An error that `pictures` raises follows
        the readings of the pictures before it.

        Raises:
            UsageError: `pictures` is one picture.
        """
        if isinstance(pictures, np.ndarray) and not is_stack(pictures):
            cause = f"read_all takes several pictures, but an array of shape {pictures.shape} is none or one."
            raise UsageError(cause, "Give an array (N, H, W) or (N, H, W, 3) or a list, or call read.")
        if isinstance(pictures, str | bytes | bytearray | memoryview | os.PathLike | Image.Image):
            raise UsageError("read_all takes several pictures.", "Give a list, or call read.")
        held_pictures = map(held, pictures)
        if self.processes == 1:
            return numbered(self._read_here(held_pictures))
        return numbered(self._read_here_then_in_processes(held_pictures))

    def _read_here(self, pictures: Iterable[PictureLike]) -> Iterator[Reading]:
        return read_pictures(pictures, self.models, self.options)

    def _read_here_then_in_processes(self, pictures: Iterator[PictureLike]) -> Iterator[Reading]:
        """Read the first pictures in this process; if there are more, start others that read them."""
        yield from self._read_here(itertools.islice(pictures, PICTURES_BEFORE_PROCESSES))
        for picture in pictures:
            yield from self._read_in_processes(itertools.chain([picture], pictures))

    def _read_in_processes(self, pictures: Iterator[PictureLike]) -> Iterator[Reading]:
        """Read by several processes, each with a reader of its own.

        When a process dies, or the system cannot start one, no picture is lost: this process reads the
        portions that the others did not finish, and then the rest.
        """
        import multiprocessing  # few commands need it
        from concurrent.futures import ProcessPoolExecutor

        spawn = multiprocessing.get_context("spawn")
        try:
            pool = ProcessPoolExecutor(
                min(self.processes, MAX_PROCESSES), spawn, _begin_worker, (self._create_worker,)
            )
        except (OSError, NotImplementedError):  # no shared memory, or too few open files
            yield from self._read_here(pictures)
            return
        size = PortionSize()
        is_broken = False

        def pictures_until_broken() -> Iterator[PictureLike]:
            for picture in pictures:
                yield picture
                if is_broken:
                    return

        def submit(portion: Portion) -> Future[tuple[list[Reading], float]]:
            return _submit(pool, portion)

        portions = _portions(pictures_until_broken(), size)
        try:
            for portion, task in ordered_map(submit, portions, PORTIONS_PER_PROCESS * self.processes):
                try:
                    readings, seconds = task.result()
                except DigitcliError:
                    raise
                except Exception as error:
                    is_broken = is_broken or isinstance(error, BrokenExecutor)
                    yield from self._read_here(portion)
                    continue
                size.adapt(len(portion), seconds)
                yield from readings
            if is_broken:
                yield from self._read_here(pictures)
        finally:
            for process in list((pool._processes or {}).values()):
                process.terminate()  # a picture that takes long must not delay the end
            with contextlib.suppress(RuntimeError):  # joining a process that never started
                pool.shutdown(cancel_futures=True)


_loading = threading.Lock()


def _unpickled(arguments: dict[str, Any]) -> Reader:
    """Return a reader that loads its models when it is first used."""
    reader = Reader.__new__(Reader)
    reader._arguments = arguments
    return reader


class PortionSize:
    """The number of pictures that take a process about `PORTION_SECONDS`."""

    def __init__(self) -> None:
        self.pictures = MIN_PORTION

    def adapt(self, pictures: int, seconds: float) -> None:
        """Learn from the duration of a portion; the size at most doubles at a time."""
        ideal = round(pictures * PORTION_SECONDS / max(seconds, 1e-3))
        self.pictures = min(max(ideal, MIN_PORTION), 2 * self.pictures, MAX_PORTION)


def _portions(pictures: Iterable[PictureLike], size: PortionSize) -> Iterator[Portion]:
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


def _submit(pool: Executor, portion: Portion) -> Future[tuple[list[Reading], float]]:
    """Hand a portion to the pool; where it cannot take it, the future holds a `BrokenExecutor`."""
    failed: Future[tuple[list[Reading], float]] = Future()
    try:
        return pool.submit(_read_portion, portion)
    except (RuntimeError, OSError) as error:
        is_broken = isinstance(error, BrokenExecutor | OSError) or "start new thread" in str(error)
        if not is_broken:  # a program that lacks the guard of its main module
            raise
        failed.set_exception(BrokenExecutor(str(error)))
    return failed


_worker_reader: Reader  # of a worker process


def _begin_worker(create_reader: functools.partial[Reader]) -> None:
    global _worker_reader
    set_up_worker()
    _worker_reader = create_reader()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _read_portion(portion: Portion) -> tuple[list[Reading], float]:
    """Return the readings of a portion and the seconds that they took."""
    began = time.perf_counter()
    readings = list(_worker_reader.read_all(portion))
    return readings, time.perf_counter() - began


def _load_models(
    models: Sequence[ResolvedModel],
    device: str,
    runtime: RuntimeName,
    batch_size: int,
    threads: int,
) -> RecognitionModels:
    options: dict[str, Any] = {"device": device, "runtime": runtime}
    digits = [model for model in models if model.header.task == "digit"]
    if digits:
        return RecognitionModels(load_classifier(*digits, batch_size=batch_size, threads=threads, **options))
    later = options | {"threads": threads, "at_first_use": True}
    networks: dict[str, Any] = {"readers": ()}
    for model in models:
        weights = Weights(model.header.acceptance, model.header.presence)
        if reads_pictures(model):
            recognizer = load_line_recognizer(model, threads=1, **options)  # of each thread
            networks |= {"picture": recognizer, "picture_weights": weights}
        elif model.header.task == "line":
            networks["readers"] += (load_line_recognizer(model, **later),)
            networks.setdefault("weights", weights)
        elif model.header.task == "page":
            networks["finder"] = load_page_finder(model, **later)
        else:  # it computes with floats, whose last bits depend on the number of threads
            networks["grouper"] = load_gap_splitter(model, **later | {"threads": 1})
    return RecognitionModels(page_networks=PageNetworks(**networks))
