"""Pictures as they are before any network has looked at them: opened, and their numbers found."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from PIL import Image

from digitcli.errors import PictureError
from digitcli.imaging import open_pages
from digitcli.imaging.opening import grey_from_array, grey_from_image
from digitcli.recognition.segmentation import Page, Region, Shape, find_page
from digitcli.recognition.sources import Source

Picture = str | Path | bytes | np.ndarray | Image.Image


@dataclass(frozen=True)
class Seen:
    """A page before any network has looked at it."""

    file: str
    page: int | None
    found: tuple[Region, ...] | PictureError
    picture: np.ndarray | None = None
    ink: np.ndarray | None = None
    faint: bool = False

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where its numbers are, in reading order."""
        return () if isinstance(self.found, PictureError) else self.found

    @property
    def shapes(self) -> list[Shape]:
        """All shapes in reading order."""
        return [shape for region in self.regions for shape in region.shapes]


class PagesAhead:
    """The pages of a picture, in order; a pool looks at so many that follow meanwhile."""

    def __init__(self, pool: Executor, pages: Iterator[Seen], most: int) -> None:
        self._pool, self._pages, self._most = pool, pages, most
        self._seen: SimpleQueue[Seen | BaseException | None] = SimpleQueue()
        self._lock, self._paused, self._cancelled = threading.Lock(), False, False
        pool.submit(self._look)

    def _look(self) -> None:
        try:
            for page in self._pages:
                self._seen.put(page)
                with self._lock:
                    self._paused = self._cancelled or self._seen.qsize() >= self._most
                    if self._paused:
                        return
            self._seen.put(None)
        except BaseException as fault:  # or who asks for the next page would wait for ever
            self._seen.put(fault)

    def __iter__(self) -> Iterator[Seen]:
        try:
            while (page := self._seen.get()) is not None:
                if isinstance(page, BaseException):
                    raise page
                with self._lock:
                    paused, self._paused = self._paused, False
                if paused:
                    self._pool.submit(self._look)
                yield page
        finally:
            self.cancel()

    def result(self) -> PagesAhead:
        """Itself, which waits for its pages as they are asked for."""
        return self

    def cancel(self) -> None:
        """Look at no more."""
        self._cancelled = True


def look(picture: Picture | Source, with_lines: bool, keep: bool) -> Iterator[Seen]:
    """Every page of a picture with the numbers found on it. Nothing is raised."""
    name = _name(picture)
    for number, page in _open(picture):
        if isinstance(page, PictureError):
            yield Seen(name, number, page)
            continue
        found = _found(page, name, with_lines)
        if isinstance(found, PictureError):
            yield Seen(name, number, found)
        elif keep:
            yield Seen(name, number, found.regions, page, found.ink, found.faint)
        else:
            yield Seen(name, number, found.regions, faint=found.faint)


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
        return grey_from_array(content)
    if isinstance(content, Image.Image):
        return grey_from_image(content)
    cause = f"A {type(content).__name__} is no picture."
    raise PictureError("not_an_image", cause, "Give a path, a file's bytes, an array or a PIL image.")


def _found(page: np.ndarray, name: str, with_lines: bool) -> Page | PictureError:
    try:
        return find_page(page, with_lines)
    except MemoryError:
        return PictureError("too_large", f"There is not enough memory for '{name}'.", "Make it smaller.")
    except Exception as fault:  # a mistake of ours in one picture must not lose the others
        return internal(name, fault)


def internal(name: str, fault: Exception) -> PictureError:
    """What is said where a picture meets a mistake of ours."""
    cause = f"Internal error in '{name}', {type(fault).__name__}: {fault}."
    return PictureError("internal", cause, "This is a bug; please report it with the picture.")
