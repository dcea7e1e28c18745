"""Write files atomically: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from digitcli.errors import OutputError

STDOUT = Path("-")  # as the name of an output file: standard output
LONGEST_PREFIX = 60  # characters of the name in the name of its temporary file; file systems allow 255 bytes


def check_writable(path: Path, force: bool) -> None:
    """Check, before the work begins, that its result can be written to a file.

    Raises:
        OutputError: the file exists and `force` is not given, or its folder cannot be written.
    """
    if path == STDOUT:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            path.stat()  # fails for a link that leads back to itself
        if path.is_dir():
            raise OutputError(f"{path} is a folder.", "Name a file.")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is a pipe or a device.", "Name a file, or write to stdout.")
        if path.exists() and not force:
            raise OutputError(f"{path} exists already.", "Name another file, or overwrite it with --force.")
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass
    except (OSError, ValueError) as error:
        cause = f"{path} cannot be written: {getattr(error, 'strerror', None) or error}."
        raise OutputError(cause, "Name a file in a folder that exists and can be written.") from error


def write_whole(path: Path, content: bytes, like: Path | None = None) -> None:
    """Write a file atomically, see `writing_whole`.

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old file is unchanged.
    """
    with writing_whole(path, like) as write:
        write(content)


@contextlib.contextmanager
def writing_whole(path: Path, like: Path | None = None) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes to a temporary file, which replaces `path` at the end.

    The temporary file lies in the same folder, is synced to the disk and is renamed over `path`: a reader, a
    crash or a full disk finds the old file or the new one, never a mixture. The new file has the permissions
    of the old one, or else of the file `like`, which its owner may also write, or else of any new file.
    `STDOUT` is standard output, which gets everything at the end.

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old file is unchanged.
    """
    if path == STDOUT:
        pieces: list[bytes] = []
        yield pieces.append
        sys.stdout.buffer.write(b"".join(pieces))
        return
    target = Path(os.path.realpath(path))  # the file behind a link is replaced, not the link
    with contextlib.ExitStack() as cleanup:
        with faults_of(path):
            prefix = f".{target.name[:LONGEST_PREFIX]}."
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=target.parent)
            cleanup.callback(Path(name).unlink, missing_ok=True)
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
            with contextlib.suppress(OSError):  # a failed flush was reported already
                file.close()
        with faults_of(path):
            new_mode = (_mode_of(like) | stat.S_IWUSR) if like and like.exists() else 0o666 & ~_umask()
            Path(name).chmod(_mode_of(target) if target.exists() else new_mode)
            Path(name).replace(target)
            _sync_folder(target.parent)


def remove_partial_files(folder: Path, names: Collection[str]) -> None:
    """Remove the temporary files of `writing_whole` that a killed process has left for files of these names.

    No other process may write to the folder meanwhile.
    """
    for name in names:
        for part in folder.glob(f".{name[:LONGEST_PREFIX]}.*.part"):
            part.unlink(missing_ok=True)


def check_new_folder(folder: Path, force: bool) -> None:
    """Check, before the work begins, that files can be added to a folder, which need not exist yet.

    Raises:
        OutputError: the path is not a folder, cannot be written, or is not empty and `force` is not given.
    """
    with faults_of(folder):
        with contextlib.suppress(FileNotFoundError):
            folder.stat()  # it raises errors for a path through a file, a link to itself and a name too long
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is not a folder.", "Give a folder.")
        if folder.is_dir() and any(folder.iterdir()) and not force:
            remedy = "Give another folder, or write into it with --force."
            raise OutputError(f"{folder} is not empty.", remedy)
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OutputError(f"{existing} cannot be written.", "Give a folder that can be written.")


def check_writable_folder(folder: Path, names: Collection[str], force: bool) -> None:
    """Check, before the work begins, that a folder with files of these names, or paths in it, can be written.

    Raises:
        OutputError: the folder exists and `force` is not given, it holds other files, which would be lost, or
            its parent folder cannot be written.
    """
    remedy = "Name another folder."
    if folder == STDOUT:
        raise OutputError("A folder cannot be written to standard output.", remedy)
    if "\0" in str(folder):
        raise OutputError(f"{str(folder)!r} is not a name of a folder.", remedy)
    with faults_of(folder):
        with contextlib.suppress(FileNotFoundError):
            folder.stat()  # it fails for a name that is too long
        if not (parent := folder.absolute().parent).exists():
            cause = f"{folder} cannot be written: the folder {parent} does not exist."
            raise OutputError(cause, "Create it, or name a folder in one that exists.")
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise OutputError(f"{folder} is not a folder.", remedy)
        kept = [path.relative_to(folder) for path in folder.rglob("*")] if folder.is_dir() else []
        own = {path for name in names for path in (Path(name), *Path(name).parents)}
        if foreign := sorted(set(kept) - own):
            raise OutputError(f"{folder} holds other files, e.g. {foreign[0]}.", remedy)
        if kept and not force:
            raise OutputError(f"{folder} exists already.", "Name another folder, or replace it with --force.")
        with tempfile.TemporaryFile(dir=parent):
            pass


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with these files, see `writing_folder`."""
    with writing_folder(folder) as new:
        for name, content in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(new / name, content)


@contextlib.contextmanager
def writing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of `folder` at the end.

    A folder that was there before is replaced whole, see `check_writable_folder`.

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old folder is unchanged.
    """
    target = folder.absolute()
    with faults_of(folder):
        prefix = f".{target.name[:LONGEST_PREFIX]}."
        temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=target.parent))
        try:
            new, old = temporary / "new", temporary / "old"
            new.mkdir()
            yield new
            if target.exists():
                target.rename(old)
            new.rename(target)
            _sync_folder(target.parent)
        except BaseException:  # Ctrl-C, too: the former folder must come back
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Raise every `OSError` about a file as an `OutputError`."""
    try:
        yield
    except OSError as error:
        is_locked = isinstance(error, PermissionError)  # on Windows, programs lock the files that they open
        first = "Close it where it is open, e.g. in Excel" if is_locked else "Free some space"
        cause = f"{path} cannot be written: {error.strerror or error}."
        raise OutputError(cause, f"{first}, or name a folder that can be written.") from error


def _mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename durable, on systems that can open folders (Windows cannot)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
