"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from digitcli.errors import OutputError

LONGEST_START = 60  # letters of the name in that of a temporary file; a disk takes 255 bytes


def check_writable(path: Path, force: bool) -> None:
    """Find out before the work whether its result can be written to a file.

    Raises:
        OutputError: it is there already and `force` is not given, or its folder cannot be written.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            path.stat()  # tells a link that leads back to itself
        if path.is_dir():
            raise OutputError(f"{path} is a folder.", "Name a file.")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is a pipe or a device.", "Name a file, or leave the output to stdout.")
        if path.exists() and not force:
            raise OutputError(f"{path} is there already.", "Name another file, or replace it with --force.")
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass
    except (OSError, ValueError) as error:
        cause = f"{path} cannot be written: {getattr(error, 'strerror', None) or error}."
        raise OutputError(cause, "Name a file in a folder that is there and can be written.") from error


def write_whole(path: Path, content: bytes, like: Path | None = None) -> None:
    """Write a file whole or not at all, see `writing_whole`.

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old file is as it was.
    """
    with writing_whole(path, like) as write:
        write(content)


@contextlib.contextmanager
def writing_whole(path: Path, like: Path | None = None) -> Iterator[Callable[[bytes], None]]:
    """Gives a function that writes to what becomes `path` at the end, if nothing goes wrong before.

    It is a temporary file in the same folder, synced to the disk and renamed over `path`: a reader, a crash
    or a full disk meets the old file or the new one, never a mixture. Its permissions are those of the file
    that was there, or else of the file `like`, but that its owner may write it; without either they are those
    of any new file.

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old file is as it was.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    with contextlib.ExitStack() as cleanup:
        with faults_of(path):
            start = f".{target.name[:LONGEST_START]}."
            handle, name = tempfile.mkstemp(prefix=start, suffix=".part", dir=target.parent)
            cleanup.callback(_remove, Path(name))
            file = os.fdopen(handle, "wb")

        def write(content: bytes) -> None:
            with faults_of(path):
                file.write(content)

        try:
            yield write
            with faults_of(path):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(OSError):  # what cannot be flushed was reported already
                file.close()
        with faults_of(path):
            usual = (_mode_of(like) | stat.S_IWUSR) if like and like.exists() else 0o666 & ~_umask()
            Path(name).chmod(_mode_of(target) if target.exists() else usual)
            Path(name).replace(target)
            _sync_folder(target.parent)


@contextlib.contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Tells whatever the system cannot do with a file as an `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Free some space, or name a folder that can be written.",
        ) from error


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can open folders (Windows cannot)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
