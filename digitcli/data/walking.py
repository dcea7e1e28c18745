"""The pictures in a folder, folder by folder, as a person would list them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

PICTURE_SUFFIXES = ("bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp")


def pictures_below(folder: Path) -> Iterator[Path | OSError]:
    """Every picture file in a folder and below it, in natural order; no hidden ones.

    Only one folder at a time is in memory. Links are followed, but no folder is entered twice. A folder that
    cannot be listed gives its error.
    """
    return _walk(folder, set())


def _walk(folder: Path, entered: set[tuple[int, int]]) -> Iterator[Path | OSError]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in entered:
            return
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            entries = [(entry.name, _is_folder(entry)) for entry in listing if not entry.name.startswith(".")]
    except OSError as error:
        yield error
        return
    for name, is_folder in sorted(entries, key=lambda entry: natural(entry[0])):
        if is_folder:
            yield from _walk(folder / name, entered)
        elif is_picture(name):
            yield folder / name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def is_picture(name: str) -> bool:
    """Whether a file has the suffix of a picture."""
    return os.path.splitext(name)[1].lower()[1:] in PICTURE_SUFFIXES  # noqa: PTH122


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorts 2.png before 10.png."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)], name
