"""Compare the readings of meters with earlier ones, which a meter exceeds by little."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from digitcli.data.label_tables import read_table
from digitcli.errors import InputError, UsageError
from digitcli.recognition.readings import LIKELY, Number
from digitcli.tables.arithmetic import DOUBTS, Verdict, candidates_of, column_in, judged
from digitcli.tables.table import Cell, Table

IMPLAUSIBLE = "implausible_change"
# Probability that an earlier reading is wrong (by hand): what is 50 times as likely as all else stays.
OLD_DOUBT = 0.02
ROLLOVER = 10  # a meter may pass its last number if that is so many times the greatest change, by hand
REMEDY = (
    "Name a CSV file: the first column is the key of a row, e.g. the number of its meter, and the second its "
    "last reading, a whole number. Head both like columns of the table, by a name of --columns or a number."
)


@dataclass(frozen=True)
class PreviousReadings:
    """The earlier readings of meters.

    key, value: the columns of tables in which the key of each row, and its reading, stand.
    readings: the earlier reading of each key, with its zeros.
    max_change: by which a reading exceeds the earlier one at most.
    """

    key: str
    value: str
    readings: dict[str, str]
    max_change: int

    def allows(self, text: str, old: str) -> bool:
        """Tell whether a reading follows an earlier one; a meter may have passed its last number."""
        change, last = int(text) - int(old), 10 ** max(len(text), len(old))
        change = change % last if last > ROLLOVER * self.max_change else change
        return 0 <= change <= self.max_change


def read_previous(path: Path, max_change: int) -> PreviousReadings:
    """Read earlier readings from a CSV table whose first two columns are the keys and the readings.

    Keys count by their digits alone, without zeros in front: letters are not read from pictures.

    Raises:
        InputError: the table cannot be read, or a row has no key, the key of another one, or no whole number.
    """
    columns, rows = read_table(path, REMEDY)
    if len({*columns[:2]}) < 2:
        raise InputError(f"{path} does not have two columns.", REMEDY)
    readings = dict[str, str]()
    for line, row in rows:
        name, value = ((row[column] or "").strip() for column in columns[:2])
        key = _key(name)
        if not key or key in readings:
            fault = "the digits of another one" if key else "no digit"
            raise InputError(f"{path}, line {line}: the key '{name}' has {fault}.", REMEDY)
        if not value:  # a new meter
            continue
        if not (value.isascii() and value.isdecimal()):
            raise InputError(f"{path}, line {line}: the reading '{value}' is no whole number.", REMEDY)
        readings[key] = value
    return PreviousReadings(columns[0].strip(), columns[1].strip(), readings, max_change)


def check_readings(table: Table, previous: PreviousReadings, threshold: float) -> Table:
    """Return a table in which the likeliest plausible reading of each row with a known key wins.

    A reading is refused as `implausible_change` if it contradicts the earlier one and is certain or has no
    plausible alternative, or if the one that wins is less sure than the threshold.

    Raises:
        UsageError: the table does not have one of the columns, or no row with a key of the earlier readings.
    """
    key, value = (column_in(name, table, "--previous") for name in (previous.key, previous.value))
    named = [(cell.row, cell.number) for cell in table.cells if cell.column == key and cell.number]
    keys = {row: _key(number.text) for row, number in named if number.status == "read"}
    if not previous.readings.keys() & set(keys.values()):
        cause = f"No number in the column {previous.key} is a key of --previous."
        raise UsageError(cause, "Compare the result with the page: --columns may name other columns.")
    cells = list(table.cells)
    for index, cell in enumerate(cells):
        old, number = previous.readings.get(keys.get(cell.row, "")), cell.number
        if cell.column == value and old and number and number.digits and number.reason in (None, *DOUBTS):
            cells[index] = _compared(cell, number, old, previous, threshold)
    return replace(table, cells=tuple(cells))


def _key(text: str) -> str:
    digits = "".join(filter(str.isdecimal, text))
    return digits.lstrip("0") or digits[-1:]


def _compared(cell: Cell, number: Number, old: str, previous: PreviousReadings, threshold: float) -> Cell:
    """Return a cell with the likeliest plausible reading of its number, or with the number refused."""
    candidates = candidates_of(number)
    is_plausible = [previous.allows(text, old) for text in candidates.texts]
    # A misread digit is not noticed where it is one of those that may have changed.
    unseen = min(1.0, np.log10(previous.max_change + 1) / len(number.text))
    shares = candidates.shares * np.maximum(OLD_DOUBT, [*is_plausible, unseen])
    shares /= shares.sum()
    best = int(np.where(is_plausible, shares[:-1], 0).argmax())
    if not is_plausible[best] or (best and shares[best] <= LIKELY):
        refused = replace(number, status="refused", reason=IMPLAUSIBLE)
        return replace(cell, number=refused, change=f"last reading {old}")
    odds = float(shares[best] / (shares[0] if best else shares[1:].max()))
    known = dict(zip(candidates.texts, shares.tolist(), strict=False))
    verdict = Verdict(candidates.texts[best], known, odds)
    return judged(cell, verdict, threshold, IMPLAUSIBLE if best else number.doubt)
