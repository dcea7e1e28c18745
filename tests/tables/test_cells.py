"""The number of a cell is made from digits of several numbers, or from a part of one."""

from __future__ import annotations

import pytest

from digitcli.recognition.readings import Digit, Number
from digitcli.tables.cells import number_of


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
