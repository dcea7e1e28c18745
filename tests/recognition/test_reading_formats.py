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

from digitcli.errors import Interrupted, PictureError, UsageError
from digitcli.recognition.reading_formats import (
    FIELDS,
    NUMBER_FIELDS,
    format_of,
    format_readings,
)
from digitcli.recognition.readings import Digit, Number, Reading, describe_confidence, text_of
from tests.support.processes import modules_loaded_by

RECORD = {"schema", "file", "page", "status", "reason", "text", "raw", "confidence", "numbers", "model"}
RECORD |= {"changed", "rotation"}
IN_NUMBER = {
    "text",
    "raw",
    "status",
    "reason",
    "confidence",
    "row",
    "column",
    "box",
    "digits",
    "alternatives",
}
DIGIT = {"digit", "confidence", "box", "alternatives"}

ONE = Digit("1", 0.9, (40, 10, 8, 30), (("7", 0.08), ("4", 0.02)))
SEVEN = Digit("7", 0.5, (60, 4, 20, 31))
NUMBERS = (Number((ONE, SEVEN), 0.45, "1.7", (("11", 0.2),)), Number((SEVEN,), 0.5, "7"))

NUMBER = Number((Digit("7", 0.5, (1, 2, 3, 4)),), 0.5, "7.-", alternatives=(("1", 0.25),))
READINGS = [
    Reading("=a.png", 3, "partial", "low_confidence", "7", 0.25, (NUMBER.refused("low_confidence"),), "m"),
    Reading("b.png", None, "error", "corrupt", None, None, (), "m"),
]


def reading(**changes: object) -> Reading:
    usual = {
        "file": "cheque.jpg",
        "page": None,
        "status": "read",
        "reason": None,
        "text": text_of(NUMBERS),
        "confidence": 0.225,
        "numbers": NUMBERS,
        "model": "cnn@1a2b3c4d",
    }
    return Reading(**{**usual, **changes})  # type: ignore[arg-type]


def test_a_number_goes_around_its_digits() -> None:
    number = Number((ONE, SEVEN), 0.45, "17")
    assert number.text == "17"
    assert number.box == (40, 4, 40, 36)
    assert Number((ONE,), 0.9, "1").box == ONE.box


def test_numbers_are_joined_by_one_space() -> None:
    assert text_of(NUMBERS) == "17 7" and text_of(()) == ""


def test_the_digits_of_a_reading_come_in_reading_order() -> None:
    assert reading().digits == (ONE, SEVEN, SEVEN)


def test_a_record_has_exactly_the_keys_of_the_design() -> None:
    record = reading().record()
    assert record.keys() == RECORD
    assert all(number.keys() == IN_NUMBER for number in record["numbers"])
    assert all(digit.keys() == DIGIT for number in record["numbers"] for digit in number["digits"])
    assert set(FIELDS) == RECORD - {"schema", "numbers", "changed", "rotation"}
    assert FIELDS == ("file", "page", "status", "reason", "text", "raw", "confidence", "model")


def test_a_record_holds_the_reading() -> None:
    record = reading(page=3).record()
    assert (record["schema"], record["file"], record["page"]) == (1, "cheque.jpg", 3)
    assert (record["text"], record["raw"]) == ("17 7", "1.7 7")
    first = record["numbers"][0]
    assert (first["text"], first["confidence"], first["box"]) == ("17", 0.45, [40, 4, 40, 36])
    assert (first["raw"], first["alternatives"]) == ("1.7", [["11", 0.2]])
    assert first["digits"][0] == {
        "digit": "1",
        "confidence": 0.9,
        "box": [40, 10, 8, 30],
        "alternatives": [["7", 0.08], ["4", 0.02]],
    }


def test_a_record_of_an_error_has_no_text() -> None:
    fault = PictureError("corrupt", "It is damaged.")
    record = reading(status="error", reason="corrupt", text=None, confidence=None, numbers=(), error=fault)
    assert record.record() == {
        **dict.fromkeys(("page", "text", "raw", "confidence")),
        "schema": 1,
        "file": "cheque.jpg",
        "status": "error",
        "reason": "corrupt",
        "numbers": [],
        "model": "cnn@1a2b3c4d",
        "changed": False,
        "rotation": 0,
    }


def test_confidences_are_plain_rounded_numbers() -> None:
    digit = Digit("1", float(np.float32(0.12345678)), (0, 0, 1, 1), (("7", float(np.float32(1 / 3))),))
    record = reading(numbers=(Number((digit,), 0.123457, "1"),), confidence=np.float32(2 / 3)).record()
    assert json.loads(json.dumps(record)) == record
    assert record["confidence"] == 0.666667
    assert record["numbers"][0]["digits"][0]["confidence"] == 0.123457
    assert record["numbers"][0]["digits"][0]["alternatives"] == [["7", 0.333333]]


def test_pictures_do_not_matter_to_whether_readings_are_equal() -> None:
    assert reading(picture=np.zeros((2, 2))) == reading(picture=np.ones((3, 3)), ink=np.ones((3, 3)))
    assert "picture" not in repr(reading(picture=np.zeros((2, 2))))


def test_results_load_no_numpy() -> None:
    assert "numpy" not in modules_loaded_by("import digitcli.recognition.readings")


FOUR = Number((Digit("4", 0.5, (1, 2, 3, 4)),), 0.5, "4")
STRANGE = [
    "ä 二 😀.png",
    'quote".png',
    "comma, space.png",
    "new\nline.png",
    "old\rMac.png",
    os.fsdecode(b"caf\xe9\xff.png"),
    "",
]


def plain_reading(file: str = "a.png", text: str | None = "4", page: int | None = None) -> Reading:
    return Reading(file, page, "read", None, text, 0.5, (FOUR,), "cnn@1a2b3c4d")


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_one_list(count: int) -> None:
    readings = [plain_reading(f"{number}.png") for number in range(count)]
    text = "".join(format_readings(readings, "json"))
    assert json.loads(text) == [reading.record() for reading in readings]
    assert text.endswith("]\n")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_lines_are_one_record_a_line(count: int) -> None:
    readings = [plain_reading(f"{number}.png") for number in range(count)]
    text = "".join(format_readings(readings, "jsonl"))
    assert [json.loads(line) for line in text.splitlines()] == [reading.record() for reading in readings]
    assert text.count("\n") == count


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("name", STRANGE)
def test_json_is_ascii_whatever_a_file_is_called(form: str, name: str) -> None:
    text = "".join(format_readings([plain_reading(name)], form))
    assert text.isascii()
    parsed = json.loads(text)
    assert (parsed if form == "jsonl" else parsed[0])["file"] == name


@pytest.mark.parametrize("name", STRANGE)
def test_csv_comes_back_as_it_was(name: str) -> None:
    text = "".join(format_readings([plain_reading(name, page=2)], "csv"))
    assert rows_of(text) == [
        list(FIELDS),
        [name, "2", "read", "", "4", "4", "0.5", "cnn@1a2b3c4d"],
    ]


def test_csv_of_nothing_is_its_header() -> None:
    assert "".join(format_readings([], "csv")) == ",".join(FIELDS) + "\n"
    assert "".join(format_readings([], "csv", "number")) == ",".join(NUMBER_FIELDS) + "\n"


def test_csv_per_number_tells_place_and_alternative_of_each() -> None:
    first, second = NUMBERS
    numbers = (dataclasses.replace(first, row=2, column=1), second.refused("low_confidence"))
    text = "".join(format_readings([reading(numbers=numbers, page=3)], "csv", "number"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["text"] for row in rows] == ["17", "7"]
    assert rows[0] == {
        "file": "cheque.jpg", "page": "3", "row": "2", "column": "1", "status": "read", "reason": "",
        "text": "17", "raw": "1.7", "confidence": "0.45", "alternative": "11", "x": "40", "y": "4",
        "width": "40", "height": "36", "rotation": "0", "model": "cnn@1a2b3c4d",
    }  # fmt: skip
    assert (rows[1]["status"], rows[1]["reason"], rows[1]["alternative"]) == ("refused", "low_confidence", "")


def test_csv_leaves_missing_values_empty() -> None:
    fault = Reading("a.png", None, "error", "corrupt", None, None, (), "cnn@1a2b3c4d")
    assert rows_of("".join(format_readings([fault], "csv")))[1] == [
        *("a.png", "", "error", "corrupt", "", "", "", "cnn@1a2b3c4d")
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_takes_for_a_formula_gets_a_quote(start: str) -> None:
    name = f"{start}cmd|' /C calc'!A0"
    assert rows_of("".join(format_readings([plain_reading(name)], "csv")))[1][0] == f"'{name}"


def test_digits_numbers_and_standard_input_get_no_quote() -> None:
    assert rows_of("".join(format_readings([plain_reading("-")], "csv")))[1][0] == "-"
    number = Number((Digit("4", 0.5, (1, 2, 3, 4)),), 0.5, "0042")
    two = dataclasses.replace(
        plain_reading("a.png", "0042 7"), numbers=(number, dataclasses.replace(number, raw="7"))
    )
    row = rows_of("".join(format_readings([two], "csv")))[1]
    assert row[4:7] == ["0042 7", "0042 7", "0.5"]


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_each_reading_is_written_before_the_next_is_asked_for(form: str) -> None:
    taken = 0

    def readings() -> Iterator[Reading]:
        nonlocal taken
        for _ in range(3):
            taken += 1
            yield plain_reading()

    pieces = format_readings(readings(), form)
    text = ""
    while "a.png" not in text:
        text += next(pieces)
    assert taken == 1


@pytest.mark.parametrize(
    ("name", "form"), [("a.json", "json"), ("b.JSONL", "jsonl"), ("x/c.csv", "csv"), ("d.csv.json", "json")]
)
def test_a_suffix_names_a_format(name: str, form: str) -> None:
    assert format_of(Path(name)) == form


@pytest.mark.parametrize("name", ["a", "a.txt", "json", ".csv", "a.table"])
def test_another_suffix_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="--format|does not say"):
        format_of(Path(name))


@pytest.mark.parametrize("before", [1, 2])
def test_json_whose_writing_is_interrupted_is_json(before: int) -> None:
    pieces = format_readings([plain_reading()] * 5, "json")
    written = "".join(itertools.islice(pieces, before)) + pieces.throw(Interrupted(2, "Stopped."))
    assert len(json.loads(written)) == before
    with pytest.raises(Interrupted):
        next(pieces)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_json_that_is_interrupted_is_json(before: int) -> None:
    def readings() -> Iterator[Reading]:
        yield from [plain_reading()] * before
        raise Interrupted(2, "Stopped.")

    written = ""
    with pytest.raises(Interrupted):
        for piece in format_readings(readings(), "json"):
            written += piece
    assert len(json.loads(written)) == before


@pytest.mark.parametrize(
    ("status", "text", "meaning"),
    [
        ("read", "42", ""),
        ("refused", "42", ""),
        ("error", None, ""),
        ("blank", "", "that nothing is written"),
        ("refused", "", "that no digit is written"),
    ],
)
def test_the_confidence_of_an_answer_without_digits_has_another_meaning(
    status: str, text: str | None, meaning: str
) -> None:
    assert describe_confidence(status, text) == meaning
