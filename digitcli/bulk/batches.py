"""Read batches of pictures in the form that engines hand them over: Arrow, pandas, or arrays by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from digitcli.bulk.parquet import to_table
from digitcli.bulk.portions import worker_reader
from digitcli.data.storage import read_ahead, read_picture
from digitcli.errors import UsageError
from digitcli.recognition.reader import Reader
from digitcli.recognition.reader_config import ReaderConfig
from digitcli.recognition.sources import Picture


class BatchReader:
    """Reads batches with the column `path`, and the column `bytes` if the pictures are in it.

    A batch is a table or a batch of records of Arrow, a data frame of pandas, or arrays by name; what comes
    out is of the same kind, with the columns of `ARROW_SCHEMA`. A picture never raises an error: it has a
    row. One reader is loaded by each process.
    """

    def __init__(self, config: ReaderConfig | None = None) -> None:
        self._config = config or ReaderConfig()

    @functools.cached_property
    def reader(self) -> Reader:
        """The reader of this process."""
        return worker_reader(self._config)

    def __getstate__(self) -> dict[str, Any]:
        return {"_config": self._config}

    def __call__(self, batch: Any) -> Any:
        """Return the rows of a batch.

        Raises:
            UsageError: it is of another kind, or has no column `path`.
        """
        if isinstance(batch, pa.Table | pa.RecordBatch):
            columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        elif isinstance(batch, Mapping) or hasattr(batch, "to_dict"):
            columns = {str(name): list(batch[name]) for name in batch}
        else:
            raise UsageError(
                f"A {type(batch).__name__} is no batch.", "Give Arrow, pandas or arrays by name."
            )
        if "path" not in columns:
            raise UsageError("The batch has no column path.", "Name each picture there.")
        known = columns.get("bytes")
        pictures = (
            zip(columns["path"], known, strict=True) if known else read_ahead(columns["path"], read_picture)
        )
        sources = (Picture(*each) for each in pictures)
        table = to_table(self.reader.read_all(sources))
        if isinstance(batch, pa.Table):
            return table
        if isinstance(batch, pa.RecordBatch):
            return table.combine_chunks().to_batches()[0]
        if isinstance(batch, Mapping):
            return {name: np.array(table[name].to_pylist(), object) for name in table.column_names}
        return table.to_pandas()
