"""Read the readings that `digitcli predict` wrote as JSON lines, JSON or CSV. Loads no NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from digitcli.json_records import parse_record
from digitcli.recognition.results import FIELDS, FORMULA_STARTS, Status

BOX_SIDES = 4


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
