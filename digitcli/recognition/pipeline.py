"""The reading pipeline, from pictures to readings.

    step           done by                         result
    1. open        imaging/opening.py              a grey page, upright
    2. prepare     `prepare` of the networks       what the first network of a page sees, in threads
    3. see         `see` of the networks           the answers of the first network to several pages
    4. decide      `decide` of the networks        the numbers of a page, their status and confidence

With the default models the networks find and read whole pages (`pages/page_reader.py`). Classifiers of single
digits read digits that stand apart (`digits/digit_reader.py`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from digitcli.errors import DigitcliError, PictureError
from digitcli.imaging import open_pages
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import grey_from_array, grey_from_image
from digitcli.inference.devices import is_out_of_memory
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import Decision, decide_error
from digitcli.recognition.ordered_map import grouped_until, ordered_map
from digitcli.recognition.results import Reading
from digitcli.recognition.sources import Source

# Pages at most that go through the networks together (chosen by hand).
PAGES_AT_ONCE = 32
# Kept pixels at which their pages go through the networks: 64 MB of pictures (chosen by hand). The threads
# keep up to jobs + 2 further pages.
KEPT_PIXELS = 16_000_000

Picture = str | Path | bytes | np.ndarray | Image.Image


class Prepared(Protocol):
    """A page as networks take it.

    crops: the number of inputs of the first network.
    pixels: the number of pixels that it keeps.
    ink: the ink of the page, float32 (h, w) in [0, 1], where digits are found by it.
    """

    @property
    def crops(self) -> int: ...  # noqa: D102

    @property
    def pixels(self) -> int: ...  # noqa: D102

    @property
    def ink(self) -> np.ndarray | None: ...  # noqa: D102


class Networks(Protocol):
    """What reads pages: a `PageReader` or a `DigitReader`; what they see is theirs alone."""

    def prepare(self, grey: np.ndarray) -> Any:
        """Return a `Prepared` of a grey page, float32 (H, W) in [0, 1]."""

    def see(self, pages: Sequence[Any], constraints: Constraints | None, top_k: int) -> Sequence[Any]:
        """Return the answers of the first network to several prepared pages."""

    def decide(self, page: Any, seen: Any, constraints: Constraints | None, top_k: int) -> Decision:
        """Return the answer of a page, given what the first network saw."""


@dataclass(frozen=True)
class PipelineOptions:
    """The settings of the pipeline, see `Reader` for their meaning; `name` names the networks."""

    name: str
    batch_size: int
    jobs: int
    constraints: Constraints | None
    top_k: int
    keep_pictures: bool
    rotation: int = 0


@dataclass(frozen=True)
class OpenedPage:
    """A page before any network has seen it.

    file: the name of the picture.
    number: the number of the page from 1 on, None for a picture with one page.
    prepared: the page as the networks take it; None for a page that could not be opened or prepared.
    error: the error of such a page.
    picture: the page, float32 (H, W) in [0, 1], where pictures are kept.
    """

    file: str
    number: int | None
    prepared: Prepared | None = None
    error: PictureError | None = None
    picture: np.ndarray | None = None


def run_pipeline(
    pictures: Iterable[Picture | Source], networks: Networks, options: PipelineOptions
) -> Generator[Reading]:
    """Read pictures: open and prepare in threads, then see and decide, several pages together.

    Yields one reading a page, in the order of the pictures, and takes pictures from `pictures` only as it
    needs them.
    """
    pool = ThreadPoolExecutor(options.jobs)
    is_closed = threading.Event()

    def is_batch(pages: list[OpenedPage]) -> bool:
        return is_closed.is_set() or _are_enough(pages, options.batch_size)

    def is_prepared(pages: list[OpenedPage]) -> bool:
        return options.keep_pictures or is_batch(pages)  # many kept pictures would fill the memory

    def batches_of(picture: Picture | Source) -> Iterator[list[OpenedPage]]:
        return grouped_until(open_and_prepare(picture, networks, options), is_prepared)

    try:
        pages = _pages_ahead(pool, map(batches_of, pictures), is_prepared, options.jobs + 1)
        for batch in grouped_until(pages, is_batch):
            yield from see_and_decide(batch, networks, options)
    finally:
        is_closed.set()
        pool.shutdown(wait=False, cancel_futures=True)  # a picture that takes long must not delay the end


def open_and_prepare(
    picture: Picture | Source, networks: Networks, options: PipelineOptions
) -> Iterator[OpenedPage]:
    """Open a picture and prepare each of its pages; a page that fails holds its error."""
    name = _name_of(picture)
    for number, grey in _open(picture):
        if isinstance(grey, PictureError):
            yield OpenedPage(name, number, error=grey)
            continue
        try:
            grey = rotate(grey, options.rotation)
            page = OpenedPage(name, number, networks.prepare(grey), picture=grey)
        except Exception as fault:
            yield OpenedPage(name, number, error=_failure(name, fault))
            continue
        yield page if options.keep_pictures else replace(page, picture=None)


def see_and_decide(
    pages: Sequence[OpenedPage], networks: Networks, options: PipelineOptions
) -> Iterator[Reading]:
    """Run the first network on all pages together, then decide on each page as it is asked for.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    prepared = [page.prepared for page in pages if page.prepared is not None]
    seen = iter(networks.see(prepared, options.constraints, options.top_k))
    for page in pages:
        if page.prepared is None:
            assert page.error is not None
            decision = decide_error(page.error)
        else:
            decision = _decide(page, next(seen), networks, options)
        yield _reading(page, decision, options)


def _decide(page: OpenedPage, seen: Any, networks: Networks, options: PipelineOptions) -> Decision:
    try:
        return networks.decide(page.prepared, seen, options.constraints, options.top_k)
    except DigitcliError:
        raise
    except Exception as fault:
        return decide_error(_failure(page.file, fault))


def _are_enough(pages: list[OpenedPage], batch_size: int) -> bool:
    """Tell whether the pages fill a batch of the networks, or their kept pictures take much memory."""
    prepared = [page.prepared for page in pages if page.prepared is not None]
    kept_pixels = sum(page.picture.size for page in pages if page.picture is not None)
    kept_pixels += sum(page.pixels for page in prepared)
    crops = sum(page.crops for page in prepared)
    return len(pages) >= PAGES_AT_ONCE or crops >= batch_size or kept_pixels >= KEPT_PIXELS


def _pages_ahead(
    pool: ThreadPoolExecutor,
    pictures: Iterable[Iterator[list[OpenedPage]]],
    is_prepared: Callable[[list[OpenedPage]], bool],
    limit: int,
) -> Iterator[OpenedPage]:
    """Yield the pages of pictures in order, while threads prepare at most `limit` pictures that follow.

    A picture is an iterator of batches of its pages. Its first batch is prepared ahead, and each further one
    while the consumer uses the batch before, so a long document neither delays its first answers nor fills
    the memory. `is_prepared` says whether a batch is full, so that another may follow it.
    """

    def prepare_next(batches: Iterator[list[OpenedPage]]) -> Future[list[OpenedPage]]:
        try:
            return pool.submit(next, batches, [])
        except RuntimeError as error:  # the system starts no further thread; the pages before come first
            failed: Future[list[OpenedPage]] = Future()
            failed.set_exception(error)
            return failed

    for batches, task in ordered_map(prepare_next, pictures, limit):
        batch = task.result()
        while batch:
            following = prepare_next(batches) if is_prepared(batch) else None
            yield from batch
            batch = following.result() if following else []


def _reading(page: OpenedPage, decision: Decision, options: PipelineOptions) -> Reading:
    ink = page.prepared.ink if page.prepared is not None and options.keep_pictures else None
    return Reading(
        file=page.file,
        page=page.number,
        status=decision.status,
        reason=decision.reason,
        text=decision.text,
        confidence=decision.confidence,
        numbers=decision.numbers,
        model=options.name,
        error=decision.error,
        picture=None if page.picture is None else rotate(page.picture, decision.rotation),
        ink=ink,
        changed=decision.is_changed,
        rotation=(options.rotation + decision.rotation) % 360,
    )


def _name_of(picture: Picture | Source) -> str:
    if isinstance(picture, Source):
        return picture.name
    return str(picture) if isinstance(picture, str | os.PathLike) else ""


def _open(picture: Picture | Source) -> Iterator[tuple[int | None, np.ndarray | PictureError]]:
    """Yield the number of each page and its grey picture, float32 (H, W) in [0, 1], or an error."""
    content = picture.content if isinstance(picture, Source) else picture
    try:
        if isinstance(content, str | os.PathLike):
            yield from open_pages(Path(content))
        elif isinstance(content, bytes | bytearray | memoryview):
            yield from open_pages(bytes(content))
        else:
            yield None, _grey_of(content)
    except PictureError as error:
        yield None, error
    except Exception as fault:
        yield None, _failure(_name_of(picture), fault)


def _grey_of(content: object) -> np.ndarray:
    if isinstance(content, PictureError):
        raise content
    if isinstance(content, np.ndarray):
        return grey_from_array(content)
    if isinstance(content, Image.Image):
        return grey_from_image(content)
    cause = f"A value of type {type(content).__name__} is not a picture."
    raise PictureError("not_an_image", cause, "Give a path, a file's bytes, an array or a PIL image.")


def _failure(name: str, fault: Exception) -> PictureError:
    """Return the error of a page at which the program failed, so that no other page is lost."""
    if is_out_of_memory(fault):
        return PictureError("too_large", f"There is not enough memory for '{name}'.", "Make it smaller.")
    cause = f"Internal error in '{name}', {type(fault).__name__}: {fault}."
    return PictureError("internal", cause, "This is a bug; please report it with the picture.")
