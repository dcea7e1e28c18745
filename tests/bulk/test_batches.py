"""Engines hand over batches of pictures, and get rows in the same form."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from digitcli.bulk.batches import BatchReader
from digitcli.errors import UsageError
from digitcli.recognition.reader_config import ReaderConfig
from tests.bulk.conftest import CONTENTS

PATHS, BYTES = list(CONTENTS), list(CONTENTS.values())
TEXTS = ["0", "1", "2", "3", "4", "5", None]


@pytest.fixture(scope="module")
def read(config: ReaderConfig) -> BatchReader:
    return pickle.loads(pickle.dumps(BatchReader(config)))  # as it comes to a worker


def test_every_kind_of_batch_has_rows_of_its_kind(read: BatchReader, scans: Any) -> None:
    table = pa.table({"path": PATHS, "bytes": BYTES})
    arrays = {"path": np.array(PATHS, object), "bytes": np.array(BYTES, object)}
    for batch in (table, table.to_batches()[0], arrays):
        rows = read(batch)
        assert type(rows) is type(batch)
        texts = rows["text"] if isinstance(rows, dict) else rows.column("text").to_pylist()
        assert list(texts) == TEXTS
    from_paths = read({"path": [str(scans / name) for name in PATHS] + ["gone.png"]})
    assert list(from_paths["text"]) == [*TEXTS, None]
    assert [error and error["reason"] for error in from_paths["error"]][-2:] == ["empty_file", "not_found"]


def test_other_batches_are_refused(read: BatchReader) -> None:
    for batch, cause in (({"image": []}, "no column path"), (["a.png"], "A list is no batch")):
        with pytest.raises(UsageError, match=cause):
            read(batch)
