"""Plan a run over many pictures: which of them make up which portion, in a file of Parquet.

A portion is the unit of work, of a second attempt and of the output. It has about as many pictures, or as
many bytes, as any other one.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import hashlib
import io
import lzma
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from digitcli.data.files import is_picture, walk_pictures
from digitcli.data.storage import (
    address_of,
    describe,
    open_file,
    open_folder,
    read_picture,
    split_place,
    store_faults,
)
from digitcli.errors import InputError, OutputError, PictureError
from digitcli.events import OnEvent, ThingsDone
from digitcli.recognition.sources import SUFFIXES, read_list

PORTION_SIZE, PORTION_BYTES = 1_000, 512_000_000
ROWS_OF_A_GROUP = 20_000  # of which one is read for a portion
SCHEMA = pa.schema(
    [
        ("portion", pa.int32()), ("file", pa.string()), ("place", pa.string()), ("kind", pa.string()),
        ("start", pa.int64()), ("size", pa.int64()),
    ]
)  # fmt: skip
PORTIONS, PICTURES, DIGEST = "digitcli.portions", "digitcli.pictures", "digitcli.sha256"  # metadata
WRITE_ONE = "Write one with: digitcli plan PICTURES -o manifest.parquet"


@dataclass(frozen=True)
class Entry:
    """A picture of a manifest.

    file: its name in the results.
    place: the file that holds it: itself, or an archive.
    kind: `file`, or the kind of the archive: `tar`, `zip` or `parquet`.
    start, size: where it begins in a tar, or its place in the list of a zip, and its bytes; of Parquet the
        group of rows and the row.
    """

    file: str
    place: str
    kind: str = "file"
    start: int = 0
    size: int = 0


def entries_of(name: str) -> Iterator[Entry]:
    """Yield the pictures of a folder, an archive, a list or an inventory, on this machine or in a store.

    A `.txt` file lists pictures and archives, one per line, and a `.csv` or `.csv.gz` file is an inventory
    with the columns bucket, key and perhaps size, as Amazon S3 writes them. A `.parquet` file is an
    inventory, too, or has a column of bytes. Other files are pictures.

    Raises:
        InputError: it cannot be read, or holds no pictures.
    """
    kind = next((kind for kind in READERS if name.lower().endswith(kind)), None)
    try:
        if kind is not None:
            with open_file(name) as file:
                yield from READERS[kind](name, file)
            return
        if address_of(name) is None:
            yield from _of_folder(Path(name))
            return
        folder, below = split_place(name)
        root = name.rstrip("/")
        with contextlib.suppress(OSError, ValueError):
            yield Entry(name, name, size=open_folder(folder).size(below))
            return
        for below, size in open_folder(root).files():
            if is_picture(below, SUFFIXES):
                yield Entry(f"{root}/{below}", f"{root}/{below}", size=size)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, pa.ArrowInvalid, csv.Error) as fault:
        cause = f"{name} cannot be read: {describe(fault)}."
        raise InputError(
            cause, "Name a folder, an archive (.zip, .tar), a list (.txt) or an inventory."
        ) from fault


def _of_folder(folder: Path) -> Iterator[Entry]:
    """Yield the pictures of a folder of this machine, or the file that it is."""
    for found in walk_pictures(folder, suffixes=SUFFIXES) if folder.is_dir() else [folder]:
        if isinstance(found, OSError):
            raise found
        yield Entry(str(found), str(found.absolute()), size=found.stat().st_size)


def _of_list(name: str, file: BinaryIO) -> Iterator[Entry]:
    for place in read_list(file):
        is_archive = place.lower().endswith(ARCHIVES)
        yield from entries_of(place) if is_archive else [Entry(place, place)]


def _of_inventory(name: str, file: BinaryIO) -> Iterator[Entry]:
    stream: Any = gzip.GzipFile(fileobj=file) if name.lower().endswith(".gz") else file
    with io.TextIOWrapper(stream, "utf-8", newline="") as text:
        for row in csv.reader(text):
            if len(row) >= 2 and row[:2] != ["bucket", "key"]:
                size = int(row[2]) if len(row) > 2 and row[2].isdecimal() else 0
                yield from _inventoried(row[0], unquote_plus(row[1]), size)  # encoded in CSV alone


def _inventoried(bucket: str, key: str, size: int) -> Iterator[Entry]:
    if is_picture(key, SUFFIXES):
        place = f"s3://{bucket}/{key}"
        yield Entry(place, place, size=size)


def _of_tar(name: str, file: BinaryIO) -> Iterator[Entry]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isfile() and is_picture(member.name, SUFFIXES):
                yield Entry(f"{name}/{member.name}", name, "tar", member.offset_data, member.size)
            archive.members = []  # type: ignore[attr-defined]  # else it holds all of them


def _of_zip(name: str, file: BinaryIO) -> Iterator[Entry]:
    with zipfile.ZipFile(file) as archive:
        for index, member in enumerate(archive.infolist()):
            if not member.is_dir() and is_picture(member.filename, SUFFIXES):
                yield Entry(f"{name}/{member.filename}", name, "zip", index, member.file_size)


def _of_parquet(name: str, file: BinaryIO) -> Iterator[Entry]:
    table = pq.ParquetFile(file)
    schema = table.schema_arrow
    if {"bucket", "key"} <= set(schema.names):
        for batch in table.iter_batches(columns=["bucket", "key", *{"size"} & set(schema.names)]):
            for row in batch.to_pylist():
                yield from _inventoried(row["bucket"], row["key"], row.get("size") or 0)
        return
    column, names = _column_of_bytes(schema), [each.name for each in schema if pa.types.is_string(each.type)]
    if column is None:
        raise InputError(f"{name} has no column of bytes.", "Name Parquet with one picture per row.")
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        shown = table.read_row_group(group, names[:1])[0].to_pylist() if names else [None] * rows
        for row in range(rows):
            yield Entry(shown[row] or f"{name}/{group}/{row}", name, "parquet", group, row)


def _column_of_bytes(schema: pa.Schema) -> str | None:
    """Return the column with a picture's bytes; image columns of Hugging Face are a struct with `bytes`."""
    for field in schema:
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            return str(field.name)
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return f"{field.name}.bytes"
    return None


ARCHIVES = (".tar", ".zip", ".parquet")
READERS = {
    ".txt": _of_list, ".csv": _of_inventory, ".csv.gz": _of_inventory, ".tar": _of_tar, ".zip": _of_zip,
    ".parquet": _of_parquet,
}  # fmt: skip


@dataclass(frozen=True)
class PlanSummary:
    """A manifest that was written."""

    manifest: str
    portions: int
    pictures: int
    bytes: int


def plan_pictures(
    names: Iterable[str],
    manifest: str,
    portion_size: int = PORTION_SIZE,
    on_event: OnEvent = lambda event: None,
    *,
    force: bool = False,
) -> PlanSummary:
    """Divide the pictures of places into portions, see `entries_of` and `write_manifest`.

    Raises:
        OutputError: the manifest exists and `force` is not given: results belong to one manifest.
    """
    folder, file = split_place(manifest)
    with store_faults(manifest), contextlib.suppress(FileNotFoundError):
        if not force and open_folder(folder).size(file) >= 0:
            raise OutputError(
                f"{manifest} exists already.", "Name another file, or overwrite it with --force."
            )

    def counted() -> Iterator[Entry]:
        for number, entry in enumerate((entry for name in names for entry in entries_of(name)), start=1):
            yield entry
            if number % portion_size == 0:
                on_event(ThingsDone(number, 0))

    return write_manifest(counted(), manifest, portion_size)


def write_manifest(
    entries: Iterable[Entry],
    manifest: str,
    portion_size: int = PORTION_SIZE,
    portion_bytes: int = PORTION_BYTES,
) -> PlanSummary:
    """Divide pictures into portions and write them down; few of them are in memory at a time.

    Raises:
        InputError: there are no pictures.
        OutputError: the manifest cannot be written.
    """
    portion = pictures = in_portion = bytes_in_portion = total = 0
    rows: list[tuple[Any, ...]] = []
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as temporary, store_faults(manifest):
        written = Path(temporary, "manifest.parquet")
        with pq.ParquetWriter(written, SCHEMA, compression="zstd") as writer:
            for entry in entries:
                size = entry.size if entry.kind != "parquet" else 0
                if in_portion == portion_size or (in_portion and bytes_in_portion + size > portion_bytes):
                    portion, in_portion, bytes_in_portion = portion + 1, 0, 0
                rows.append((portion, entry.file, entry.place, entry.kind, entry.start, entry.size))
                digest.update(repr(rows[-1]).encode("utf-8", "surrogateescape"))
                pictures, in_portion, bytes_in_portion = pictures + 1, in_portion + 1, bytes_in_portion + size
                total += size
                if len(rows) == ROWS_OF_A_GROUP:
                    writer.write_table(_table(rows))
                    rows.clear()
            if rows:
                writer.write_table(_table(rows))
            if not pictures:
                raise InputError(
                    "There are no pictures to plan.", "Name a folder or an archive with pictures."
                )
            facts = {PORTIONS: str(portion + 1), PICTURES: str(pictures), DIGEST: digest.hexdigest()}
            writer.add_key_value_metadata(facts)
        folder, name = split_place(manifest)
        open_folder(folder).write(name, written)
    return PlanSummary(manifest, portion + 1, pictures, total)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table(dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True)), schema=SCHEMA)


class Manifest:
    """A manifest that was written, of which single portions are read; `digest` is that of all its rows.

    Raises:
        InputError: it cannot be read, or is something else.
    """

    def __init__(self, place: str) -> None:
        try:
            self._file = _parquet_file(place)
            metadata = self._file.metadata.metadata or {}
            self.portions = int(metadata[PORTIONS.encode()])
            self.pictures = int(metadata[PICTURES.encode()])
            self.digest = metadata[DIGEST.encode()].decode()
        except (OSError, pa.ArrowInvalid, KeyError, ValueError) as fault:
            raise InputError(f"{place} is no manifest of pictures.", WRITE_ONE) from fault
        groups = (
            self._file.metadata.row_group(group).column(0).statistics
            for group in range(self._file.num_row_groups)
        )
        self._bounds = [(each.min, each.max) for each in groups]

    def entries(self, portion: int) -> list[Entry]:
        """Return the pictures of a portion."""
        groups = [group for group, (low, high) in enumerate(self._bounds) if low <= portion <= high]
        table = self._file.read_row_groups(groups)
        rows = table.filter(pc.equal(table["portion"], portion)).drop_columns(["portion"]).to_pylist()
        return [Entry(**row) for row in rows]


@functools.lru_cache(maxsize=4)
def open_manifest(place: str) -> Manifest:
    """Return a manifest, which is opened once by each process."""
    return Manifest(place)


def content_of(entry: Entry) -> bytes | PictureError:
    """Return the bytes of a picture, or the error why there are none."""
    if entry.kind == "file":
        return read_picture(entry.place)
    try:
        with _LOCK:
            return _MEMBERS[entry.kind](entry)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, RuntimeError) as fault:
        return PictureError("corrupt", f"'{entry.file}' cannot be unpacked: {fault}.", "Pack it anew.")
    except FileNotFoundError:
        return PictureError("not_found", f"'{entry.place}' does not exist.", "Check the name.")
    except (OSError, pa.ArrowInvalid, IndexError) as fault:
        cause = f"'{entry.file}' cannot be read now: {describe(fault)}."
        return PictureError("unavailable", cause, "Try again later.")


# Threads that read ahead would fetch the same piece of an archive all at once.
_LOCK = threading.Lock()
_archive = functools.lru_cache(maxsize=2)(lambda place: zipfile.ZipFile(open_file(place)))
_tar = functools.lru_cache(maxsize=2)(open_file)


def _of_zip_member(entry: Entry) -> bytes:
    archive = _archive(entry.place)
    return archive.read(archive.infolist()[entry.start])  # two members may have the same name


def _of_tar_member(entry: Entry) -> bytes:
    file = _tar(entry.place)
    file.seek(entry.start)
    return file.read(entry.size)


def _of_row(entry: Entry) -> bytes | PictureError:
    value = _group(entry.place, entry.start)[entry.size].as_py()
    return value if value is not None else PictureError("empty_file", f"'{entry.file}' has no bytes.")


@functools.lru_cache(maxsize=2)
def _group(place: str, group: int) -> pa.ChunkedArray:
    file = _parquet_file(place)
    column = _column_of_bytes(file.schema_arrow) or ""
    table = file.read_row_group(group, [column])
    return table.flatten()[0] if "." in column else table[0]


_MEMBERS: dict[str, Callable[[Entry], bytes | PictureError]] = {
    "tar": _of_tar_member, "zip": _of_zip_member, "parquet": _of_row,
}  # fmt: skip


def _parquet_file(place: str) -> pq.ParquetFile:
    return pq.ParquetFile(place if address_of(place) is None else open_file(place))
