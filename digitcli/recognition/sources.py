"""Find the pictures that a person names: files, folders, patterns, lists and standard input."""

from __future__ import annotations

import codecs
import contextlib
import errno
import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from digitcli.data.files import PICTURE_SUFFIXES, is_picture, natural_order, walk_folders, walk_pictures
from digitcli.data.storage import (
    CHECK_ADDRESS,
    address_of,
    describe,
    open_folder,
    read_ahead,
    read_picture,
    split_place,
)
from digitcli.errors import DigitcliError, InputError, PictureError, quoted

STANDARD_INPUT = "-"
# Suffixes of the files that are taken from folders.
SUFFIXES = (*PICTURE_SUFFIXES, "pdf")
MAX_BYTES = 512_000_000  # of a picture on standard input, so that an endless stream does not fill the memory
MAX_NAME_BYTES = 32_768  # of a name in a list: no system takes a longer path
BLOCK_BYTES = 65_536  # of a list that are read at once
GIVE_PICTURES = "Name a picture or a folder of pictures."
ANY_FOLDERS = re.compile(r"(?:^|(?<=/))\*\*(?:/+|$)")  # `**` as a part of a pattern
UTF16_START = re.compile(rb"\xff\xfe.\0|\xfe\xff\0")  # its mark and a Latin character
# The start of an address on the web; `Path` would drop one of its slashes.
WEB_ADDRESS = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """A picture file with a name.

    name: as a person gave it, or its path below a folder that a person gave.
    content: its path, its bytes, or the error why there is no picture.
    """

    name: str
    content: Path | bytes | PictureError


def find_sources(
    names: Iterable[str], stdin: BinaryIO | None = None, leave_out: Path | None = None
) -> Iterator[Picture]:
    """Yield the pictures of names lazily, in the order of the names.

    A name is a file, a folder (all pictures in it and below it), a pattern (`scans/*.png`, `**/*.jpg`), or
    `-` for a picture on `stdin`. A name without pictures gives a source with an error. Folders and patterns
    leave out the pictures in the folder `leave_out`.
    """
    for name in names:
        if name == STANDARD_INPUT and stdin is not None:
            yield Picture(name, _read_bytes(stdin))
        elif glob.has_magic(name) and not (os.path.lexists(name) or WEB_ADDRESS.match(name)):
            yield from _matching(name, leave_out)
        else:
            yield from _named(name, leave_out)


def listed_sources(names: Iterable[str], leave_out: Path | None = None) -> Iterator[Picture]:
    """Yield the pictures of the names in a list: files and folders, no patterns.

    If reading the list fails, the last source holds the error.
    """
    try:
        for name in names:
            yield from _named(name, leave_out)
    except InputError as error:
        yield _missing("", error.cause, error.remedy)


def read_list(stream: BinaryIO) -> Iterator[str]:
    """Yield the names in an open list as soon as they arrive, without empty ones.

    The names end with the ends of lines or, as `find -print0` writes them, with zero bytes, which no name can
    hold; the first end tells which.

    Raises:
        InputError: the list cannot be read, or it is not a list of names.
    """
    rest, separator = b"", None
    read = getattr(stream, "read1", stream.read)
    try:
        while block := read(BLOCK_BYTES):
            rest += block
            if UTF16_START.match(rest):
                raise InputError("The list is UTF-16.", "Save it as UTF-8.")
            separator = separator or (b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else None)
            if separator is not None:
                *names, rest = rest.split(separator)
                yield from _decode(names, separator)
                if separator == b"\0" and b"" in names:
                    raise InputError("The list holds zero bytes without names.", "Give a list of paths.")
            if len(rest) > MAX_NAME_BYTES:
                cause = f"The list holds a name of more than {MAX_NAME_BYTES:,} bytes."
                raise InputError(cause, "Give a text file with one path per line.")
    except OSError as error:
        raise InputError(f"The list cannot be read: {error.strerror}.", "Give a text file.") from error
    yield from _decode([rest], separator or b"\n")


def _decode(names: Iterable[bytes], separator: bytes) -> Iterator[str]:
    for name in names:
        if separator == b"\n":
            name = name.removeprefix(codecs.BOM_UTF8).removesuffix(b"\r")
        if name:
            yield os.fsdecode(name)


def _named(name: str, leave_out: Path | None) -> Iterator[Picture]:
    """Yield a file, whatever it holds, or the pictures of a folder."""
    if not name or "\0" in name:  # Path("") is the current folder
        yield _missing(name, "A name holds a zero byte." if name else "A name is empty.")
    elif WEB_ADDRESS.match(name) and not os.path.lexists(name):
        cause = f"{name} is an address on the web, and digitcli fetches nothing from there."
        remedy = f"Fetch the picture with another program: curl -s {quoted(name)} | digitcli predict -"
        yield _missing(name, cause, remedy)
    elif (address := address_of(name)) is not None and not os.path.lexists(name):
        yield from _stored(address)
    elif not _is_folder(name):
        yield Picture(name, Path(name))
    else:
        is_empty = True
        for found in walk_pictures(Path(name), leave_out, SUFFIXES):
            is_empty = False
            picture = _listing_error(found) if isinstance(found, OSError) else found
            below = Path(found.filename if isinstance(found, OSError) else found).relative_to(Path(name))
            # the name begins as a person named the folder: Path would drop the ./ of ./scans
            shown = os.path.join(name, below) if below.parts else name  # noqa: PTH118
            yield Picture(shown, picture)
        if is_empty:
            yield _missing(name, f"'{name}' holds no pictures ({', '.join(SUFFIXES)}).")


def _stored(address: str) -> Iterator[Picture]:
    """Yield an object of a store, or those below an address, of which the next ones are fetched meanwhile."""
    place, below = split_place(address)
    try:
        with contextlib.suppress(FileNotFoundError):
            if below and open_folder(place).size(below) >= 0:
                yield Picture(address, read_picture(address))
                return
        root = address.rstrip("/")
        found = (f"{root}/{name}" for name, _ in open_folder(root).files() if is_picture(name, SUFFIXES))
        is_empty = True
        for name, content in read_ahead(found, read_picture):
            is_empty = False
            yield Picture(name, content)
        if is_empty:
            yield _missing(address, f"'{address}' holds no pictures ({', '.join(SUFFIXES)}).")
    except (OSError, DigitcliError) as fault:
        remedy = getattr(fault, "remedy", CHECK_ADDRESS)
        yield _missing(address, f"'{address}' cannot be listed: {describe(fault)}.", remedy)


def _missing(name: str, cause: str, remedy: str = GIVE_PICTURES) -> Picture:
    return Picture(name, PictureError("not_found", cause, remedy))


def _matching(pattern: str, leave_out: Path | None) -> Iterator[Picture]:
    """Yield the pictures that a pattern matches, each once, even if a folder and a file in it both match."""
    names = sorted(_expand(pattern), key=natural_order)
    kept = [name for name in names if not (leave_out and _is_below(name, leave_out))]
    if not names:
        yield _missing(pattern, f"Nothing matches '{pattern}'.")
    elif not kept:
        cause = f"'{pattern}' matches only files in '{leave_out}', the folder that is written to."
        yield _missing(pattern, cause, "Name another folder to write to.")
    sources = (source for name in kept for source in _named(name, leave_out))
    yielded: set[str] = set()
    for source in sources:
        if source.name not in yielded:
            yielded.add(source.name)
            yield source


def is_same_folder(name: str, folder: Path) -> bool:
    """Tell whether both are the same folder, through links too."""
    return _is_folder(name) and _is_folder(str(folder)) and folder.samefile(name)


def _is_below(name: str, folder: Path) -> bool:
    """Tell whether a file or folder is that folder or lies in it, through links too."""
    return Path(os.path.realpath(name)).is_relative_to(os.path.realpath(folder))


def _expand(pattern: str) -> set[str]:
    """Return the names that a pattern matches; Python's own `**` does not end where links form a loop."""
    head, *tail = ANY_FOLDERS.split(pattern, maxsplit=1)
    if not tail:
        return set(glob.glob(pattern))  # noqa: PTH207 (Path.glob takes no absolute patterns)
    names: set[str] = set()
    for top in glob.glob(head) if head else [""]:  # noqa: PTH207
        for folder in walk_folders(top or "."):
            inside = os.path.join(folder, "").removeprefix("" if top else "./")  # noqa: PTH118
            names |= _expand(glob.escape(inside) + (tail[0] or "*"))
    return names


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # opening the file will tell the reason
        return False


def _listing_error(fault: OSError) -> PictureError:
    folder = f"'{fault.filename}' cannot be listed"
    if fault.errno in (errno.EACCES, errno.EPERM):
        cause = f"The folder {folder}: permission denied."
        return PictureError("permission", cause, "Change its permissions.")
    return PictureError("not_found", f"{folder}: {fault.strerror}.", GIVE_PICTURES)


def _read_bytes(stream: BinaryIO) -> bytes | PictureError:
    try:
        content = stream.read(MAX_BYTES + 1)
    except OSError as fault:
        cause = f"Standard input cannot be read: {fault.strerror}."
        return PictureError("not_found", cause, "Pipe a picture into it.")
    if len(content) > MAX_BYTES:
        cause = f"Standard input holds more than {MAX_BYTES // 1_000_000} MB."
        return PictureError("too_large", cause, "Make the picture smaller.")
    return content
