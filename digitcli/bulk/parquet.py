"""Readings as rows of Arrow and Parquet. Needs pyarrow.

Vohra, "Apache Parquet", 2016; the columns are those of JSON lines, with candidates as structs and the error
of a picture in words.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from digitcli.errors import Interrupted, missing_package
from digitcli.recognition.readings import Reading

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as fault:
    raise missing_package("Parquet", "parquet", str(fault)) from fault

PER_GROUP = 10_000  # rows of a file that grows; queries skip whole groups

_CANDIDATES = pa.list_(pa.struct([("text", pa.string()), ("probability", pa.float64())]))
_BOX = pa.list_(pa.int32())
_DIGIT = pa.struct(
    [("digit", pa.string()), ("confidence", pa.float64()), ("box", _BOX), ("alternatives", _CANDIDATES)]
)
_NUMBER = pa.struct(
    [
        ("text", pa.string()), ("raw", pa.string()), ("status", pa.string()), ("reason", pa.string()),
        ("confidence", pa.float64()), ("row", pa.int32()), ("column", pa.int32()), ("box", _BOX),
        ("digits", pa.list_(_DIGIT)), ("alternatives", _CANDIDATES),
    ]
)  # fmt: skip
_ERROR = pa.struct([("reason", pa.string()), ("cause", pa.string()), ("transient", pa.bool_())])
# A row is a page; `index` is the position of its picture in the portion or run.
ARROW_SCHEMA = pa.schema(
    [
        ("file", pa.string()), ("index", pa.int64()), ("page", pa.int32()), ("status", pa.string()),
        ("reason", pa.string()), ("text", pa.string()), ("raw", pa.string()), ("confidence", pa.float64()),
        ("numbers", pa.list_(_NUMBER)), ("model", pa.string()), ("changed", pa.bool_()),
        ("rotation", pa.int32()), ("error", _ERROR),
    ]
)  # fmt: skip


def to_table(readings: Iterable[Reading]) -> pa.Table:
    """Return readings as a table of Arrow."""
    return pa.Table.from_pylist([reading.row() for reading in readings], ARROW_SCHEMA)


def to_bytes(table: pa.Table, facts: Mapping[str, str] | None = None) -> bytes:
    """Return a table as a file of Parquet; equal tables give equal bytes. `facts` are its metadata."""
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(facts), content, compression="zstd")
    return content.getvalue()


def parquet_pieces(readings: Iterable[Reading]) -> Generator[bytes]:
    """Yield the pieces of a file of Parquet; it is whole after an error or a signal, too."""
    sink, rows = _Sink(), list[Reading]()
    with pq.ParquetWriter(sink, ARROW_SCHEMA, compression="zstd") as writer:
        try:
            for reading in readings:
                rows.append(reading)
                if len(rows) == PER_GROUP:
                    writer.write_table(to_table(rows))
                    rows.clear()
                    yield sink.taken()
        except (Exception, Interrupted):
            yield _end(writer, sink, rows)
            raise
        yield _end(writer, sink, rows)


def _end(writer: pq.ParquetWriter, sink: _Sink, rows: list[Reading]) -> bytes:
    if rows:
        writer.write_table(to_table(rows))
    writer.close()
    return sink.taken()


class _Sink(io.RawIOBase):
    """A file that hands on what was written to it."""

    def __init__(self) -> None:
        self._pieces, self._position = list[bytes](), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._position += len(self._pieces[-1])
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
