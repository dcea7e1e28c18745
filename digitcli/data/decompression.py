"""Files opened plain or compressed, with every way they can be damaged told as one error."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from digitcli.errors import InputError

OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
MAX_BYTES = 4 * 2**30  # unpacked; ten times the largest set of digits published


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked on the way where its name ends in .gz, .xz or .bz2.

    Raises:
        InputError: the file is missing, not a file, or damaged as far as it is read.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a file.", "Give a file.")  # a named pipe would block for ever
        with OPENERS.get(path.suffix.lower(), _open_plain)(path) as file:
            yield file
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Fetch or make the file again.") from error


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")
