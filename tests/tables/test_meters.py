"""Readings of meters are compared with earlier ones: the likeliest plausible one wins, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.errors import InputError, UsageError
from digitcli.recognition.readings import Digit, Number
from digitcli.tables.meters import PreviousReadings, check_readings, read_previous
from digitcli.tables.reading import parse_table_options
from digitcli.tables.table import Cell, Table

THRESHOLD = 0.62


def number(text: str, confidence: float, **rivals: float) -> Number:
    """Return a number with alternatives; `n13=0.2` is the text 13."""
    digits = tuple(Digit(each, confidence, (9 * place, 0, 9, 9)) for place, each in enumerate(text))
    read = Number(digits, confidence, text, tuple((name[1:], share) for name, share in rivals.items()))
    return read if confidence >= THRESHOLD else read.refused_for("low_confidence")


def compared(reading: Number, old: str = "10230", most: int = 50, key: Number | None = None) -> Cell:
    """Return the cell of a reading of the meter 417."""
    cells = Cell(0, 0, key or number("417", 0.99)), Cell(0, 1, reading), Cell(1, 0, number("417", 0.99))
    table = Table(cells, 2, 2, ("meter", "now"))
    previous = PreviousReadings("meter", "now", {"417": old}, most)
    return check_readings(table, previous, THRESHOLD).cells[1]


def answer(cell: Cell) -> tuple[str, str, str | None]:
    assert cell.number is not None
    return cell.number.text, cell.number.status, cell.number.reason


def test_the_likeliest_plausible_reading_wins_with_its_odds() -> None:
    cell = compared(number("70241", 0.6, n10241=0.3, n10247=0.05))

    assert answer(cell) == ("10241", "read", None)
    assert cell.change == f"was 70241, odds {0.3 / (0.02 * 0.6):.0f} : 1"
    assert cell.number is not None and cell.number.is_changed and cell.number.confidence < 0.9


def test_a_doubtful_reading_that_is_plausible_is_confirmed() -> None:
    cell = compared(number("10241", 0.6, n70241=0.3))

    assert answer(cell) == ("10241", "read", None)
    assert (cell.change or "").startswith("confirmed, odds")
    # the last digit may be either one, and the earlier reading does not tell which
    assert answer(compared(number("10241", 0.5, n10247=0.45))) == ("10241", "refused", "low_confidence")


@pytest.mark.parametrize(
    "reading",
    [
        number("70241", 0.9, n70247=0.05),  # no plausible alternative
        number("70241", 0.995, n10241=0.004),  # certain by itself: the earlier reading may be wrong
        number("10229", 0.995),  # the meter went back
    ],
)
def test_what_contradicts_the_earlier_reading_is_refused_with_its_guess(reading: Number) -> None:
    cell = compared(reading)

    assert answer(cell) == (reading.text, "refused", "implausible_change")
    assert cell.change == "last reading 10230"


def test_a_meter_passes_its_last_number() -> None:
    assert answer(compared(number("00012", 0.9), "99990"))[1] == "read"
    assert answer(compared(number("12", 0.9), "99990"))[1] == "read"
    assert answer(compared(number("100012", 0.9), "99990"))[1] == "read"
    # half of all numbers would be plausible
    assert answer(compared(number("12", 0.9), "97"))[2] == "implausible_change"


def test_rows_without_a_known_key_stay_as_they_are() -> None:
    reading = number("70241", 0.6, n10241=0.3)

    assert compared(reading, key=number("418", 0.99)).number == reading
    assert compared(reading, key=number("417", 0.5)).number == reading
    assert answer(compared(reading, key=number("0417", 0.9)))[0] == "10241"


def test_a_table_without_a_known_key_is_an_error() -> None:
    table = Table((Cell(0, 0, number("418", 0.99)), Cell(0, 1, number("17", 0.9))), 1, 2, ("meter", "now"))
    with pytest.raises(UsageError, match="No number in the column meter is a key"):
        check_readings(table, PreviousReadings("meter", "now", {"417": "1"}, 50), THRESHOLD)


def test_a_number_that_was_refused_for_a_fault_keeps_its_reason() -> None:
    assert answer(compared(number("70241", 0.9).refused_for("cut_off")))[2] == "cut_off"


def test_earlier_readings_come_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    path.write_text("meter;now\nA-0417;00990\n\n418;7\n419;\n")

    found = read_previous(path, 50)

    assert (found.key, found.value, found.max_change) == ("meter", "now", 50)
    assert found.readings == {"417": "00990", "418": "7"}


@pytest.mark.parametrize(
    "content, cause",
    [
        ("meter\n417\n", "does not have two columns"),
        ("", "does not have two columns"),
        ("meter,now\n417,abc\n", "line 2: the reading 'abc' is no whole number"),
        ("meter,now\n417,-5\n", "the reading '-5' is no whole number"),
        ("meter,now\nabc,5\n", "the key 'abc' has no digit"),
        ("meter,now\n417,5\nA417,6\n", "line 3: the key 'A417' has the digits of another one"),
    ],
)
def test_a_bad_table_of_readings_is_an_error(tmp_path: Path, content: str, cause: str) -> None:
    path = tmp_path / "readings.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=cause):
        read_previous(path, 50)


def test_a_missing_file_or_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read: No such file"):
        parse_table_options(previous=tmp_path / "none.csv", max_change=50)
    path = tmp_path / "readings.csv"
    path.write_text("meter,now\n417,5\n")
    with pytest.raises(UsageError, match="no column 'now'") as error:
        parse_table_options(columns="meter,new", previous=path, max_change=50)
    assert "Did you mean new" in error.value.remedy
