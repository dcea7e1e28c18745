"""Each number of a page has a row and a column, and two at a bar are a fraction."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from digitcli.recognition.layout import find_columns, place_numbers, shows_fraction
from digitcli.recognition.readings import Digit, Number
from tests.support.pictures import cut_tight

Boxes = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]
N_ROWS, N_COLUMNS, HEIGHT = 12, 4, 30
CELL_WIDTH, ROW_HEIGHT = 150, 60
SEEDS = range(5)


def table(seed: int, empty: float = 0.0, lean: float = 0.0) -> tuple[Boxes, Cells]:
    """Return boxes of a table with ragged columns, and the row and the column of each.

    A share of the cells is empty, and columns lean by so many pixels to the right for each pixel down.
    """
    random = np.random.default_rng(seed)
    cells = np.array([[row, column] for row in range(N_ROWS) for column in range(N_COLUMNS)])
    cells = cells[random.random(len(cells)) >= empty]
    widths = random.choice([12, 20, 40, 60, 80], len(cells))
    alignment = random.choice([0, 0.5, 1], N_COLUMNS)[cells[:, 1]]
    x = CELL_WIDTH * cells[:, 1] + alignment * (120 - widths) + random.uniform(0, 10, len(cells))
    y = ROW_HEIGHT * cells[:, 0] + random.normal(0, 3, len(cells))
    return np.stack([x + lean * y, y, widths, np.full(len(cells), HEIGHT)], axis=1), cells


def turned(boxes: Boxes, degrees: float) -> Boxes:
    """Turn the middles of boxes counterclockwise, and keep their sizes."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middles = (boxes[:, :2] + boxes[:, 2:] / 2) @ turn
    return np.concatenate([middles - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


def columns_beside(
    boxes: Boxes, rows: npt.NDArray[np.int64], *others: tuple[tuple[float, float, float, float], int]
) -> list[int]:
    """Return the columns of boxes where others, each with its row, stand on the same page."""
    all_boxes = np.concatenate([boxes, np.array([box for box, _ in others])])
    return find_columns(all_boxes, np.append(rows, [row for _, row in others]))[: len(boxes)].tolist()


def numbers_at(*boxes: tuple[int, int, int, int], row: int | None = None) -> list[Number]:
    return [Number((Digit("1", 0.9, box),), 0.9, "1", row=row) for box in boxes]


@pytest.mark.parametrize("degrees", [0.0, 8.0, -15.0])
@pytest.mark.parametrize("lean", [0.0, 0.1, -0.15])
@pytest.mark.parametrize("empty", [0.0, 0.3])
@pytest.mark.parametrize("seed", SEEDS)
def test_columns_of_ragged_numbers_are_found(seed: int, empty: float, lean: float, degrees: float) -> None:
    boxes, cells = table(seed, empty, lean)
    assert find_columns(turned(boxes, degrees), cells[:, 0]).tolist() == cells[:, 1].tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_disturbs_a_table_changes_no_other_column(seed: int) -> None:
    boxes, cells = table(seed)
    rows, columns = cells[:, 0], cells[:, 1].tolist()
    assert columns_beside(boxes, rows, ((0.0, -100.0, 570.0, 30.0), N_ROWS)) == columns  # a date above all

    joined = (boxes[5, 0], boxes[5, 1], boxes[6, 0] + boxes[6, 2] - boxes[5, 0], HEIGHT)
    assert rows[5] == rows[6]
    others = np.delete(np.arange(len(cells)), [5, 6])  # one number in two cells
    found = columns_beside(boxes[others], rows[others], (joined, int(rows[5])))
    assert found == cells[others, 1].tolist()

    wrong = rows.copy()
    wrong[9] -= 1  # a number in a wrong row, or twice
    assert find_columns(boxes, wrong).tolist() == columns
    x, y, width, height = boxes[9].tolist()
    assert columns_beside(boxes, rows, ((x, y, width, height), int(rows[9]))) == columns

    split = int(np.argmax(boxes[:, 2]))  # a number in two parts
    x, y, width, height = boxes[split].tolist()
    boxes[split, 2] = 0.4 * width
    part = (x + 0.6 * width, y, 0.4 * width, height)
    assert columns_beside(boxes, rows, (part, int(rows[split]))) == columns


def test_a_list_is_one_column_however_ragged() -> None:
    boxes = np.array([[0.0, 60 * row, 20, 30] if row % 2 else [100.0, 60 * row, 20, 30] for row in range(6)])
    assert find_columns(boxes, np.arange(6)).tolist() == [0] * 6


def test_rows_are_found_or_kept_and_count_from_zero() -> None:
    found = place_numbers(numbers_at((0, 100, 20, 30), (200, 104, 20, 30), (0, 0, 20, 30)))
    assert [(number.row, number.column) for number in found] == [(1, 0), (1, 1), (0, 0)]
    kept = [*numbers_at((0, 0, 20, 30), row=3), *numbers_at((0, 90, 20, 30), row=7)]
    assert [number.row for number in place_numbers(kept)] == [0, 1]


def test_a_page_without_numbers_has_none_to_place() -> None:
    assert place_numbers([]) == ()


Mark = tuple[str, int, int]  # a number, or "-120" for a bar 120 pixels long; x and y


def drawn(*marks: Mark) -> tuple[np.ndarray, list[Number]]:
    """Draw numbers and bars on white paper, and return the numbers with exact boxes."""
    paper, numbers = np.full((700, 700), 235, np.uint8), []
    for text, x, y in marks:
        if text[0] == "-":
            cv2.line(paper, (x, y), (x + int(text[1:]), y + 3), 30, 8)
            continue
        digits = []
        for digit in text:
            crop = cut_tight(digit)
            height, width = crop.shape
            paper[y : y + height, x : x + width] = np.minimum(paper[y : y + height, x : x + width], crop)
            digits.append(Digit(digit, 0.9, (x, y, width, height)))
            x += width + 20
        numbers.append(Number(tuple(digits), 0.9, raw=text))
    return paper, numbers


def test_numbers_above_and_below_a_bar_are_a_fraction() -> None:
    for upper, lower in (("1", "2"), ("3", "16"), ("15", "16")):
        for gap in (8, 30, 60):
            bar = f"-{90 * max(len(upper), len(lower))}", 285, 255 + gap
            page, numbers = drawn((upper, 300, 150), bar, (lower, 300, 262 + 2 * gap))
            for each in (page, 255 - page):
                assert shows_fraction(each, numbers) and shows_fraction(each, numbers[::-1])
                assert not shows_fraction(each, numbers[:1])
                assert not shows_fraction(each, [*numbers, numbers[0]])


NO_FRACTIONS: dict[str, tuple[Mark, ...]] = {
    "two lines": (("12", 300, 150), ("34", 300, 300)),
    "a long rule": (("12", 300, 150), ("-600", 50, 280), ("34", 300, 320)),
    "a sum": (("12", 300, 50), ("34", 300, 200), ("-200", 280, 330), ("46", 300, 370)),
    "longer numbers": (("1234", 150, 150), ("-350", 140, 280), ("5678", 150, 310)),
    "underlined, and another below": (("12", 300, 100), ("-180", 290, 220), ("34", 300, 330)),
    "another above, and overlined": (("12", 300, 80), ("-180", 290, 320), ("34", 300, 335)),
    "a bar beside": (("12", 300, 150), ("-200", 480, 280), ("34", 300, 310)),
    "a table": (
        ("-200", 270, 120), ("12", 300, 150), ("-200", 270, 280), ("34", 300, 310), ("-200", 270, 440),
    ),
    "a short dash": (("12", 300, 150), ("-50", 330, 280), ("34", 300, 310)),
    "dashes": (("12", 300, 150), ("-40", 290, 280), ("-40", 360, 280), ("-40", 430, 280), ("34", 300, 310)),
    "a number beside, below a bar": (("12", 200, 150), ("-290", 190, 280), ("34", 350, 310)),
}  # fmt: skip


def test_other_numbers_and_bars_are_no_fraction() -> None:
    for kind, marks in NO_FRACTIONS.items():
        assert not shows_fraction(*drawn(*marks)), kind


def test_a_bar_is_no_stripe_and_may_touch_the_digits() -> None:
    page, numbers = drawn(("12", 300, 150), ("34", 300, 330))
    (x, y, width, height), below = numbers[0].box, numbers[1].box[1]
    for thickness, expected in ((8, True), (50, False)):
        middle = (y + height + below) // 2
        striped = page.copy()
        striped[middle - thickness // 2 : middle + thickness // 2, x - 10 : x + width + 10] = 30
        assert shows_fraction(striped, numbers) == expected
        striped[middle - 30 : middle + 30, x + width // 3 : x + width // 3 + 4] = 235  # a small break
        assert shows_fraction(striped, numbers) == expected
    page, numbers = drawn(("12", 300, 150), ("-180", 285, 248), ("34", 300, 246))
    assert shows_fraction(page, numbers)
