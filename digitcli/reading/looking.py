"""Pictures as they are before any network has looked at them: opened, and their numbers found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from digitcli.errors import PictureError
from digitcli.pictures import open_pages
from digitcli.pictures.opening import grey_of_array, grey_of_image
from digitcli.reading.page import Page, Region, Shape, find_page
from digitcli.reading.sources import Source

Picture = str | Path | bytes | np.ndarray | Image.Image


@dataclass(frozen=True)
class Seen:
    """A page before any network has looked at it."""

    file: str
    page: int | None
    found: tuple[Region, ...] | PictureError
    picture: np.ndarray | None = None
    ink: np.ndarray | None = None

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where its numbers are, in reading order."""
        return () if isinstance(self.found, PictureError) else self.found

    @property
    def shapes(self) -> list[Shape]:
        """All shapes in reading order."""
        return [shape for region in self.regions for shape in region.shapes]


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
            yield Seen(name, number, found.regions, page, found.ink)
        else:
            yield Seen(name, number, found.regions)


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
