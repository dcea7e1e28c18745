"""Readings as text for other programs: JSON lines, JSON and CSV. Loads no NumPy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from digitcli.errors import Interrupted, UsageError
from digitcli.recognition.readings import Reading

# Columns of CSV with one row per page.
FIELDS = ("file", "page", "status", "reason", "text", "raw", "confidence", "model")
# Columns of CSV with one row per number; a page without numbers has one row.
NUMBER_FIELDS = (
    "file", "page", "row", "column", "status", "reason", "text", "raw", "confidence", "alternative", "x", "y",
    "width", "height", "rotation", "model",
)  # fmt: skip
# First characters of a cell that a spreadsheet takes for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

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
