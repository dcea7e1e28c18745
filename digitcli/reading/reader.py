"""The reader: pictures in, what is written in them out. `digitcli predict` is this and a printer."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from digitcli.checkpoint import DEFAULT_MODEL
from digitcli.errors import PictureError, UsageError
from digitcli.inference import load_classifier
from digitcli.pictures import open_pages
from digitcli.pictures.opening import grey_of_array, grey_of_image
from digitcli.reading.page import VIEWS_PX, Numbers, Page, Shape, find_page
from digitcli.reading.results import MIN_CONFIDENCE, TOP_K, Digit, Number, Reading, Status, text_of
from digitcli.reading.sources import Source

Picture = str | Path | bytes | np.ndarray | Image.Image
THREADS = min(8, os.cpu_count() or 1)
PAGES_AT_ONCE = 32  # are read by the network together
KEPT_PIXELS = 16_000_000  # of pictures that wait for the network
BATCH_SIZE = 256
BLANK_CONFIDENCE = 0.9  # see benchmarks/blank.py
_TWO_CANDIDATES, _RIVAL = 0.8, 0.1  # two digits together this likely, and the second no less than this

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Seen:
    """A page as it is before any network has looked at it."""

    file: str
    page: int | None
    found: Numbers | PictureError
    picture: np.ndarray | None = None
    ink: np.ndarray | None = None

    @property
    def shapes(self) -> list[Shape]:
        """All shapes in reading order."""
        return [] if isinstance(self.found, PictureError) else [shape for row in self.found for shape in row]


class Reader:
    """Reads the digits in pictures.

        Reader().read("image.png").text

    `models` are shipped names, checkpoint files or run folders, several are averaged. Answers that are less
    sure than `min_confidence` are refused; by default the model says how sure is enough. `top_k` is how many
    candidates a digit has, the best included. With `keep_pictures` a reading carries its picture and ink.

    Raises:
        UsageError: a value out of range.
        ModelError: no such model, or a damaged one.
        EnvironmentFault: the device is not there.
    """

    def __init__(
        self,
        *models: str,
        device: str = "auto",
        batch_size: int = BATCH_SIZE,
        min_confidence: float | None = None,
        top_k: int = TOP_K,
        keep_pictures: bool = False,
    ) -> None:
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise UsageError(f"--min-confidence is {min_confidence}.", "It must be from 0 to 1.")
        if not 1 <= top_k <= 10:
            raise UsageError(f"--top-k is {top_k}.", "It must be from 1 to 10.")
        self.classifier = load_classifier(*(models or (DEFAULT_MODEL,)), device=device, batch_size=batch_size)
        thresholds = [header.refusal_threshold for header in self.classifier.headers]
        own = max((threshold for threshold in thresholds if threshold is not None), default=MIN_CONFIDENCE)
        self.min_confidence = own if min_confidence is None else min_confidence
        self.top_k = top_k
        self.keep_pictures = keep_pictures

    def read(self, picture: Picture) -> Reading:
        """What is written in one picture: a path, a file's bytes, an array (H, W) or (H, W, 3), a PIL image.

        Of a file with several pages it is the first; `read_all` gives them all.

        Raises:
            PictureError: the picture cannot be read.
        """
        seen = next(self._look(picture))
        reading = self._answer([seen])[0]
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
        return self._read_all(pictures)

    def _read_all(self, pictures: Iterable[Picture | Source]) -> Iterator[Reading]:
        pool = ThreadPoolExecutor(THREADS)
        waiting: list[_Seen] = []
        try:
            for pages in in_order(pool, lambda picture: list(self._look(picture)), pictures):
                waiting += pages
                if self._are_enough(waiting):
                    yield from self._answer(waiting)
                    waiting = []
        except Exception:
            yield from self._answer(waiting)
            raise
        finally:  # one that takes long is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
        yield from self._answer(waiting)

    def _are_enough(self, waiting: list[_Seen]) -> bool:
        """Whether the network is worth calling, or the pictures kept for later are many."""
        views = len(VIEWS_PX) * sum(len(seen.shapes) for seen in waiting)
        kept_pixels = sum(seen.picture.size for seen in waiting if seen.picture is not None)
        return (
            len(waiting) >= PAGES_AT_ONCE or views >= self.classifier.batch_size or kept_pixels >= KEPT_PIXELS
        )

    def _look(self, picture: Picture | Source) -> Iterator[_Seen]:
        """Every page of a picture with the digits found on it. Nothing is raised."""
        name = _name(picture)
        for number, page in _open(picture):
            if isinstance(page, PictureError):
                yield _Seen(name, number, page)
                continue
            found = _found(page, name)
            if isinstance(found, PictureError):
                yield _Seen(name, number, found)
            elif self.keep_pictures:
                yield _Seen(name, number, found.numbers, page, found.ink)
            else:
                yield _Seen(name, number, found.numbers)

    def _answer(self, pages: list[_Seen]) -> list[Reading]:
        """The readings of some pages, whose digits go through the network together."""
        if not pages:
            return []
        probabilities = self._probabilities([shape for seen in pages for shape in seen.shapes])
        ends = np.cumsum([len(seen.shapes) for seen in pages])
        return [
            self._reading(seen, rows)
            for seen, rows in zip(pages, np.split(probabilities, ends[:-1]), strict=True)
        ]

    def _probabilities(self, shapes: list[Shape]) -> np.ndarray:
        """What the network thinks of each shape, the mean over its views: (N, 10)."""
        if not shapes:
            return np.zeros((0, 10))
        views = self.classifier.probabilities(np.concatenate([shape.views for shape in shapes]))
        mean: np.ndarray = views.reshape(len(shapes), len(VIEWS_PX), 10).mean(axis=1)
        return mean

    def _reading(self, seen: _Seen, probabilities: np.ndarray) -> Reading:
        """One page's reading, from the probabilities (N, 10) of its shapes."""
        found = seen.found
        if isinstance(found, PictureError):
            return self._result(seen, "error", found.reason, None, None)
        if not found:
            return self._result(seen, "blank", "blank", "", BLANK_CONFIDENCE)
        rows = iter(probabilities)
        numbers = tuple(Number(tuple(self._digit(shape, next(rows)) for shape in shapes)) for shapes in found)
        confidence = float(np.prod(probabilities.max(axis=1)))
        if confidence >= self.min_confidence:
            return self._result(seen, "read", None, text_of(numbers), confidence, numbers)
        reason = _why_unsure(seen.shapes, probabilities)
        return self._result(seen, "refused", reason, text_of(numbers), confidence, numbers)

    def _result(
        self,
        seen: _Seen,
        status: Status,
        reason: str | None,
        text: str | None,
        confidence: float | None,
        numbers: tuple[Number, ...] = (),
    ) -> Reading:
        return Reading(
            file=seen.file,
            page=seen.page,
            status=status,
            reason=reason,
            text=text,
            confidence=confidence,
            numbers=numbers,
            model=self.classifier.name,
            error=seen.found if isinstance(seen.found, PictureError) else None,
            picture=seen.picture,
            ink=seen.ink,
        )

    def _digit(self, shape: Shape, probabilities: np.ndarray) -> Digit:
        order = np.argsort(-probabilities, kind="stable")[: self.top_k]
        (best, confidence), *others = [(str(digit), float(probabilities[digit])) for digit in order]
        return Digit(best, confidence, shape.box, tuple(others), shape.views[0])


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Given], Result], givens: Iterable[Given]
) -> Generator[Result]:
    """The results of a function run by a pool, in order; only a few givens are taken ahead of time."""
    running: deque[Future[Result]] = deque()
    try:
        for given in givens:
            running.append(pool.submit(function, given))
            if len(running) > THREADS + 1:
                yield running.popleft().result()
    except Exception:  # from asking for the next: those before it are in order still
        while running:
            yield running.popleft().result()
        raise
    else:
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()


def _name(picture: Picture | Source) -> str:
    if isinstance(picture, Source):
        return picture.name
    return str(picture) if isinstance(picture, str | os.PathLike) else ""


def _open(picture: Picture | Source) -> Iterator[tuple[int | None, np.ndarray | PictureError]]:
    content = picture.content if isinstance(picture, Source) else picture
    if isinstance(content, str | os.PathLike):
        yield from open_pages(Path(content))
    elif isinstance(content, bytes | bytearray | memoryview):
        yield from open_pages(bytes(content))
    else:
        try:
            yield None, _grey(content)
        except PictureError as error:
            yield None, error


def _grey(content: object) -> np.ndarray:
    if isinstance(content, PictureError):
        raise content
    if isinstance(content, np.ndarray):
        return grey_of_array(content)
    if isinstance(content, Image.Image):
        return grey_of_image(content)
    cause = f"A {type(content).__name__} is no picture."
    raise PictureError("not_an_image", cause, "Give a path, a file's bytes, an array or a PIL image.")


def _found(page: np.ndarray, name: str) -> Page | PictureError:
    try:
        return find_page(page)
    except MemoryError:
        return PictureError("too_large", f"There is not enough memory for '{name}'.", "Make it smaller.")
    except Exception as fault:  # a mistake of ours in one picture must not lose the others
        cause = f"Internal error in '{name}', {type(fault).__name__}: {fault}."
        return PictureError("internal", cause, "This is a bug; please report it with the picture.")


def _why_unsure(shapes: list[Shape], probabilities: np.ndarray) -> str:
    """Why the least sure shape is not surer, in one word, from the probabilities (N, 10) of all."""
    ordered = np.sort(probabilities, axis=1)
    worst = int(np.argmin(ordered[:, -1]))
    if shapes[worst].cut_off:
        return "cut_off"
    runner_up, best = ordered[worst, -2:]
    two = best + runner_up >= _TWO_CANDIDATES and runner_up >= _RIVAL
    return "two_candidates" if two else "low_confidence"
