"""The reader: pictures in, what is written in them out. `digitcli predict` is this and a printer."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from digitcli.errors import PictureError, UsageError
from digitcli.evaluation.calibration import least_confidence
from digitcli.inference.model_resolution import ModelLike, resolve_models
from digitcli.inference.predictor import DigitClassifier, load_classifier, load_line_recognizer
from digitcli.inference.runtime import RuntimeName
from digitcli.recognition.constraints import Asked
from digitcli.recognition.hypotheses import LineEvidence
from digitcli.recognition.preprocess import PagesAhead, Picture, Seen, internal, look
from digitcli.recognition.recognize import Found, read_region
from digitcli.recognition.results import DEFAULT_MODELS, MIN_CONFIDENCE, TOP_K, Reading, text_of
from digitcli.recognition.segmentation import VIEWS_PX, Region
from digitcli.recognition.sources import Source

THREADS = min(8, os.cpu_count() or 1)
PAGES_AT_ONCE = 32  # are read by the networks together,
PAGES_AHEAD = 256  # of a picture are looked at before
FEW = 128  # pictures are read before other processes are worth their start
KEPT_PIXELS = 16_000_000  # of pictures that wait for the networks
BATCH_SIZE = 256
BLANK_CONFIDENCE = 0.9  # see benchmarks/blank.py
_EMPTY_ALONE, _EMPTY_AMONG = 0.9, 0.5  # how sure nothing is read where one thing is there, or several
_FAINT = 0.5  # marks as faint as stains are taken for digits where that is likelier than not
_GUESSES = 0.5  # several numbers less sure than this on the average are a photograph, or a text
_TWO_CANDIDATES, _RIVAL = 0.8, 0.1  # two texts together this likely, and the second no less than this

FRACTION = re.compile(r"\d{1,2}/\d{1,2}")  # or a day and a month: no number

Evidence = tuple[list[tuple[int, LineEvidence]], np.ndarray | None]  # of lines and of digits, in a region
Given = TypeVar("Given")
Result = TypeVar("Result", covariant=True)


class Running(Protocol[Result]):
    """What was begun, as a future is."""

    def result(self) -> Result: ...  # noqa: D102
    def cancel(self) -> object: ...  # noqa: D102


class Reader:
    """Reads the numbers in pictures.

        Reader().read("image.png").text

    `models` are shipped names, checkpoint files or run folders. Those of lines read numbers whose digits may
    touch, those of digits what stands alone; several are averaged. `jobs` is how many pictures are opened at
    once; many pictures are read by so many `processes`, if it is the CPU that computes, and a program that
    asks for several has to guard its start by `if __name__ == "__main__"`. `threads` are those of a network
    on the CPU, 0 for as many as there are cores. Answers that are less sure than `min_confidence` are
    refused; by default the models say how sure is enough, or with `max_error` how sure an answer must be for
    no larger share of them to be wrong, by what was measured where `calibrated`, else by the confidence
    itself. `asked` is what every number has to meet.
    `runtime` is what runs the models, see `inference.py`.
    `top_k` is how many candidates a digit and a number have, the best included. With `keep_pictures` a
    reading carries its picture and ink.

    Several threads may read at a time.

    Raises:
        UsageError: a value out of range.
        ModelError: no such model, or a damaged one.
        EnvironmentFault: the device is not there.
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
        asked: Asked | None = None,
        top_k: int = TOP_K,
        keep_pictures: bool = False,
    ) -> None:
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise UsageError(f"--min-confidence is {min_confidence}.", "It must be from 0 to 1.")
        if max_error is not None and not 0 < max_error < 1:
            raise UsageError(f"--max-error is {max_error}.", "It must be above 0 and below 1.")
        if not 1 <= top_k <= 10:
            raise UsageError(f"--top-k is {top_k}.", "It must be from 1 to 10.")
        resolved = resolve_models(models or DEFAULT_MODELS)
        of_lines = [model for model in resolved if model.header.task == "line"]
        of_digits = [model for model in resolved if model.header.task != "line"]
        self.line_models = [
            load_line_recognizer(model, device, runtime=runtime, threads=threads) for model in of_lines
        ]
        self.classifier: DigitClassifier | None = None
        if of_digits:
            self.classifier = load_classifier(
                *of_digits, device=device, batch_size=batch_size, runtime=runtime, threads=threads
            )
        headers = [model.header for model in self.line_models]
        headers += self.classifier.headers if self.classifier else ()
        thresholds = [header.refusal_threshold for header in headers]
        own = max((threshold for threshold in thresholds if threshold is not None), default=MIN_CONFIDENCE)
        risk = (
            headers[0].risk if {model.name for model in resolved} == set(DEFAULT_MODELS) else {}
        )  # it was measured with both
        self.calibrated = bool(risk)
        if max_error is not None:
            own = least_confidence(max_error, risk)
        self.name = "+".join(
            [
                *(model.name for model in self.line_models),
                *([self.classifier.name] if self.classifier else []),
            ]
        )
        devices = {model.device for model in (*self.line_models, self.classifier) if model is not None}
        self.processes = processes if devices == {"cpu"} and not keep_pictures else 1
        self.batch_size, self.jobs = batch_size, jobs
        self.min_confidence = own if min_confidence is None else min_confidence
        self.asked = asked
        self._models = resolved
        self._settings: dict[str, Any] = {
            "device": "cpu", "runtime": runtime, "batch_size": batch_size, "jobs": 1, "threads": 1,
            "min_confidence": self.min_confidence, "asked": asked, "top_k": top_k,
        }  # fmt: skip
        self.top_k = top_k
        self.keep_pictures = keep_pictures

    def read(self, picture: Picture) -> Reading:
        """What is written in one picture: a path, a file's bytes, an array (H, W) or (H, W, 3), a PIL image.

        Of a file with several pages it is the first; `read_all` gives them all.

        Raises:
            PictureError: the picture cannot be read.
        """
        reading = self._answer([next(self._pages(picture))])[0]
        if reading.error is not None:
            raise reading.error
        return reading

    def read_all(self, pictures: Iterable[Picture | Source]) -> Iterator[Reading]:
        """What is written in many pictures, in their order, one reading a page; a bad one has status `error`.

        Pictures are asked for as they are needed, and only a few are in memory. Where asking for one fails,
        the readings of those before it come first.

        Raises:
            UsageError: `pictures` is one picture.
        """
        if isinstance(pictures, str | bytes | os.PathLike | np.ndarray | Image.Image):
            raise UsageError("read_all takes several pictures.", "Give a list, or call read.")
        return self._read_here(pictures) if self.processes == 1 else self._read_in_processes(pictures)

    def _read_in_processes(self, pictures: Iterable[Picture | Source]) -> Iterator[Reading]:
        given = iter(pictures)
        yield from self._read_here(itertools.islice(given, FEW))
        for following in given:
            from digitcli.recognition.bulk import read_in_processes  # which few need

            left = itertools.chain([following], given)
            yield from read_in_processes(left, self.processes, self._models, self._settings, self._read_here)

    def _read_here(self, pictures: Iterable[Picture | Source]) -> Iterator[Reading]:
        pool = ThreadPoolExecutor(self.jobs)
        waiting: list[Seen] = []
        try:
            begun = in_order(functools.partial(self._begin, pool), pictures, self.jobs + 1)
            for page in itertools.chain.from_iterable(begun):
                waiting.append(page)
                if self._are_enough(waiting):
                    yield from self._answer(waiting)
                    waiting = []
        except Exception:
            yield from self._answer(waiting)
            raise
        finally:  # one that takes long is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
        yield from self._answer(waiting)

    def _pages(self, picture: Picture | Source) -> Iterator[Seen]:
        return look(picture, with_lines=bool(self.line_models), keep=self.keep_pictures)

    def _begin(self, pool: Executor, picture: Picture | Source) -> PagesAhead:
        return PagesAhead(pool, self._pages(picture), 1 if self.keep_pictures else PAGES_AHEAD)

    def _are_enough(self, waiting: list[Seen]) -> bool:
        """Whether the networks are worth calling, or the pictures kept for later are many."""
        views = len(VIEWS_PX) * sum(len(seen.shapes) for seen in waiting)
        kept_pixels = sum(seen.picture.size for seen in waiting if seen.picture is not None)
        return len(waiting) >= PAGES_AT_ONCE or views >= self.batch_size or kept_pixels >= KEPT_PIXELS

    def _answer(self, pages: Sequence[Seen]) -> list[Reading]:
        """The readings of some pages, whose regions go through the networks together."""
        regions = [region for seen in pages for region in seen.regions]
        lines, digits = self._lines(regions), self._digits(regions)
        evidence = iter(zip(lines, digits, strict=True))
        return [self._reading(seen, [next(evidence) for _ in seen.regions]) for seen in pages]

    def _lines(self, regions: list[Region]) -> list[list[tuple[int, LineEvidence]]]:
        """What each line network makes of each view of each region, with the number of the view."""
        views = [view.image for region in regions for view in region.views]
        evidence: list[list[tuple[int, LineEvidence]]] = [[] for _ in regions]
        for model in self.line_models:
            answers = iter(model.outputs(views))
            for region, seen in zip(regions, evidence, strict=True):
                for number in range(len(region.views)):
                    of_view = LineEvidence.of(next(answers), model.header.alphabet, model.header.temperature)
                    seen.append((number, of_view))
        return evidence

    def _digits(self, regions: list[Region]) -> list[np.ndarray | None]:
        """What the digit networks make of each region's shapes, the mean over their views: (N, 10)."""
        if self.classifier is None:
            return [None] * len(regions)
        seen = [[shape.views for shape in region.shapes if len(shape.views)] for region in regions]
        counts = [len(shapes) for shapes in seen]
        if not sum(counts):
            return [None] * len(regions)
        views = self.classifier.probabilities(np.concatenate([view for shapes in seen for view in shapes]))
        means = views.reshape(-1, len(VIEWS_PX), views.shape[-1]).mean(axis=1)
        parts = np.split(means, np.cumsum(counts)[:-1])
        return [part if len(part) else None for part in parts]

    def _reading(self, seen: Seen, evidence: Sequence[Evidence]) -> Reading:
        """One page's reading, from what the networks made of its regions."""
        surely_empty = _EMPTY_ALONE if len(evidence) == 1 else _EMPTY_AMONG
        doubts = self.classifier is not None and self.classifier.can_reject
        try:
            answer = self._error(seen.found) or self._decided(
                [
                    read_region(region, lines, digits, self.asked, self.top_k, surely_empty, doubts)
                    for region, (lines, digits) in zip(seen.regions, evidence, strict=True)
                ]
            )
            if seen.faint:  # such marks are for networks that were taught what is no digit
                answer = _of_faint_marks(answer) if doubts or self.line_models else _blank()
        except Exception as fault:  # a mistake of ours in one picture must not lose the others
            answer = self._error(internal(seen.file, fault))
        return Reading(
            file=seen.file, page=seen.page, model=self.name, picture=seen.picture, ink=seen.ink, **answer
        )

    def _error(self, found: object) -> dict[str, Any]:
        if not isinstance(found, PictureError):
            return {}
        return _as("error", found.reason, None, None) | {"error": found}

    def _decided(self, found: Sequence[Found]) -> dict[str, Any]:
        """Status, reason, text and confidence of a page, and its numbers."""
        if not any(region.numbers or region.inked for region in found):
            return _blank()
        empty = float(np.prod([region.confidence for region in found if not region.numbers]))
        if not any(region.numbers for region in found):
            return _as("refused", "not_a_digit", "", empty)
        said = [region for region in found if region.numbers]
        confidence = empty * float(np.prod([region.confidence for region in said]))
        changed = any(region.changed for region in said)
        if self.asked is not None and self.asked.single and len(said) > 1:
            said, confidence, changed = _only(said)
        numbers = tuple(number for region in said for number in region.numbers)
        known = {"numbers": numbers, "changed": changed}
        together = float(np.prod([region.confidence for region in said]))
        guessed = len(said) > 1 and together ** (1 / len(said)) < _GUESSES
        if any(region.unmet for region in said) or guessed and changed:
            return _as("refused", "constraint", text_of(numbers), confidence) | known
        if guessed:
            return _as("refused", "not_a_digit", "", 0.5)
        if self.asked is None and any(map(_is_fraction, said)):
            return _as("refused", "not_a_digit", "", confidence)
        if any(region.runs_out for region in said):
            return _as("refused", "cut_off", text_of(numbers), confidence) | known
        if confidence >= self.min_confidence:
            return _as("read", None, text_of(numbers), confidence) | known
        return _as("refused", _why_unsure(said), text_of(numbers), confidence) | known


def _is_fraction(region: Found) -> bool:
    return region.in_fraction or any(FRACTION.fullmatch(number.raw) for number in region.numbers)


def _only(said: Sequence[Found]) -> tuple[list[Found], float, bool]:
    """The likeliest region of a picture that holds one number, and how sure it is that it is the only one."""
    likely = sorted(said, key=lambda region: (not region.unmet, region.confidence), reverse=True)
    confidence = likely[0].confidence * float(np.prod([1 - region.confidence for region in likely[1:]]))
    return likely[:1], confidence, not likely[0].unmet


def _as(status: str, reason: str | None, text: str | None, confidence: float | None) -> dict[str, Any]:
    answer = {"status": status, "reason": reason, "text": text, "confidence": confidence}
    return answer | {"numbers": ()}


def _blank() -> dict[str, Any]:
    return _as("blank", "blank", "", BLANK_CONFIDENCE)


def _of_faint_marks(answer: dict[str, Any]) -> dict[str, Any]:
    """What is said where nothing else is on a page: that someone should look, or that it is blank."""
    if answer["numbers"] and answer["confidence"] >= _FAINT:
        return answer | {"status": "refused", "reason": "too_faint"}
    return _blank()


def _why_unsure(said: Sequence[Found]) -> str:
    """Why the least sure region is not surer, in one word."""
    worst = min(said, key=lambda region: region.confidence)
    if worst.cut_off:
        return "cut_off"
    two = worst.confidence + worst.rival >= _TWO_CANDIDATES and worst.rival >= _RIVAL
    return "two_candidates" if two else "low_confidence"


def in_order(
    begin: Callable[[Given], Running[Result]], givens: Iterable[Given], ahead: int
) -> Generator[Result]:
    """The results of what is begun with each given, in order; only so many are begun ahead of time."""
    running: deque[Running[Result]] = deque()
    try:
        for given in givens:
            running.append(begin(given))
            if len(running) > ahead:
                yield running.popleft().result()
    except BrokenExecutor:  # nothing more will come of it
        raise
    except Exception:  # from asking for the next: those before it are in order still
        while running:
            yield running.popleft().result()
        raise
    else:
        while running:
            yield running.popleft().result()
    finally:
        for each in running:
            each.cancel()
