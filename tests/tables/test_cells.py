"""The number of a cell is made from digits of several numbers, or from a part of one."""

from __future__ import annotations

import pytest

from digitcli.errors import UsageError
from digitcli.recognition.readings import Digit, Number
from digitcli.tables.cells import number_of
from digitcli.tables.reading import completed, parse_table_options
from digitcli.tables.table import Cell, Table


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
