"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from digitcli.errors import OutputError


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary file in the same folder, sync it to the disk, and rename it over `path`.

    A reader, a crash or a full disk meets the old file or the new one, never a mixture.

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old file is as it was.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({len(content):,} bytes): {error.strerror or error}.",
            "Free some space, or name a folder that can be written.",
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


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
