"""Open pictures and read their pages, several pictures at a time.

A thread opens a picture and reads its pages one after the other, so that a reading depends on nothing but its
page, the options and the weights.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from digitcli.errors import DigitcliError, PictureError
from digitcli.imaging.grayscale import Grey, rotate
from digitcli.imaging.opening import grey_from_array, grey_from_image, open_pages
from digitcli.inference.devices import is_out_of_memory
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import decide_error
from digitcli.recognition.line_reading import as_levels
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.pages import PageNetworks, read_page
from digitcli.recognition.readings import Reading
from digitcli.recognition.sources import Picture

PictureLike = str | Path | bytes | np.ndarray | Image.Image | Picture

ReadPage = Callable[[Grey, PageNetworks, int], Reading]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PipelineOptions:
    """The settings of the pipeline, see `Reader` for their meaning.

    page_min_confidence: the confidence below which a number is refused that is not the only one of its page.
    read_page: reads a page, uint8 (H, W), by the networks of pages and with so many candidates, at no
        threshold; None to find its numbers. Each number is then read as the only one of a picture.
    """

    jobs: int
    min_confidence: float
    page_min_confidence: float
    constraints: Constraints | None
    top_k: int
    keep_pictures: bool
    rotation: int = 0
    finds_rotation: bool = True
    read_page: ReadPage | None = None


def read_pictures(
    pictures: Iterable[PictureLike], models: RecognitionModels, options: PipelineOptions
) -> Generator[Reading]:
    """Yield one reading a page, in the order of the pictures.

    Pictures are taken only as they are needed. The first page of a picture is read ahead, and each further
    one while the consumer uses the page before, so a long document neither delays its first answers nor fills
    the memory.
    """
    pool = ThreadPoolExecutor(options.jobs)

    def read_next(readings: Iterator[Reading]) -> Future[Reading | None]:
        try:
            return pool.submit(next, readings, None)
        except RuntimeError as error:  # the system starts no further thread; the pages before come first
            failed: Future[Reading | None] = Future()
            failed.set_exception(error)
            return failed

    documents = (readings_of(picture, models, options) for picture in pictures)
    try:
        for readings, task in ordered_map(read_next, documents, options.jobs + 1):
            while (reading := task.result()) is not None:
                task = read_next(readings)
                yield reading
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a picture that takes long must not delay the end


def readings_of(
    picture: PictureLike, models: RecognitionModels, options: PipelineOptions
) -> Iterator[Reading]:
    """Yield the readings of the pages of a picture; a page that fails has its error.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    name = _name_of(picture)
    for number, grey in _open(picture):
        try:
            reading = decide_error(grey) if isinstance(grey, PictureError) else _read(grey, models, options)
        except DigitcliError:
            raise
        except Exception as fault:
            reading = decide_error(_failure(name, fault))
        yield replace(reading, file=name, page=number, model=models.name)


def _read(grey: np.ndarray, models: RecognitionModels, options: PipelineOptions) -> Reading:
    """Read a page, float32 (H, W) in [0, 1], and refuse its numbers below the threshold."""
    grey = rotate(grey, options.rotation)
    if models.classifier is not None:
        from digitcli.recognition.digits_apart import read_digits

        reading = read_digits(grey, models.classifier, options.constraints, options.top_k)
    elif options.read_page is not None:
        assert models.page_networks is not None
        reading = options.read_page(as_levels(grey), models.page_networks, options.top_k)
        return replace(reading.refuse_below(options.min_confidence), rotation=options.rotation)
    else:
        assert models.page_networks is not None
        reading = read_page(
            as_levels(grey),
            models.page_networks,
            options.constraints,
            options.top_k,
            finds_rotation=options.finds_rotation,
        )
    is_among_others = models.classifier is None and len(reading.numbers) > 1
    reading = reading.refuse_below(options.page_min_confidence if is_among_others else options.min_confidence)
    picture, ink = (rotate(grey, reading.rotation), reading.ink) if options.keep_pictures else (None, None)
    rotation = (options.rotation + reading.rotation) % 360
    return replace(reading, picture=picture, ink=ink, rotation=rotation)


def numbered(readings: Iterable[Reading]) -> Iterator[Reading]:
    """Yield readings with the position of their picture; the first page of each begins anew."""
    index = -1
    for reading in readings:
        index += reading.page in (None, 1)
        yield replace(reading, index=index)


def held(picture: Any) -> PictureLike:
    """Return a picture that its owner cannot change before it is read: he may fill the array again, or seek.

    An image becomes its grey pixels, float32 (H, W) in [0, 1], or the error that it has none; an open file, a
    path of another file system and a pair of a name and bytes become a `Picture`.
    """
    if isinstance(picture, tuple) and len(picture) == 2:
        return Picture(*picture)
    is_path = hasattr(picture, "read_bytes") and not isinstance(picture, os.PathLike)
    if is_path or hasattr(picture, "read"):
        name = str(picture if is_path else getattr(picture, "name", ""))
        try:
            return Picture(name, picture.read_bytes() if is_path else picture.read())
        except Exception as fault:  # of a file system that is not known
            return Picture(name, PictureError("not_found", f"'{name}' cannot be read: {fault}.", "Check it."))
    if isinstance(picture, Image.Image):
        ((_, page),) = _open(picture)
        return Picture("", page) if isinstance(page, PictureError) else page
    return picture.copy() if isinstance(picture, np.ndarray) else picture


def _name_of(picture: PictureLike) -> str:
    if isinstance(picture, Picture):
        return picture.name
    return os.fsdecode(picture) if isinstance(picture, str | os.PathLike) else ""


def _open(picture: PictureLike) -> Iterator[tuple[int | None, np.ndarray | PictureError]]:
    """Yield the number of each page and its grey picture, float32 (H, W) in [0, 1], or an error."""
    content = picture.content if isinstance(picture, Picture) else picture
    try:
        if isinstance(content, str | os.PathLike):
            yield from open_pages(Path(content))
        elif isinstance(content, bytes | bytearray | memoryview):
            yield from open_pages(bytes(content), name=_name_of(picture))
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


def ordered_map(
    submit: Callable[[Item], Future[Result]], items: Iterable[Item], limit: int
) -> Generator[tuple[Item, Future[Result]]]:
    """Submit a task for each item, and yield each item with its finished task, in the order of the items.

    At most `limit` tasks are in flight. The next task is submitted before a finished one is yielded, so work
    goes on while the consumer uses the result. Closing the generator cancels the tasks that have not begun.
    """
    remaining = iter(items)
    tasks: deque[tuple[Item, Future[Result]]] = deque()
    error_at_end: Exception | None = None

    def submit_next() -> None:
        nonlocal error_at_end
        if error_at_end is not None:
            return
        try:
            for item in itertools.islice(remaining, 1):
                tasks.append((item, submit(item)))
        except Exception as error:
            error_at_end = error

    try:
        for _ in range(limit):
            submit_next()
        while tasks:
            item, task = tasks[0]
            task.exception()  # waits until the task is finished
            tasks.popleft()
            submit_next()
            yield item, task
        if error_at_end is not None:
            raise error_at_end
    finally:
        for _, task in tasks:
            task.cancel()
