"""Tables are found from rules, or from the numbers where there are none; fields of boxes are one number."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from digitcli.recognition.readings import Number
from digitcli.tables.fields import evidence_of_filling
from digitcli.tables.plane import straighten
from digitcli.tables.rules import find_rules
from digitcli.tables.structure import find_tables
from digitcli.tables.table import Table
from tests.support.tables import detections_of, digits_at, drawn, filled, ruled_page, warped

XS, YS = [40, 160, 280, 400, 520], [40, 100, 160, 220, 280, 340]
TEXTS = [
    ["1", "17", "", "203"],
    ["2", "", "", "5"],
    ["", "", "", ""],
    ["4", "81", "", "12"],
    ["5", "9", "", "70"],
]
PERSPECTIVE = np.array([[1, 0.18, -20], [0.05, 1, -5], [1e-4, 3e-4, 1]])


def grid_of(table: Table) -> list[list[str]]:
    texts = [[""] * table.columns for _ in range(table.rows)]
    for cell in table.cells:
        texts[cell.row][cell.column] = cell.number.text if cell.number else ""
    return texts


def table_of(page: np.ndarray, numbers: list[Number]) -> Table:
    (table,) = find_tables(drawn(page, numbers), numbers, detections_of(numbers), 0.5)
    return table


def test_empty_rows_and_columns_of_a_ruled_table_keep_their_places() -> None:
    """The third row and the third column have no number."""
    table = table_of(ruled_page(XS, YS), filled(TEXTS, XS, YS))

    assert grid_of(table) == TEXTS
    assert table.is_ruled


def test_no_row_or_column_lies_between_the_lines_of_a_double_rule() -> None:
    numbers = filled(TEXTS, XS, YS)
    page = np.minimum(ruled_page(XS, YS), ruled_page([each - 16 for each in XS], [each - 13 for each in YS]))

    assert grid_of(table_of(page, numbers)) == TEXTS


def test_words_in_line_that_look_like_a_rule_make_no_rows() -> None:
    """A line through the third row, which is empty, leaves no room for a digit above or below it."""
    ys = [40, 100, 160, 200, 260, 320]
    page = ruled_page(XS, sorted([*ys, 180]))

    assert grid_of(table_of(page, filled(TEXTS, XS, ys))) == TEXTS


def test_a_photograph_in_perspective_has_the_same_cells() -> None:
    """Rows drift by more than their height from the left to the right."""
    page, numbers = ruled_page(XS, YS), filled(TEXTS, XS, YS)
    seen, moved = warped(drawn(page, numbers), numbers, PERSPECTIVE)

    (table,) = find_tables(seen, moved, detections_of(moved), 0.5)

    assert grid_of(table) == TEXTS


def test_a_number_that_was_read_across_a_rule_is_parted_there() -> None:
    """A reader joins the digits of two narrow cells; the confidence is that of the digits."""
    numbers = filled([["1", "2", "3", "4"]] * 3, XS, YS)
    joined = Number((*numbers[0].digits, *numbers[1].digits), 0.9, "12", row=0)

    table = table_of(ruled_page(XS, YS[:4]), [joined, *numbers[2:]])

    assert grid_of(table) == [["1", "2", "3", "4"]] * 3
    assert table.cells[0].number is not None and table.cells[0].number.confidence == pytest.approx(0.99)


def test_a_table_without_rules_has_the_rows_and_columns_of_its_numbers() -> None:
    """A column that is empty in some rows stays a column."""
    texts = [["12", "7", "30"], ["5", "", "41"], ["8", "22", ""]]
    numbers = [replace(each, row=k // 3) for k, each in enumerate(filled([["1"] * 3] * 3, XS[:4], YS[:4]))]
    numbers = [
        replace(digits_at(text, number.box[0], number.box[1], 16), row=number.row)
        for number, text in zip(numbers, sum(texts, []), strict=True)
        if text
    ]

    table = table_of(np.full((400, 600), 235, np.uint8), numbers)

    assert grid_of(table) == texts
    assert not table.is_ruled


def test_boxes_below_a_common_heading_hold_one_number_in_each_row() -> None:
    """The rules between the boxes begin below the heading, and numbers end at the right."""
    page = ruled_page([40, 200, 290], YS)
    for x in (230, 260):
        page[YS[1] : YS[-1], x - 1 : x + 1] = 60
    rows = {1: "413", 2: "86", 3: "7", 4: "29"}
    numbers = [
        digits_at(digit, 208 + 30 * (3 - len(text) + k), (YS[row] + YS[row + 1]) / 2 - 12, 16)
        for row, text in rows.items()
        for k, digit in enumerate(text)
    ]

    table = table_of(page, numbers)

    assert [cell.number.text for cell in table.cells if cell.number] == list(rows.values())
    assert table.columns == 2


def test_narrow_cells_with_a_heading_each_hold_numbers_of_their_own() -> None:
    """Marks for five questions: the cells are as narrow as boxes, and some are empty."""
    xs = [40, 80, 120, 160, 200, 240]
    texts = [
        ["5", "", "3", "4", "1"],
        ["2", "4", "", "4", "5"],
        ["", "1", "3", "", "2"],
        ["4", "4", "3", "5", ""],
    ]

    table = table_of(ruled_page(xs, YS), filled([[""] * 5, *texts], xs, YS))

    assert grid_of(table)[1:] == texts


def test_groups_of_a_number_in_one_ruled_cell_are_one_number() -> None:
    """`213 479` stands in a cell, and was read as two numbers."""
    parts = [
        digits_at(text, x, 60 + 60 * row, 16) for row in range(3) for text, x in (("213", 50), ("479", 112))
    ]

    table = table_of(ruled_page([40, 180, 300], YS[:4]), parts)

    assert [cell.number.raw for cell in table.cells if cell.number] == ["213 479"] * 3


def test_what_was_overlooked_is_read_in_a_second_look() -> None:
    """A digit in a cell of its own, which no reader has found; an empty cell is not looked at."""
    page, numbers = ruled_page(XS, YS), filled(TEXTS, XS, YS)
    overlooked, seen = filled([[""] * 4, ["", "6"]], XS, YS), []

    def read_blank(part: np.ndarray) -> Number:
        seen.append(part.shape)
        return digits_at("6", 20, 10, 16)

    page = drawn(drawn(page, numbers), overlooked)
    (table,) = find_tables(page, numbers, detections_of(numbers), 0.5, read_blank)

    assert len(seen) == 1
    assert grid_of(table)[1][1] == "6"


def test_dotted_and_broken_rules_are_found() -> None:
    """They are a quarter of a digit apart, or interrupted."""
    page = np.full((400, 600), 235, np.uint8)
    for x in range(40, 520, 6):
        page[100:102, x : x + 3] = 90
    for x in range(40, 520, 120):
        page[200:202, x : x + 90] = 90

    rules = find_rules(page, np.array([[60, 140, 14, 24], [480, 140, 14, 24]], np.float64))

    assert sorted(round(float(np.median(rule[:, 1]))) for rule in rules.level) == pytest.approx(
        [100, 200], abs=2
    )


def test_bent_lines_are_level_on_the_plane() -> None:
    """Lines of a page that is bent like a leaf of a book, by three heights of a digit."""
    x = np.linspace(0, 1000, 40)
    bent = [np.stack([x, y + 60 * np.sin(x / 500)], axis=1) for y in (100, 300, 500, 700)]

    plane = straighten(bent, [], (800, 1000), 20)

    assert max(np.ptp(plane.place(line)[:, 1]) for line in bent) < 0.6
    assert np.allclose(plane.place(plane.on_page(plane.place(bent[1]))), plane.place(bent[1]), atol=0.02)


def test_how_boxes_are_filled_tells_one_number_from_several() -> None:
    """Numbers that end at the right speak for a field, and gaps at random for cells."""
    right = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1]], bool)
    gaps = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)

    assert evidence_of_filling(right) > 0.5
    assert evidence_of_filling(gaps) < -2


def test_a_page_without_any_line_has_no_rules() -> None:
    """Nothing but paper is left of a page whose digits are too faint for a segment."""
    rules = find_rules(np.full((60, 80), 235, np.uint8), np.array([[20, 20, 14, 24]], np.float64))

    assert rules.families == ((), ())


def test_grain_and_long_pages_are_no_fault() -> None:
    """Grain makes thousands of segments, and OpenCV samples no points of a picture of 40,000 rows."""
    grain = np.random.default_rng(0).integers(0, 255, size=(1200, 1200)).astype(np.uint8)
    box = np.array([[600, 600, 6, 8]], np.float64)
    assert find_rules(grain, np.repeat(box, 2, axis=0)) is not None

    page = np.full((40_000, 60), 235, np.uint8)
    cv2.line(page, (10, 300), (50, 300), 60, 2)
    rules = find_rules(page, np.array([[20, 320, 14, 24], [20, 39_900, 14, 24]], np.float64))
    assert [round(float(rule[0, 1])) for rule in rules.level] == pytest.approx([300], abs=3)
