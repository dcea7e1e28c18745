from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from digitcli.recognition.results import Digit, Number, Reading, format_readings
from digitcli.recognition.saved import SavedNumber, SavedReading, parse_readings, record_of_row

NUMBER = Number((Digit("7", 0.5, (1, 2, 3, 4)),), 0.5, "7.-", alternatives=(("1", 0.25),))
READINGS = [
    Reading("=a.png", 3, "partial", "low_confidence", "7", 0.25, (NUMBER.refused("low_confidence"),), "m"),
    Reading("b.png", None, "error", "corrupt", None, None, (), "m"),
]


def test_what_predict_writes_is_read() -> None:
    lines = "".join(format_readings(READINGS, "jsonl")).splitlines()
    first, second = parse_readings([json.loads(line) for line in lines])
    number = SavedNumber("7", "7.-", "refused", 0.5, (1, 2, 3, 4), "low_confidence", (("1", 0.25),))
    assert first == SavedReading("=a.png", "partial", 3, "low_confidence", "7", "7.-", 0.25, (number,), "m")
    assert second == SavedReading("b.png", "error", reason="corrupt", model="m")


def test_csv_gives_the_same_without_the_numbers() -> None:
    text = "".join(format_readings(READINGS, "csv"))
    rows = [record_of_row(row) for row in csv.DictReader(io.StringIO(text))]
    first, second = parse_readings(rows)
    assert first == SavedReading("=a.png", "partial", 3, "low_confidence", "7", "7.-", 0.25, model="m")
    assert second == SavedReading("b.png", "error", reason="corrupt", model="m")


GOOD = {"text": "7", "raw": "7", "status": "read", "confidence": 0.5, "box": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "fine"}, "record 1.status"),
        ({"rotation": 45}, "record 1.rotation"),
        ({"confidence": 1.5}, "a confidence is 1.5"),
        ({"numbers": [GOOD | {"confidence": -1}]}, "a confidence is -1"),
        ({"numbers": [GOOD | {"box": [1, 2, 3]}]}, "the box"),
        ({"numbers": [GOOD | {"box": [-1, 2, 3, 4]}]}, "the box"),
        ({"numbers": [GOOD | {"alternatives": [["7"]]}]}, "unpack"),
        ({"numbers": [GOOD | {"alternatives": [[7, 0.5]]}]}, "an alternative is 7"),
        ({"numbers": [GOOD | {"alternatives": [["7", "half"]]}]}, "probability of an alternative"),
    ],
    ids=str,
)
def test_records_that_predict_does_not_write_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_readings([{"file": "a.png", "status": "read"} | change])


def test_a_row_needs_every_column() -> None:
    with pytest.raises(ValueError, match="columns"):
        record_of_row({"file": "a.png"})
