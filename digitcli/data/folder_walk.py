"""The pictures in a folder, folder by folder, as a person would list them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

# Those not read here are told, not skipped.
PICTURE_SUFFIXES = (
    *("avif", "bmp", "gif", "heic", "heif", "jfif", "jpeg", "jpg", "pbm", "pgm"),
    *("png", "pnm", "ppm", "tif", "tiff", "webp"),
)


def pictures_below(
    folder: Path, leave_out: Path | None = None, suffixes: Collection[str] = PICTURE_SUFFIXES
) -> Iterator[Path | OSError]:
    """Every file with such a suffix in a folder and below it, in natural order; no hidden ones.

    Only one folder at a time is in memory. Links are followed, but no folder is entered twice, and that to
    `leave_out` not at all. A folder that cannot be listed gives its error.
    """
    entered: set[tuple[int, int]] = set()
    waiting = [(folder, True)]  # the next one last; folders may lie deeper than functions may call each other
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        try:
            if not (_is_entered(path, entered) or (leave_out and _is_same(path, leave_out))):
                waiting += reversed(_listed(path, suffixes))
        except OSError as error:
            yield error


def folders_below(folder: str) -> Iterator[str]:
    """A folder and every folder below it, but hidden ones; links are followed, and none is entered twice."""
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            if _is_entered(Path(path), entered):
                continue
            below = [found.name for found, is_folder in _listed(Path(path), ()) if is_folder]
        except OSError:  # it has no names to give
            continue
        yield path
        waiting += [os.path.join(path, name) for name in reversed(below)]  # noqa: PTH118 (Path drops the ./)


def _is_entered(folder: Path, entered: set[tuple[int, int]]) -> bool:
    """Whether a folder was entered before, under whatever name; now it is."""
    status = folder.stat()
    before = (status.st_dev, status.st_ino) in entered
    entered.add((status.st_dev, status.st_ino))
    return before


def _is_same(folder: Path, other: Path) -> bool:
    return other.exists() and folder.samefile(other)


def _listed(folder: Path, suffixes: Collection[str]) -> list[tuple[Path, bool]]:
    """What in a folder has such a suffix or is a folder, in natural order, and whether it is one."""
    with os.scandir(folder) as listing:
        entries = [(entry.name, _is_folder(entry)) for entry in listing if not entry.name.startswith(".")]
    return [
        (folder / name, is_folder)
        for name, is_folder in sorted(entries, key=lambda entry: natural(entry[0]))
        if is_folder or is_picture(name, suffixes)
    ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def is_picture(name: str, suffixes: Collection[str] = PICTURE_SUFFIXES) -> bool:
    """Whether a file has the suffix of a picture."""
    return os.path.splitext(name)[1].lower()[1:] in suffixes  # noqa: PTH122


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorts 2.png before 10.png."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)], name
