"""Readings as text, piece by piece: what comes out can be parsed, whatever a file is called."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from digitcli.errors import Interrupted, UsageError
from digitcli.recognition.formats import as_text, format_of
from digitcli.recognition.results import FIELDS, Digit, Number, Reading

NUMBER = Number((Digit("4", 0.5, (1, 2, 3, 4)),), 0.5, "4")
STRANGE = [
    "ä 二 😀.png",
    'quote".png',
    "comma, space.png",
    "new\nline.png",
    "old\rMac.png",
    os.fsdecode(b"caf\xe9\xff.png"),
    "",
]


def reading(file: str = "a.png", text: str | None = "4", page: int | None = None) -> Reading:
    return Reading(file, page, "read", None, text, 0.5, (NUMBER,), "cnn@1a2b3c4d")


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_one_list(count: int) -> None:
    readings = [reading(f"{number}.png") for number in range(count)]
    text = "".join(as_text(readings, "json"))
    assert json.loads(text) == [one.record() for one in readings]
    assert text.endswith("]\n")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_lines_are_one_record_a_line(count: int) -> None:
    readings = [reading(f"{number}.png") for number in range(count)]
    text = "".join(as_text(readings, "jsonl"))
    assert [json.loads(line) for line in text.splitlines()] == [one.record() for one in readings]
    assert text.count("\n") == count


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("name", STRANGE)
def test_json_is_ascii_whatever_a_file_is_called(form: str, name: str) -> None:
    text = "".join(as_text([reading(name)], form))
    assert text.isascii()
    parsed = json.loads(text)
    assert (parsed if form == "jsonl" else parsed[0])["file"] == name


@pytest.mark.parametrize("name", STRANGE)
def test_csv_comes_back_as_it_was(name: str) -> None:
    text = "".join(as_text([reading(name, page=2)], "csv"))
    assert rows_of(text) == [
        list(FIELDS),
        [name, "2", "read", "", "4", "4", "0.5", "cnn@1a2b3c4d"],
    ]


def test_csv_of_nothing_is_its_header() -> None:
    assert "".join(as_text([], "csv")) == ",".join(FIELDS) + "\n"


def test_csv_leaves_empty_what_there_is_not() -> None:
    fault = Reading("a.png", None, "error", "corrupt", None, None, (), "cnn@1a2b3c4d")
    assert rows_of("".join(as_text([fault], "csv")))[1] == [
        *("a.png", "", "error", "corrupt", "", "", "", "cnn@1a2b3c4d")
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_what_a_spreadsheet_takes_for_a_formula_gets_a_quote(start: str) -> None:
    name = f"{start}cmd|' /C calc'!A0"
    assert rows_of("".join(as_text([reading(name)], "csv")))[1][0] == f"'{name}"


def test_digits_numbers_and_standard_input_get_no_quote() -> None:
    assert rows_of("".join(as_text([reading("-")], "csv")))[1][0] == "-"
    number = Number((Digit("4", 0.5, (1, 2, 3, 4)),), 0.5, "0042")
    two = dataclasses.replace(
        reading("a.png", "0042 7"), numbers=(number, dataclasses.replace(number, raw="7"))
    )
    row = rows_of("".join(as_text([two], "csv")))[1]
    assert row[4:7] == ["0042 7", "0042 7", "0.5"]


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_each_reading_is_written_before_the_next_is_asked_for(form: str) -> None:
    asked = 0

    def readings() -> Iterator[Reading]:
        nonlocal asked
        for _ in range(3):
            asked += 1
            yield reading()

    pieces = as_text(readings(), form)
    seen = ""
    while "a.png" not in seen:
        seen += next(pieces)
    assert asked == 1


@pytest.mark.parametrize(
    ("name", "form"), [("a.json", "json"), ("b.JSONL", "jsonl"), ("x/c.csv", "csv"), ("d.csv.json", "json")]
)
def test_a_suffix_names_a_format(name: str, form: str) -> None:
    assert format_of(Path(name)) == form


@pytest.mark.parametrize("name", ["a", "a.txt", "json", ".csv", "a.table"])
def test_another_suffix_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="does not say a format"):
        format_of(Path(name))


@pytest.mark.parametrize("before", [1, 2])
def test_json_whose_writing_is_interrupted_is_json(before: int) -> None:
    pieces = as_text([reading()] * 5, "json")
    written = "".join(itertools.islice(pieces, before)) + pieces.throw(Interrupted(2, "Stopped."))
    assert len(json.loads(written)) == before
    with pytest.raises(Interrupted):
        next(pieces)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_json_that_is_interrupted_is_json(before: int) -> None:
    def readings() -> Iterator[Reading]:
        yield from [reading()] * before
        raise Interrupted(2, "Stopped.")

    written = ""
    with pytest.raises(Interrupted):
        for piece in as_text(readings(), "json"):
            written += piece
    assert len(json.loads(written)) == before
