"""The reader of numbers: the public class that loads the models and configures the pipeline."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from PIL import Image

from digitcli.errors import UsageError
from digitcli.evaluation.calibration import threshold_for_error
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_models
from digitcli.inference.predictor import load_classifier, load_line_recognizer, load_page_finder
from digitcli.inference.runtime import RuntimeName
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.digits.digit_reader import DigitReader
from digitcli.recognition.pages.page_reader import PageReader
from digitcli.recognition.pipeline import (
    Picture,
    PipelineOptions,
    open_and_prepare,
    run_pipeline,
    see_and_decide,
)
from digitcli.recognition.results import (
    BATCH_SIZE,
    DEFAULT_MODELS,
    MIN_CONFIDENCE,
    TOP_K,
    Reading,
    Rotation,
    check_ranges,
)
from digitcli.recognition.sources import Source

# The architecture that reads whole pictures before a page finder is asked.
PICTURE_READER = "picture_reader"
# Pictures that are opened at once.
THREADS = min(8, os.cpu_count() or 1)
# Pictures that are read before other processes are worth their start, which takes seconds (chosen by hand).
PICTURES_BEFORE_PROCESSES = 128


class Reader:
    """Reads the numbers in pictures.

        Reader().read("image.png").text

    Several threads may use a reader at a time. A program that asks for several `processes` must guard its
    start by `if __name__ == "__main__"`.

    models: shipped names, checkpoint files or run folders; without any, the default models. Models of the
        task `line` read numbers whose digits may touch, those of the task `digit` read digits that stand
        apart. Several are averaged.
    device: the device that computes; `auto` is the fastest one.
    runtime: the library that runs the networks, see `inference.predictor`.
    batch_size: digit crops that a classifier takes at once, and pages at most that are in memory.
    jobs: pictures that are opened at once.
    processes: processes that read many pictures, where the CPU computes.
    threads: threads of a network on the CPU, 0 for as many as there are cores.
    min_confidence: the confidence below which an answer is refused; by default the threshold of the models.
    max_error: instead of `min_confidence`, a fraction of wrong answers. The threshold is the stored
        confidence above which at most this fraction of the answers to synthetic pictures was wrong, or 1 -
        `max_error` if the errors of the models were not measured (`is_calibrated`).
    constraints: the constraints on every number, see `parse_constraints`.
    top_k: candidates for each digit and number, the best included.
    keep_pictures: whether a reading carries its picture, and its ink where digits are found by it.
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
        if str(rotate) not in get_args(Rotation):
            raise UsageError(f"There is no rotation '{rotate}'.", "Give auto, 0, 90, 180 or 270.")
        resolved = choose_models(models)
        threshold, self.is_calibrated = _confidence_threshold(resolved, max_error)
        self.min_confidence = threshold if min_confidence is None else min_confidence
        self.models = _load_models(
            resolved, device, runtime, batch_size, threads, self.min_confidence, rotate == "auto"
        )
        self.name = "+".join(model.name for model in self.models.models)
        is_on_cpu = all(model.device == "cpu" for model in self.models.models)
        self.processes = processes if is_on_cpu and not keep_pictures else 1
        self._options = PipelineOptions(
            self.name,
            batch_size,
            jobs,
            constraints,
            top_k,
            keep_pictures,
            rotation=0 if rotate == "auto" else int(rotate),
        )
        self._create_worker = functools.partial(
            Reader,
            *resolved.all,
            device="cpu",
            runtime=runtime,
            batch_size=batch_size,
            jobs=1,
            threads=1,
            min_confidence=min_confidence,
            max_error=max_error,
            constraints=constraints,
            top_k=top_k,
            rotate=rotate,
        )

    def read(self, picture: Picture) -> Reading:
        """Read one picture: a path, a file's bytes, an array (H, W) or (H, W, 3), or a PIL image.

        Of a file with several pages this reads the first one; `read_all` reads all.

        Raises:
            PictureError: the picture cannot be read.
        """
        first_page = next(open_and_prepare(picture, self.models, self._options))
        reading = next(see_and_decide([first_page], self.models, self._options))
        if reading.error is not None:
            raise reading.error
        return reading

    def read_all(self, pictures: Iterable[Picture | Source]) -> Iterator[Reading]:
        """Yield one reading a page, in the order of the pictures; a bad picture has the status `error`.

        Pictures are taken as they are needed, and few are in memory. An error that `pictures` raises follows
        the readings of the pictures before it.

        Raises:
            UsageError: `pictures` is one picture.
        """
        if isinstance(pictures, str | bytes | os.PathLike | np.ndarray | Image.Image):
            raise UsageError("read_all takes several pictures.", "Give a list, or call read.")
        return (
            self._read_here(pictures) if self.processes == 1 else self._read_here_then_in_processes(pictures)
        )

    def _read_here(self, pictures: Iterable[Picture | Source]) -> Iterator[Reading]:
        return run_pipeline(pictures, self.models, self._options)

    def _read_here_then_in_processes(self, pictures: Iterable[Picture | Source]) -> Iterator[Reading]:
        """Read the first pictures in this process; if there are more, start others that read them."""
        remaining = iter(pictures)
        yield from self._read_here(itertools.islice(remaining, PICTURES_BEFORE_PROCESSES))
        for picture in remaining:
            from digitcli.recognition.bulk import read_in_processes  # few commands need it

            pictures_left = itertools.chain([picture], remaining)
            yield from read_in_processes(pictures_left, self.processes, self._create_worker, self._read_here)


@dataclass(frozen=True)
class ModelsByUse:
    """Models by what they do: read a picture at first sight, find lines, read lines, or classify digits."""

    pictures: tuple[ResolvedModel, ...]
    finders: tuple[ResolvedModel, ...]
    lines: tuple[ResolvedModel, ...]
    digits: tuple[ResolvedModel, ...]

    @classmethod
    def of(cls, models: Sequence[ResolvedModel]) -> ModelsByUse:
        """Sort models by their tasks, and the readers of lines by what they see."""
        line_models = [model for model in models if model.header.task == "line"]
        line_models.sort(key=lambda model: " " not in model.header.alphabet)  # the first one finds the spaces
        return cls(
            tuple(model for model in line_models if model.header.architecture == PICTURE_READER),
            tuple(model for model in models if model.header.task == "page"),
            tuple(model for model in line_models if model.header.architecture != PICTURE_READER),
            tuple(model for model in models if model.header.task == "digit"),
        )

    @property
    def all(self) -> tuple[ResolvedModel, ...]:
        """All models, in the order in which they are used."""
        return (*self.pictures, *self.finders, *self.lines, *self.digits)


def choose_models(models: Sequence[ModelLike]) -> ModelsByUse:
    """Resolve the models that are named; the default ones do what none of these does.

    Raises:
        UsageError: the models cannot read together.
        ModelError: a model does not exist or is damaged.
    """
    named = ModelsByUse.of(resolve_models(models or DEFAULT_MODELS))
    if len(named.finders) > 1:
        raise UsageError("Several page finders are named.", "Name one.")
    if not named.digits:
        default = ModelsByUse.of(resolve_models(DEFAULT_MODELS)) if models else named
        return ModelsByUse(
            named.pictures or default.pictures,
            named.finders or default.finders,
            named.lines or default.lines,
            (),
        )
    others = named.all[: -len(named.digits)]
    if others:
        cause = f"{named.digits[0].name} reads digits that stand apart, and {others[0].name} whole pages."
        raise UsageError(cause, "Name models of one kind.")
    return named


def _load_models(
    models: ModelsByUse,
    device: str,
    runtime: RuntimeName,
    batch_size: int,
    threads: int,
    min_confidence: float,
    finds_rotation: bool,
) -> PageReader | DigitReader:
    if models.digits:
        classifier = load_classifier(
            *models.digits, device=device, batch_size=batch_size, runtime=runtime, threads=threads
        )
        return DigitReader(classifier, min_confidence)
    load_reader = functools.partial(load_line_recognizer, device=device, runtime=runtime, threads=threads)
    fitted = next((model.header for model in models.lines if model.header.acceptance), None)
    return PageReader(
        load_page_finder(models.finders[0], device, runtime, threads, at_first_use=True),
        tuple(load_reader(model, at_first_use=True) for model in models.lines),
        min_confidence,
        tuple(map(load_reader, models.pictures)),
        fitted.acceptance if fitted else {},
        fitted.presence if fitted else {},
        finds_rotation,
    )


def _are_default(models: ModelsByUse) -> bool:
    return {model.name for model in models.all} == set(DEFAULT_MODELS)


def _confidence_threshold(models: ModelsByUse, max_error: float | None) -> tuple[float, bool]:
    """Return the least confidence of an answer that is not refused, and whether the errors were measured.

    The errors of the default models were measured together.
    """
    risk = next((model.header.risk for model in models.lines if model.header.acceptance), {})
    risk = risk if _are_default(models) else {}
    if max_error is not None:
        return threshold_for_error(max_error, risk), bool(risk)
    thresholds = [model.header.refusal_threshold for model in models.all]
    known = [threshold for threshold in thresholds if threshold is not None]
    return max(known, default=MIN_CONFIDENCE), bool(risk)
