"""Readings as text for other programs, JSON lines, JSON and CSV, and what such text says. Loads no NumPy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from digitcli.errors import Interrupted, UsageError
from digitcli.json_records import parse_record
from digitcli.recognition.readings import Reading, Status

# Columns of CSV with one row per page.
FIELDS = ("file", "page", "status", "reason", "text", "raw", "confidence", "model")
# Columns of CSV with one row per number; a page without numbers has one row.
NUMBER_FIELDS = (
    "file", "page", "row", "column", "status", "reason", "text", "raw", "confidence", "alternative", "x", "y",
    "width", "height", "rotation", "model",
)  # fmt: skip
# First characters of a cell that a spreadsheet takes for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
BOX_SIDES = 4

TextFormat = Literal["json", "jsonl", "csv"]
# What a row of CSV stands for.
Per = Literal["page", "number"]


def format_readings(
    readings: Iterable[Reading], form: TextFormat, per: Per = "page", *, has_heading: bool = True
) -> Generator[str]:
    """Yield the text of readings in a format, piece by piece; CSV has a row per page or per number."""
    if form == "csv":
        return _csv(readings, per, has_heading)
    return {"json": _json, "jsonl": _json_lines}[form](readings)


def format_of(path: Path) -> TextFormat:
    """Return the format that the suffix of a file names.

    Raises:
        UsageError: the suffix names none of the formats.
    """
    for form in get_args(TextFormat):
        if path.suffix.lower() == f".{form}":
            return form  # type: ignore[no-any-return]
    cause = f"The name {path} does not say which format to write."
    raise UsageError(cause, "Name a .jsonl, .json or .csv file, or give --format.")


def _json_lines(readings: Iterable[Reading]) -> Generator[str]:
    for reading in readings:
        yield json.dumps(reading.record()) + "\n"


def _json(readings: Iterable[Reading]) -> Generator[str]:
    before, after = "[\n", "[]\n"
    try:
        for reading in readings:
            piece = before + json.dumps(reading.record())
            before, after = ",\n", "\n]\n"
            yield piece
    except (Exception, Interrupted):  # the list is closed, so that it stays valid JSON
        yield after
        raise
    yield after


def _csv(readings: Iterable[Reading], per: Per, has_heading: bool) -> Generator[str]:
    fields = csv_fields(per)
    if has_heading:
        yield csv_line(fields)
    for reading in readings:
        page = reading.record()
        records = [page] if per == "page" else _numbers_of(page)
        yield "".join(csv_line(record[name] for name in fields) for record in records)


def csv_fields(per: Per) -> tuple[str, ...]:
    """Return the columns of CSV with a row per page or per number."""
    return FIELDS if per == "page" else NUMBER_FIELDS


def _numbers_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of a page as flat records, or the page itself with no place if there are none."""
    if not page["numbers"]:
        return [dict.fromkeys(NUMBER_FIELDS) | page]
    return [
        page
        | number
        | dict(zip(("x", "y", "width", "height"), number["box"], strict=True))
        | {"alternative": next((text for text, _ in number["alternatives"]), None)}
        for number in page["numbers"]
    ]


def csv_line(cells: Iterable[Any]) -> str:
    """Return a row of CSV with the end of its line."""
    line = io.StringIO()
    # the writer ends lines with \r\n: if it used \n alone, it would not quote \r
    csv.writer(line).writerow(map(_without_formula, cells))
    return line.getvalue().removesuffix("\r\n") + "\n"


def as_cell(name: str) -> str:
    """Return the name of a file as it is read from a cell of CSV."""
    return str(_without_formula(name)).encode(errors="backslashreplace").decode()


def _without_formula(value: Any) -> Any:
    """Put a quote before a text that a spreadsheet would take for a formula; `-` alone is none."""
    is_formula = isinstance(value, str) and value != "-" and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


@dataclass(frozen=True)
class SavedNumber:
    """A number of a record, see `results.Number`; its box is in pixels of the turned page.

    row, column: its place on the page; None in records of earlier versions.
    """

    text: str
    raw: str
    status: Literal["read", "refused"]
    confidence: float
    box: tuple[int, ...]
    reason: str | None = None
    alternatives: tuple[tuple[Any, ...], ...] = ()
    row: int | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        _check_probability(self.confidence)
        if len(self.box) != BOX_SIDES or min(self.box) < 0:
            raise ValueError(f"the box {list(self.box)} is not x, y, width and height")
        for text, probability in self.alternatives:
            parse_record(text, str, "an alternative")
            _check_probability(parse_record(probability, float, "the probability of an alternative"))


@dataclass(frozen=True)
class SavedReading:
    """A record of a picture or of a page, see `results.Reading`; CSV has no numbers and no rotation."""

    file: str
    status: Status
    page: int | None = None
    reason: str | None = None
    text: str | None = None
    raw: str | None = None
    confidence: float | None = None
    numbers: tuple[SavedNumber, ...] = ()
    model: str = ""
    changed: bool = False
    rotation: Literal[0, 90, 180, 270] = 0

    def __post_init__(self) -> None:
        if self.confidence is not None:
            _check_probability(self.confidence)


def parse_readings(records: Sequence[Any]) -> tuple[SavedReading, ...]:
    """Return the readings in records of JSON.

    Raises:
        ValueError: a record is not a reading; the message tells its number, from 1.
    """
    return tuple(
        parse_record(record, SavedReading, f"record {number}")
        for number, record in enumerate(records, start=1)
    )


def record_of_row(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of CSV, with the columns `results.FIELDS`, as a record of JSON.

    Raises:
        ValueError: a column is missing, or a number is none.
    """
    if any(row.get(name) is None for name in FIELDS):
        raise ValueError(f"a row has not the columns {', '.join(FIELDS)}")
    record: dict[str, Any] = {name: _without_quote(row[name]) or None for name in FIELDS}
    for name, kind in (("page", int), ("confidence", float)):
        if record[name] is not None:
            record[name] = kind(record[name])
    return record | {"file": record["file"] or "", "model": record["model"] or ""}


def _without_quote(cell: str) -> str:
    """Remove the quote that keeps a spreadsheet from taking a text for a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def _check_probability(value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"a confidence is {value}")
