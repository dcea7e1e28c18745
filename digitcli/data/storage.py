"""Folders and files on a disk, in object storage and behind other addresses, by obstore and fsspec.

An object appears whole or not at all, and cannot be appended to or renamed. obstore waits and tries again
where a store answers that it is busy (503), or the connection breaks.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from digitcli.errors import InputError, OutputError, PictureError, missing_package

# Addresses of obstore, and all others, which fsspec opens; Windows has drives of one letter.
WEB = ("http", "https")
OBJECT_STORES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", *WEB)
# Variables that name another server, which may be reached without encryption.
ENDPOINTS = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "GOOGLE_ENDPOINT_URL", "AZURE_ENDPOINT",
)  # fmt: skip
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
RETRIES: Any = {"max_retries": 20, "retry_timeout": timedelta(minutes=4)}
AHEAD = 16  # files that are fetched at once: a store answers after tens of milliseconds
BUFFER = 1_000_000  # bytes of an open file that are fetched at once: a member of an archive has less
CHECK_ADDRESS = "Check the address, and the rights and the region in the environment."


Item = TypeVar("Item")
Result = TypeVar("Result")


def address_of(path: str | Path) -> str | None:
    """Return a path as an address such as `s3://bucket/scans`, or None for a path of this machine.

    `Path` drops one of the slashes; local files have three.
    """
    found = ADDRESS.match(text := str(path))
    if found is None:
        return None
    scheme = found[1].lower()
    slashes = ":///" if scheme == "file" else "://"
    return f"{scheme}{slashes}{text[found.end() :]}"


class Folder:
    """A folder of this machine or of a store; names are paths below it, with slashes.

    Methods raise an `OSError` for what cannot be read or written, a `FileNotFoundError` for what is gone.

    Raises:
        EnvironmentFault: obstore or fsspec is not installed.
        InputError: there is no such kind of address.
    """

    def __init__(self, place: str) -> None:
        try:
            import fsspec
            import obstore
            from obstore.fsspec import FsspecStore
        except ImportError as fault:
            raise missing_package("Object storage", "cloud", str(fault)) from fault
        self._obstore: Any = obstore
        self._address = address_of(place)
        scheme = urlsplit(self._address or "").scheme
        self._is_object = scheme in OBJECT_STORES
        self._options: dict[str, Any] = {"retry_config": RETRIES}
        if scheme == "http" or any(os.environ.get(name, "").startswith("http:") for name in ENDPOINTS):
            self._options["client_options"] = {"allow_http": True}
        make_system: Any = FsspecStore if self._is_object else fsspec.core.url_to_fs
        try:
            if self._is_object:
                self._system = make_system(scheme, **self._options)
                self._root = place if scheme in WEB else str(self._address).partition("://")[2]
            else:
                self._system, self._root = make_system(self._address or os.path.abspath(place))  # noqa: PTH100
        except (ValueError, ImportError, OSError) as fault:
            raise InputError(f"{place} cannot be opened: {describe(fault)}.", CHECK_ADDRESS) from fault

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a file, or a part of it."""
        if length == 0:  # which is no range
            return b""
        part = {} if length is None else {"start": start, "end": start + length}
        with self._faults():
            return bytes(self._system.cat_file(self._path(name), **part))

    def write(self, name: str, content: bytes | Path) -> None:
        """Write a whole file, of bytes or from a file of this machine: it appears at the end."""
        path = self._path(name)
        # Two workers may write the same part, if one of them was taken for dead.
        place = path if self._is_object else f"{path}.{uuid.uuid4().hex}.part"
        with self._faults():
            if not self._is_object:
                self._system.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH120
            if isinstance(content, Path):
                self._system.put_file(str(content), place)
            else:
                self._system.pipe_file(place, content)
            if place != path:
                self._system.mv(place, path)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._faults(), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        with self._faults():
            facts = self._system.info(self._path(name))
        if facts["type"] != "file":
            raise FileNotFoundError(f"{name} is a folder")
        return int(facts["size"])

    def open(self, name: str) -> BinaryIO:
        """Open a file to read parts of it."""
        with self._faults():
            file = self._system.open(self._path(name), "rb")
        return cast("BinaryIO", io.BufferedReader(file, BUFFER) if self._is_object else file)

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the size of every file, few of which are in memory."""
        with self._faults():
            if self._is_object:
                open_store: Any = self._obstore.store.from_url
                for chunk in self._obstore.list(open_store(self._address, **self._options)):
                    yield from ((each["path"], each["size"]) for each in chunk)
                return
            for path, facts in self._system.find(self._root, detail=True).items():
                yield path.removeprefix(self._root).lstrip("/"), int(facts["size"] or 0)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Raise all faults of obstore as an `OSError`."""
        exceptions = self._obstore.exceptions
        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as fault:
            raise PermissionError(describe(fault)) from fault
        except exceptions.BaseError as fault:
            raise OSError(describe(fault)) from fault


_kept_folder = functools.lru_cache(maxsize=64)(Folder)


def open_folder(place: str) -> Folder:
    """Return a folder, which is opened once by each process; see `Folder`."""
    return _kept_folder(address_of(place) or os.path.abspath(place))  # noqa: PTH100


def split_place(place: str) -> tuple[str, str]:
    """Return the folder and the name of a file."""
    address = address_of(place)
    if address is None:
        return os.path.split(place)
    folder, _, name = address.rpartition("/")
    return folder, name


def read_picture(place: str, start: int = 0, length: int | None = None) -> bytes | PictureError:
    """Return a file, or a part of it, or the error why it cannot be read."""
    try:
        folder, name = split_place(place)
        return open_folder(folder).read(name, start, length)
    except FileNotFoundError:
        return PictureError("not_found", f"'{place}' does not exist.", "Check the name.")
    except PermissionError as fault:
        return PictureError(
            "permission", f"'{place}' may not be read: {describe(fault)}.", "Change the rights."
        )
    except IsADirectoryError:
        return PictureError("not_regular_file", f"'{place}' is a folder.", "Name a file.")
    except InputError as error:  # there is no such kind of address
        return PictureError("not_found", error.cause, error.remedy)
    except (OSError, ValueError) as fault:
        cause = f"'{place}' cannot be read now: {describe(fault)}."
        return PictureError("unavailable", cause, "Try again later.")


def read_ahead(items: Iterable[Item], read: Callable[[Item], Result]) -> Iterator[tuple[Item, Result]]:
    """Yield items with what is read of them, in their order; the next ones are read meanwhile."""
    from concurrent.futures import Future, ThreadPoolExecutor  # few commands need it

    remaining, tasks = iter(items), deque[tuple[Item, Future[Result]]]()
    with ThreadPoolExecutor(AHEAD) as pool:
        try:
            for item in itertools.islice(remaining, 2 * AHEAD):
                tasks.append((item, pool.submit(read, item)))
            while tasks:
                item, task = tasks.popleft()
                yield item, task.result()
                tasks += [(each, pool.submit(read, each)) for each in itertools.islice(remaining, 1)]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def store_faults(place: str) -> Iterator[None]:
    """Raise the faults of a store as an `OutputError`."""
    try:
        yield
    except OSError as fault:
        raise OutputError(f"{place} cannot be used: {describe(fault)}.", CHECK_ADDRESS) from fault


def describe(fault: BaseException) -> str:
    """Return what a fault says, without what differs each time and what is for programmers."""
    line = (str(fault).splitlines() or [type(fault).__name__])[0]
    if line.startswith("Generic"):
        line = line.rpartition(" - ")[2].partition(": <?xml")[0]
    return line.rstrip(".")


def open_file(place: str) -> BinaryIO:
    """Open a file of this machine or of a store; of the latter, the parts that are read are fetched.

    Raises:
        OSError: it cannot be read.
    """
    folder, name = split_place(place)
    return open_folder(folder).open(name)
