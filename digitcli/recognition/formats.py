"""Readings as text for programs: JSON lines, JSON, CSV; piece by piece, so that any number can be written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from digitcli.errors import Interrupted, UsageError
from digitcli.recognition.results import FIELDS, Reading

TextFormat = Literal["json", "jsonl", "csv"]
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_text(readings: Iterable[Reading], form: TextFormat) -> Generator[str]:
    """The readings in a format: a piece of text for each, and what goes before and after."""
    return {"json": _json, "jsonl": _json_lines, "csv": _csv}[form](readings)


def format_of(path: Path) -> TextFormat:
    """The format that the suffix of a file names.

    Raises:
        UsageError: none of ours.
    """
    for form in get_args(TextFormat):
        if path.suffix.lower() == f".{form}":
            return form  # type: ignore[no-any-return]
    raise UsageError(f"{path} does not say a format.", "Name a .jsonl, .json or .csv file, or give --format.")


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
    except (Exception, Interrupted):  # what is there stays JSON
        yield after
        raise
    yield after


def _csv(readings: Iterable[Reading]) -> Generator[str]:
    yield ",".join(FIELDS) + "\n"
    for reading in readings:
        record = reading.record()
        line = io.StringIO()
        # its own line ends, since with \n alone \r gets no quotes
        csv.writer(line).writerow([harmless(record[name]) for name in FIELDS])
        yield line.getvalue().removesuffix("\r\n") + "\n"


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets a quote before it; `-` alone is none."""
    formula = isinstance(value, str) and value != "-" and value.startswith(_FORMULA_STARTS)
    return f"'{value}" if formula else value
