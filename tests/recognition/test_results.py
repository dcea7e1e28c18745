"""Readings as JSON lines, JSON and CSV, and read again."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from digitcli.errors import Interrupted, UsageError
from digitcli.recognition.readings import Digit, Number, Reading, describe_confidence, text_of
from digitcli.recognition.results import (
    FIELDS,
    Per,
    TextFormat,
    format_of,
    format_readings,
)
from tests.support.processes import modules_loaded_by

ONE = Digit("1", 0.9, (40, 10, 8, 30), (("7", 0.08), ("4", 0.02)))
SEVEN = Digit("7", 0.5, (60, 4, 20, 31))
NUMBERS = (Number((ONE, SEVEN), 0.45, "1.7", (("11", 0.2),), row=2, column=1), Number((SEVEN,), 0.5, "7"))
READING = Reading("cheque.jpg", 3, "read", None, "17 7", 0.225, NUMBERS, "cnn@1a2b3c4d")
ERROR = Reading("a.png", None, "error", "corrupt", None, None, (), "cnn@1a2b3c4d")
STRANGE = [
    "ä 二 😀.png",
    'quote".png',
    "comma, space.png",
    "new\nline.png",
    "old\rMac.png",
    os.fsdecode(b"caf\xe9\xff.png"),
    "",
]


def named(*names: str) -> list[Reading]:
    return [dataclasses.replace(READING, file=name) for name in names]


def text_as(form: TextFormat, readings: list[Reading], per: Per = "page") -> str:
    return "".join(format_readings(readings, form, per))


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_a_number_goes_around_its_digits_and_a_reading_holds_all() -> None:
    first, second = NUMBERS
    assert (first.text, first.box) == ("17", (40, 4, 40, 36)) and second.box == SEVEN.box
    assert text_of(NUMBERS) == "17 7" and text_of(()) == ""
    assert READING.digits == (ONE, SEVEN, SEVEN)
    assert dataclasses.replace(READING, picture=np.zeros((2, 2))) == READING
    assert "numpy" not in modules_loaded_by("import digitcli.recognition.readings")


def test_a_record_is_the_one_of_the_design() -> None:
    record = READING.record()
    seven = {"digit": "7", "confidence": 0.5, "box": [60, 4, 20, 31], "alternatives": []}
    one = {**seven, "digit": "1", "confidence": 0.9, "box": [40, 10, 8, 30]}
    one["alternatives"] = [["7", 0.08], ["4", 0.02]]
    state = {"status": "read", "reason": None}
    first, second = record.pop("numbers")
    assert record == state | {
        "schema": 1, "file": "cheque.jpg", "page": 3, "text": "17 7", "raw": "1.7 7", "confidence": 0.225,
        "model": "cnn@1a2b3c4d", "changed": False, "rotation": 0,
    }  # fmt: skip
    assert first == state | {
        "text": "17", "raw": "1.7", "confidence": 0.45, "row": 2, "column": 1, "box": [40, 4, 40, 36],
        "digits": [one, seven], "alternatives": [["11", 0.2]],
    }  # fmt: skip
    assert second["digits"] == [seven] and second["row"] is None
    failed = ERROR.record()
    assert failed["text"] is failed["raw"] is failed["confidence"] is None and failed["numbers"] == []
    assert failed.keys() == READING.record().keys()
    digit = Digit("1", float(np.float32(0.12345678)), (0, 0, 1, 1), (("7", float(np.float32(1 / 3))),))
    number = Number((digit,), 0.123457, "1")
    rounded = dataclasses.replace(READING, numbers=(number,), confidence=np.float32(2 / 3)).record()  # type: ignore[arg-type]
    assert json.loads(json.dumps(rounded)) == rounded and rounded["confidence"] == 0.666667
    assert rounded["numbers"][0]["digits"][0]["confidence"] == 0.123457
    assert rounded["numbers"][0]["digits"][0]["alternatives"] == [["7", 0.333333]]


def test_json_is_one_list_and_json_lines_one_record_a_line_in_ascii() -> None:
    for readings in ([], named("a.png"), named(*STRANGE)):
        records = [reading.record() for reading in readings]
        as_list, as_lines = text_as("json", readings), text_as("jsonl", readings)
        assert json.loads(as_list) == records and as_list.endswith("]\n")
        assert [json.loads(line) for line in as_lines.splitlines()] == records
        assert as_lines.count("\n") == len(readings) and (as_list + as_lines).isascii()


def test_csv_comes_back_as_it_was() -> None:
    cells = ["3", "read", "", "17 7", "1.7 7", "0.225", "cnn@1a2b3c4d"]
    assert rows_of(text_as("csv", named(*STRANGE))) == [
        list(FIELDS["page"]),
        *([name, *cells] for name in STRANGE),
    ]
    assert FIELDS["page"] == ("file", "page", "status", "reason", "text", "raw", "confidence", "model")
    assert rows_of(text_as("csv", [ERROR]))[1] == [
        *("a.png", "", "error", "corrupt", "", "", "", "cnn@1a2b3c4d")
    ]
    assert text_as("csv", []) == ",".join(FIELDS["page"]) + "\n"
    assert text_as("csv", [], "number") == ",".join(FIELDS["number"]) + "\n"


def test_csv_per_number_tells_place_and_alternative_of_each() -> None:
    first, second = NUMBERS
    page = dataclasses.replace(READING, numbers=(first, second.refused_for("low_confidence")))
    one, other, failed = csv.DictReader(io.StringIO(text_as("csv", [page, ERROR], "number")))
    assert one == {
        "file": "cheque.jpg", "page": "3", "row": "2", "column": "1", "status": "read", "reason": "",
        "text": "17", "raw": "1.7", "confidence": "0.45", "alternative": "11", "x": "40", "y": "4",
        "width": "40", "height": "36", "rotation": "0", "model": "cnn@1a2b3c4d",
    }  # fmt: skip
    assert (other["text"], other["status"], other["reason"]) == ("7", "refused", "low_confidence")
    assert other["alternative"] == "" and (failed["status"], failed["x"]) == ("error", "")


def test_only_a_text_that_a_spreadsheet_takes_for_a_formula_gets_a_quote() -> None:
    for start in ("=", "+", "-", "@", "\t", "\r"):
        name = f"{start}cmd|' /C calc'!A0"
        assert rows_of(text_as("csv", named(name)))[1][0] == f"'{name}"
    assert rows_of(text_as("csv", named("-")))[1][0] == "-"


def test_each_reading_is_written_before_the_next_is_asked_for() -> None:
    forms: tuple[TextFormat, ...] = ("json", "jsonl", "csv")
    for form in forms:
        taken: list[Reading] = []
        pieces = format_readings((taken.append(each) or each for each in named(*"abc")), form)
        text = ""
        while "cnn@" not in text:
            text += next(pieces)
        assert len(taken) == 1, form


def test_a_suffix_names_a_format() -> None:
    for name, form in (("a.json", "json"), ("b.JSONL", "jsonl"), ("x/c.csv", "csv"), ("d.csv.json", "json")):
        assert format_of(Path(name)) == form
    for name in ("a", "a.txt", "json", ".csv", "a.table"):
        with pytest.raises(UsageError, match="does not say"):
            format_of(Path(name))


def test_json_that_is_interrupted_is_json() -> None:
    for before in (1, 2):  # while a piece is written
        pieces = format_readings(named(*"abcde"), "json")
        written = "".join(itertools.islice(pieces, before)) + pieces.throw(Interrupted(2, "Stopped."))
        assert len(json.loads(written)) == before
        with pytest.raises(Interrupted):
            next(pieces)

    def stopped(before: int) -> Iterator[Reading]:
        yield from named("a") * before
        raise Interrupted(2, "Stopped.")

    for before in (0, 1, 3):  # while a picture is read
        written = ""
        with pytest.raises(Interrupted):
            for piece in format_readings(stopped(before), "json"):
                written += piece
        assert len(json.loads(written)) == before


def test_the_confidence_of_an_answer_without_digits_has_another_meaning() -> None:
    meanings = {
        ("read", "42"): "",
        ("refused", "42"): "",
        ("error", None): "",
        ("blank", ""): "that nothing is written",
        ("refused", ""): "that no digit is written",
    }
    assert {case: describe_confidence(*case) for case in meanings} == meanings
