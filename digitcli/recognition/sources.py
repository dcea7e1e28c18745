"""From what a person names to pictures, one after the other: files, folders, patterns, lists, bytes."""

from __future__ import annotations

import codecs
import errno
import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from digitcli.data.files import PICTURE_SUFFIXES, natural_order, walk_folders, walk_pictures
from digitcli.errors import InputError, PictureError

STANDARD_INPUT = "-"
SUFFIXES = (*PICTURE_SUFFIXES, "pdf")  # of what is taken in folders
MAX_BYTES = 512_000_000  # of a picture in standard input
_LONGEST_NAME = 32_768  # no system takes a longer path


@dataclass(frozen=True)
class Source:
    """One picture file: `name` as given, or as met in a folder; its path, its bytes, or why there is none."""

    name: str
    content: Path | bytes | PictureError


def find_sources(
    names: Iterable[str], stdin: BinaryIO | None = None, leave_out: Path | None = None
) -> Iterator[Source]:
    """The pictures that names mean, in the order of the names, found as they are asked for.

    A name is a file, a folder (its pictures, and those below it), a pattern such as `scans/*.png` or
    `**/*.jpg`, or `-` for a picture in `stdin`. A name that means nothing is a source with an error. Of what
    folders and patterns mean, the pictures in the folder `leave_out` are none.
    """
    for name in names:
        if name == STANDARD_INPUT and stdin is not None:
            yield Source(name, _read_bytes(stdin))
        elif glob.has_magic(name) and not os.path.lexists(name):
            yield from _matching(name, leave_out)
        else:
            yield from _named(name, leave_out)


def listed_sources(names: Iterable[str], leave_out: Path | None = None) -> Iterator[Source]:
    """The pictures that the names of a list mean: files and folders, to the letter.

    Where the list breaks off, the last source is the error.
    """
    try:
        for name in names:
            yield from _named(name, leave_out)
    except InputError as error:
        yield Source("", PictureError("not_found", error.cause, error.remedy))


def read_list(stream: BinaryIO, separator: bytes = b"\n") -> Iterator[str]:
    """The names in an open list, one at a time, as soon as they are there; empty ones are left out.

    Raises:
        InputError: the list cannot be read, or is none.
    """
    rest = b""
    read = getattr(stream, "read1", stream.read)
    try:
        while block := read(65536):
            *whole, rest = (rest + block).split(separator)
            yield from _decoded(whole, separator)
            if len(rest) > _LONGEST_NAME:
                cause = f"The list holds a name of more than {_LONGEST_NAME:,} bytes."
                raise InputError(
                    cause, "Give a text file with one path a line, or -0 for what find -print0 wrote."
                )
    except OSError as error:
        raise InputError(f"The list cannot be read: {error.strerror}.", "Give a text file.") from error
    yield from _decoded([rest], separator)


def _decoded(names: Iterable[bytes], separator: bytes) -> Iterator[str]:
    for name in names:
        if separator == b"\n":
            name = name.removeprefix(codecs.BOM_UTF8).removesuffix(b"\r")
        if name:
            yield os.fsdecode(name)


def _named(name: str, leave_out: Path | None) -> Iterator[Source]:
    """A file gives itself, whatever it holds; a folder its pictures."""
    if not name:  # which would be the folder we are in
        yield Source(name, PictureError("not_found", "A name is empty.", _GIVE))
        return
    if "\0" in name:
        remedy = "Give -0 for a list that find -print0 wrote."
        yield Source(name, PictureError("not_found", "A name holds a zero byte.", remedy))
        return
    if not _is_folder(name):
        yield Source(name, Path(name))
        return
    empty = True
    for found in walk_pictures(Path(name), leave_out, SUFFIXES):
        empty = False
        if isinstance(found, OSError):
            yield Source(_shown(name, Path(found.filename)), _unlisted(found))
        else:
            yield Source(_shown(name, found), found)
    if empty:
        suffixes = ", ".join(SUFFIXES)
        yield Source(name, PictureError("not_found", f"'{name}' holds no pictures ({suffixes}).", _GIVE))


_GIVE = "Name a picture or a folder of pictures."
_ANY_FOLDERS = re.compile(r"(?:^|(?<=/))\*\*(?:/+|$)")  # in a pattern


def _matching(pattern: str, leave_out: Path | None) -> Iterator[Source]:
    """What a pattern matches, each picture once, also where a folder and what is in it both match."""
    names = sorted(_expanded(pattern), key=natural_order)
    if not names:
        yield Source(pattern, PictureError("not_found", f"Nothing matches '{pattern}'.", _GIVE))
    kept = [name for name in names if not (leave_out and _is_below(name, leave_out))]
    if names and not kept:
        cause = f"All that '{pattern}' matches lies in '{leave_out}', which is written to."
        yield Source(pattern, PictureError("not_found", cause, "Name another folder to write to."))
    met: set[str] = set()
    for name in kept:
        for source in _named(name, leave_out):
            if source.name not in met:
                met.add(source.name)
                yield source


def is_same_folder(name: str, folder: Path) -> bool:
    """Whether both are one folder, whatever links lead there."""
    return _is_folder(name) and _is_folder(str(folder)) and folder.samefile(name)


def _is_below(name: str, folder: Path) -> bool:
    """Whether a file or folder is that folder or lies in it, whatever links lead there."""
    return Path(os.path.realpath(name)).is_relative_to(os.path.realpath(folder))


def _expanded(pattern: str) -> set[str]:
    """The names that a pattern matches; Python's own `**` never returns from links that lead back."""
    head, *tail = _ANY_FOLDERS.split(pattern, maxsplit=1)
    if not tail:
        return set(glob.glob(pattern))  # noqa: PTH207 (absolute ones too)
    names: set[str] = set()
    for top in glob.glob(head) if head else [""]:  # noqa: PTH207
        for folder in walk_folders(top or "."):
            inside = os.path.join(folder, "").removeprefix("" if top else "./")  # noqa: PTH118
            names |= _expanded(glob.escape(inside) + (tail[0] or "*"))
    return names


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # opening it will say why
        return False


def _shown(folder: str, path: Path) -> str:
    """A path below a folder, beginning as the folder was given: `./scans` stays `./scans`."""
    below = path.relative_to(Path(folder))
    return os.path.join(folder, below) if below.parts else folder  # noqa: PTH118 (Path drops the ./)


def _unlisted(fault: OSError) -> PictureError:
    if fault.errno in (errno.EACCES, errno.EPERM):
        return PictureError(
            "permission", f"'{fault.filename}' may not be listed by you.", "Change its permissions."
        )
    return PictureError("not_found", f"'{fault.filename}' cannot be listed: {fault.strerror}.", _GIVE)


def _read_bytes(stream: BinaryIO) -> bytes | PictureError:
    try:
        content = stream.read(MAX_BYTES + 1)
    except OSError as fault:
        return PictureError(
            "not_found", f"Standard input cannot be read: {fault.strerror}.", "Pipe a picture into it."
        )
    if len(content) > MAX_BYTES:
        cause = f"Standard input holds more than {MAX_BYTES // 1_000_000} MB."
        return PictureError("too_large", cause, "Make the picture smaller.")
    return content
