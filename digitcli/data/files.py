"""Find the pictures in folders and open plain or compressed files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from digitcli.errors import InputError

# A walk also yields pictures that cannot be read on this machine, so that they are reported, not skipped.
PICTURE_SUFFIXES = (
    *("avif", "bmp", "gif", "heic", "heif", "jfif", "jpeg", "jpg", "pbm", "pgm"),
    *("png", "pnm", "ppm", "tif", "tiff", "webp"),
)
DECOMPRESSORS: dict[str, Callable[[Path, Any], Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
MAX_BYTES = 4 * 2**30  # after decompression; ten times the largest published dataset of digits


def walk_pictures(
    folder: Path, excluded: Path | None = None, suffixes: Collection[str] = PICTURE_SUFFIXES
) -> Iterator[Path | OSError]:
    """Yield every file with one of the suffixes in a folder and its sub-folders, in natural order.

    Hidden files and folders are skipped. Links are followed, but no folder is entered twice, and the folder
    `excluded` is not entered at all. For a folder that cannot be listed, its error is yielded. Only one
    folder's listing is in memory at a time.
    """
    entered: set[tuple[int, int]] = set()
    stack = [(folder, True)]  # a stack, because folders may be nested deeper than Python's recursion limit
    while stack:
        path, is_folder = stack.pop()
        if not is_folder:
            yield path
            continue
        try:
            is_excluded = excluded is not None and excluded.exists() and path.samefile(excluded)
            if not (_enter(path, entered) or is_excluded):
                stack += reversed(_list_folder(path, suffixes))
        except OSError as error:
            yield error


def walk_folders(folder: str) -> Iterator[str]:
    """Yield a folder and its sub-folders at every depth, except hidden ones and ones that cannot be listed.

    Links are followed, but no folder is entered twice.
    """
    entered: set[tuple[int, int]] = set()
    stack = [folder]
    while stack:
        path = stack.pop()
        try:
            if _enter(Path(path), entered):
                continue
            names = [entry.name for entry, is_folder in _list_folder(Path(path), ()) if is_folder]
        except OSError:
            continue
        yield path
        stack += [os.path.join(path, name) for name in reversed(names)]  # noqa: PTH118 (Path drops the ./)


def is_picture(name: str, suffixes: Collection[str] = PICTURE_SUFFIXES) -> bool:
    """Return whether a file's name ends in the suffix of a picture."""
    return os.path.splitext(name)[1].lower()[1:] in suffixes  # noqa: PTH122


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return a sorting key that puts 2.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


@contextmanager
def open_decompressed(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; decompress it if its name ends in .gz, .xz or .bz2.

    Raises:
        InputError: The file is missing, is not a regular file, or turns out to be damaged while it is read.
    """
    try:
        if path.exists() and not path.is_file():  # opening a named pipe would block for ever
            raise InputError(f"{path} is not a file.", "Give a file.")
        with DECOMPRESSORS.get(path.suffix.lower(), Path.open)(path, "rb") as file:
            yield file
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Download or make the file again.") from error


def _enter(folder: Path, entered: set[tuple[int, int]]) -> bool:
    """Add a folder to the entered ones and return whether it was there before, under whatever name."""
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    was_entered = identity in entered
    entered.add(identity)
    return was_entered


def _list_folder(folder: Path, suffixes: Collection[str]) -> list[tuple[Path, bool]]:
    """List the pictures and sub-folders of a folder in natural order, each with whether it is a folder."""
    with os.scandir(folder) as listing:
        entries = [(entry.name, _is_folder(entry)) for entry in listing if not entry.name.startswith(".")]
    return [
        (folder / name, is_folder)
        for name, is_folder in sorted(entries, key=lambda entry: natural_order(entry[0]))
        if is_folder or is_picture(name, suffixes)
    ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
