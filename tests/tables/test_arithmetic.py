"""Checks: what may be written, which equations follow, and what these make of the numbers of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from digitcli.errors import UsageError
from digitcli.recognition.readings import Digit, Number
from digitcli.tables import arithmetic
from digitcli.tables.arithmetic import Candidates, Equation, apply_checks, parse_check
from digitcli.tables.table import Cell, Table

SURE, THRESHOLD = 0.99, 0.9


def number(text: str, confidence: float = SURE, raw: str | None = None, **rivals: float) -> Number:
    """Return a number with alternatives; `n13=0.2` is the text 13. It is refused below the threshold."""
    others = tuple((text[1:], share) for text, share in rivals.items())
    digits = tuple(Digit(each, confidence, (9 * place, 0, 9, 9)) for place, each in enumerate(text))
    read = Number(digits, confidence, raw or text, others)
    return read if confidence >= THRESHOLD else read.refused_for("low_confidence")


def table_of(*rows: Sequence[str | Number | None], names: tuple[str, ...] = ()) -> Table:
    """Return a table of numbers; those given as text are sure."""
    cells = tuple(
        Cell(row, column, number(each) if isinstance(each, str) else each)
        for row, line in enumerate(rows)
        for column, each in enumerate(line)
        if each is not None
    )
    return Table(cells, len(rows), len(rows[0]), names)


def checked(table: Table, *texts: str) -> dict[tuple[int, int], Cell]:
    cells = apply_checks(table, [parse_check(text) for text in texts], THRESHOLD).cells
    return {(cell.row, cell.column): cell for cell in cells}


def number_in(cell: Cell) -> Number:
    assert cell.number is not None
    return cell.number


@pytest.mark.parametrize(
    "text, cells, weights",
    [
        ("3 = sum(1..2)", ((0, 2), (0, 0), (0, 1)), (-1, 1, 1)),
        ("last = a - b", ((0, 2), (0, 0), (0, 1)), (-1, 1, -1)),
        ("sub-total = sum(a .. last-1)", ((0, 2), (0, 0), (0, 1)), (-1, 1, 1)),
        ("sub-total = running(b)", ((1, 2), (1, 1), (0, 2)), (-1, 1, 1)),
        ("a = count", ((1, 0), (0, 0)), (-1, 1)),
        ("row last = sum(rows 1..last-1)", ((1, 0), (0, 0)), (-1, 1)),
    ],
)
def test_a_check_makes_equations(text: str, cells: object, weights: object) -> None:
    table = table_of(("1", "2", "3"), ("2", "2", "5"), names=("a", "b", "sub-total"))
    first = arithmetic.equations(parse_check(text), table)[0]
    assert (first.cells, first.weights) == (cells, weights)
    assert first.constant == (-1 if "count" in text else 0)


@pytest.mark.parametrize(
    "text", ["", "total", "= 1 + 2", "3 =", "3 = sum(1)", "3 = sum(1..2", "1 = 2 = 3", "3 = max(1)"]
)
def test_nonsense_is_refused_with_the_forms_that_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be parsed") as error:
        parse_check(text)
    assert "total = sum(1..8)" in error.value.remedy
    with pytest.raises(UsageError, match="mixes columns and rows"):
        parse_check("3 = sum(rows 1..2)")


@pytest.mark.parametrize(
    "text, cause, remedy",
    [
        ("9 = sum(1..2)", "no column '9'", "3 columns"),
        ("0 = sum(1..2)", "no column '0'", "3 columns"),
        ("totl = sum(1..2)", "no column 'totl'", "Did you mean total"),
        ("row total = sum(1..2)", "no column 'row total'", "total"),
        ("row 7 = sum(rows 1..2)", "no row '7'", "1 row,"),
        ("3 = sum(2..1)", "adds no places", "first one first"),
        ("3 = sum(1..3)", "adds the result to itself", "add up"),
    ],
)
def test_a_place_that_the_table_does_not_have_is_named(text: str, cause: str, remedy: str) -> None:
    table = table_of(("1", "2", "3"), names=("a", "b", "total"))
    with pytest.raises(UsageError, match=cause) as error:
        apply_checks(table, [parse_check(text)], THRESHOLD)
    assert remedy in error.value.remedy


def test_rows_without_a_result_and_printed_rows_have_no_equation() -> None:
    printed = tuple(Cell(0, column, number("2024"), is_printed=True) for column in range(3))
    table = Table((*printed, *table_of((None,) * 3, ("1", None, "1"), ("1", "2", None)).cells), 3, 3)
    assert [each.cells[0] for each in arithmetic.equations(parse_check("3 = sum(1..2)"), table)] == [(1, 2)]


def test_the_candidates_of_a_cell_are_its_texts_and_those_of_its_digits() -> None:
    digits = (Digit("1", 0.9, (0, 0, 9, 9), (("7", 0.1),)), Digit("2", 0.95, (9, 0, 9, 9), (("3", 0.05),)))
    found = arithmetic.candidates_of(Number(digits, 0.8, "12", (("72", 0.09),)))
    assert found.texts == ("12", "72", "13", "73")
    assert found.shares == pytest.approx([0.8, 0.09, 0.045, 0.005, 0.06])
    assert arithmetic.candidates_of(None).values == (0,)
    assert (
        arithmetic.candidates_of(Number((), 0.0, "")).shares[-1] > SURE
    )  # nobody knows what is written there
    assert arithmetic.candidates_of(number("5", 0.9, n6=0.4)).shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("join", [np.add, np.maximum])
@pytest.mark.parametrize(
    "system",
    [
        [Equation(((0, 0), (0, 1), (0, 2), (0, 3)), (1, 2, -1, -1), 3)],
        [Equation(((0, place + 1), (0, place)), (1, -1), 1) for place in range(3)],
    ],
)
def test_beliefs_are_those_of_all_assignments(system: list[Equation], join: np.ufunc) -> None:
    """They are compared with a sum over all assignments of an equation or a chain, or the likeliest one."""
    random = np.random.default_rng(1)
    cells = {(0, place): Candidates(("1", "2", "3", "5"), random.dirichlet(np.ones(5))) for place in range(4)}
    weights = np.zeros((5,) * 4)
    for picks in np.ndindex(weights.shape):
        values = {(0, place): (1, 2, 3, 5, 0)[pick] for place, pick in enumerate(picks)}
        weights[picks] = math.prod(cells[0, place].shares[pick] for place, pick in enumerate(picks))
        for equation in system:
            is_unknown = any(picks[column] == 4 for _, column in equation.cells)
            holds = arithmetic.UNKNOWN_FITS if is_unknown else float(equation.holds(values))
            weights[picks] *= join(
                (1 - arithmetic.WRITER_DOUBT) * holds, arithmetic.WRITER_DOUBT * arithmetic.CHANCE
            )
    found = arithmetic.beliefs(system, cells, join)
    for place in range(4):
        exact = join.reduce(np.moveaxis(weights, place, 0).reshape(5, -1), axis=1)
        assert found[0, place] == pytest.approx(exact / join.reduce(exact), abs=1e-6)


def test_a_misread_number_is_mended_with_the_odds() -> None:
    doubtful = number("17", 0.6, raw="1.7", n11=0.3, n47=0.05)
    cell = checked(table_of((number("5", raw=".5"), doubtful, number("16", raw="1.6"))), "3 = sum(1..2)")[
        0, 1
    ]
    found = number_in(cell)
    assert (found.text, found.raw, found.status, found.reason) == ("11", "1.1", "read", None)
    assert found.is_changed and found.confidence > THRESHOLD
    odds = 0.3 * (1 - arithmetic.WRITER_DOUBT) / (0.6 * arithmetic.WRITER_DOUBT * arithmetic.CHANCE)
    assert cell.change == f"was 17, odds {odds:.0f} : 1"
    longer = number_in(checked(table_of(("5", number("17", 0.6, n117=0.3), "122")), "3 = sum(1..2)")[0, 1])
    assert longer.text == longer.raw == "117" and longer.box == (0, 0, 18, 9)


def test_a_doubtful_number_that_fits_is_read() -> None:
    cells = checked(table_of(("5", number("17", 0.6, n11=0.3), "22")), "3 = sum(1..2)")
    assert number_in(cells[0, 1]).status == "read"
    assert (cells[0, 1].change or "").startswith("confirmed, odds")
    assert cells[0, 0].change is None and number_in(cells[0, 0]).confidence > SURE


def test_an_empty_cell_counts_as_0_and_an_unread_one_as_anything() -> None:
    doubtful = number("17", 0.6, n11=0.3)
    assert number_in(checked(table_of((None, doubtful, "11")), "3 = sum(1..2)")[0, 1]).text == "11"
    unread = checked(table_of((number("5", 0.0), doubtful, "11")), "3 = sum(1..2)")[0, 1]
    assert number_in(unread).confidence == pytest.approx(0.6, abs=0.05)


def test_numbers_that_fit_nothing_are_refused_only_if_they_were_not_sure() -> None:
    cells = checked(table_of(("5", number("17", 0.91, n11=0.08), "29")), "3 = sum(1..2)")
    assert [number_in(cell).text for cell in cells.values()] == ["5", "17", "29"]
    assert (number_in(cells[0, 0]).status, number_in(cells[0, 2]).status) == ("read", "read")
    cells = checked(table_of(("5", number("17", 0.91, n11=0.005), "16")), "3 = sum(1..2)")
    assert (number_in(cells[0, 1]).status, number_in(cells[0, 1]).reason) == ("refused", "check")


def test_a_number_of_two_checks_satisfies_both_or_stays() -> None:
    doubtful = number("17", 0.6, n11=0.3)
    both = ("3 = sum(1..2)", "row 3 = sum(rows 1..2)")
    cells = checked(table_of(("5", doubtful, "16"), ("1", "2", "3"), ("6", "13", "19")), *both)
    assert number_in(cells[0, 1]).text == "11"
    cells = checked(table_of(("5", doubtful, "16"), ("1", "2", "3"), ("6", "30", "36")), *both)
    assert number_in(cells[0, 1]).text == "17" and number_in(cells[0, 1]).status == "refused"


def test_running_totals_and_row_numbers_mend_each_other() -> None:
    rows = [
        ("1", "5", "105"),
        (number("7", 0.5, n2=0.4), "10", number("175", 0.5, n115=0.3)),
        ("3", "1", "116"),
    ]
    table = table_of(*rows, names=("no", "amount", "balance"))
    cells = checked(table, "balance = running(amount)", "no = count")
    assert [number_in(cells[1, column]).text for column in range(3)] == ["2", "10", "115"]


def test_long_numbers_are_compared_exactly() -> None:
    """They are larger than what 64 bits hold."""
    cells = checked(table_of(("5", "1" * 20, "1" * 19 + "6")), "3 = sum(1..2)")
    assert number_in(cells[0, 2]).status == "read" and number_in(cells[0, 2]).confidence > SURE


def test_decimals_and_signs_count() -> None:
    """12.5 and 3 are 15.5, though 125 and 3 are not 155; and -5 and 8 are 3."""
    for row in (
        (number("125", raw="12.5"), number("3", 0.8, n8=0.1), number("1550", raw="15,50")),
        (number("5", raw="-5"), number("8", 0.8, n3=0.15), "3"),
        (number("1234", raw="1,234"), number("6", 0.8, n5=0.1), "1240"),
        (
            number("1000", raw="10.00"),
            number("1250", 0.8, n1260=0.1, raw="12.50 €"),
            number("2250", raw="$22.50"),
        ),
        (number("1000", raw="10.00"), number("250", 0.8, n260=0.1, raw="(2.50)"), number("750", raw="7.50")),
    ):
        assert (checked(table_of(row), "3 = sum(1..2)")[0, 1].change or "").startswith("confirmed")


def test_a_number_with_more_digits_keeps_its_sign_and_decimals() -> None:
    for row, raw in (
        ((number("1000", raw="10.00"), number("1250", 0.55, "12.50", n11250=0.4), "122.50"), "112.50"),
        ((number("1000"), number("25", 0.55, "-25", n250=0.4), "750"), "-250"),
    ):
        last = number("".join(filter(str.isdecimal, str(row[2]))), raw=str(row[2]))
        changed = checked(table_of((*row[:2], last)), "3 = sum(1..2)")[0, 1].number
        assert changed and (changed.raw, changed.status) == (raw, "read")


def test_an_equation_with_too_many_sums_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "MOST_SUMS", 5)
    table = table_of(("5", number("17", 0.6, n11=0.3), "16"))
    checked = apply_checks(table, [parse_check("3 = sum(1..2)")], THRESHOLD)
    assert checked.cells == table.cells and checked.unmet == ("row 1",)


def test_unlikely_texts_of_long_numbers_do_not_keep_a_check_from_counting() -> None:
    row = (
        number("125000", raw="1,250.00", n925000=0.004), number("230000", raw="2,300.00", n930000=0.003),
        number("355000", 0.8, "3,550.00", n855000=0.1),
    )  # fmt: skip
    assert (checked(table_of(row), "3 = 1 + 2")[0, 2].change or "").startswith("confirmed")
