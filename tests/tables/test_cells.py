"""The number of a cell is made from digits of several numbers, or from a part of one."""

from __future__ import annotations

import pytest

from digitcli.errors import UsageError
from digitcli.recognition.readings import Digit, Number
from digitcli.tables.cells import number_of
from digitcli.tables.reading import Printed, TableOptions, completed, parse_table_options
from digitcli.tables.table import Cell, Table
from digitcli.tables.values import ValueType


def number(text: str, raw: str) -> Number:
    return Number(tuple(Digit(each, 0.9, (9 * k, 0, 9, 9)) for k, each in enumerate(text)), 0.8, raw)


@pytest.mark.parametrize(
    "raw, own, expected",
    [("1.234.-", (0,), "1"), ("1.234.-", (1, 2, 3), "234.-"), ("12", (3,), "4")],
)
def test_a_part_of_a_number_keeps_the_marks_beside_it(raw: str, own: tuple[int, ...], expected: str) -> None:
    """Without as many digits as were found, the marks have no place."""
    part = number_of([number("1234", raw)], [(0, each) for each in own], None, 0.5)

    assert part.raw == expected
    assert part.text == "".join("1234"[each] for each in own)


def printed(text: str, share: float | None) -> Number:
    return Number(tuple(Digit(each, 0.99, (0, 0, 9, 9), printed=share) for each in text), 0.99, text)


def test_a_number_is_printed_if_its_digits_likelier_are() -> None:
    shares = {0.9: True, 0.2: False, None: False}
    assert {share: printed("12", share).is_printed for share in shares} == shares


@pytest.mark.parametrize(("kept", "texts"), [("keep", ["1", "34"]), ("skip", ["34"]), ("only", ["1"])])
def test_printed_numbers_are_kept_or_skipped_and_all_columns_stay(kept: Printed, texts: list[str]) -> None:
    """Print that does not fit the type of its column, as a heading, is not refused."""
    numbers = printed("1", 0.99), printed("34", 0.01)
    cells = tuple(Cell(0, k, each, is_printed=each.is_printed) for k, each in enumerate(numbers))
    options = TableOptions(types={None: ValueType("date")}, printed=kept)

    table = completed(Table(cells, 1, 2), 0.5, options)

    left = [cell.number for cell in table.cells if cell.number]
    assert table.columns == 2 and [number.text for number in left] == texts
    assert [number.status == "refused" for number in left] == [number.text == "34" for number in left]


def test_types_name_columns_by_name_or_number() -> None:
    table = Table(tuple(Cell(0, k, number("2", "2")) for k in range(2)), 1, 2)
    for name in ("02", "b"):
        options = parse_table_options(columns="a,b", types=[f"{name}=integer"])
        assert [cell.value for cell in completed(table, 0.5, options).cells] == [None, "2"]
    with pytest.raises(UsageError, match="There is no column 'last'"):
        parse_table_options(types=["last=integer"])


def test_a_check_adds_no_times() -> None:
    table = Table(tuple(Cell(0, k, number("830", "8:30")) for k in range(2)), 1, 2)
    with pytest.raises(UsageError, match="adds a column whose type is time"):
        completed(table, 0.5, parse_table_options(types=["2=time"], checks=["2 = sum(1..1)"]))
