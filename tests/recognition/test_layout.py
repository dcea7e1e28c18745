"""Each number of a page has a row and a column."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from digitcli.recognition.layout import find_columns, place_numbers
from digitcli.recognition.readings import Digit, Number

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
def test_a_number_in_two_parts_changes_no_column(seed: int) -> None:
    boxes, cells = table(seed)
    split = int(np.argmax(boxes[:, 2]))
    x, y, width, height = boxes[split]
    boxes[split, 2] = 0.4 * width
    found = columns_beside(boxes, cells[:, 0], ((x + 0.6 * width, y, 0.4 * width, height), cells[split, 0]))
    assert found == cells[:, 1].tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_of_two_cells_in_one_change_no_other_column(seed: int) -> None:
    boxes, cells = table(seed)
    joined = (boxes[5, 0], boxes[5, 1], boxes[6, 0] + boxes[6, 2] - boxes[5, 0], HEIGHT)
    assert cells[5, 0] == cells[6, 0]
    others = np.delete(np.arange(len(cells)), [5, 6])
    found = columns_beside(boxes[others], cells[others, 0], (joined, int(cells[5, 0])))
    assert found == cells[others, 1].tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_date_above_all_columns_changes_none(seed: int) -> None:
    boxes, cells = table(seed)
    found = columns_beside(boxes, cells[:, 0], ((0.0, -100.0, 570.0, 30.0), N_ROWS))
    assert found == cells[:, 1].tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_number_in_a_wrong_row_or_twice_changes_no_column(seed: int) -> None:
    boxes, cells = table(seed)
    rows = cells[:, 0].copy()
    rows[9] -= 1
    assert find_columns(boxes, rows).tolist() == cells[:, 1].tolist()
    x, y, width, height = boxes[9].tolist()
    found = columns_beside(boxes, cells[:, 0], ((x, y, width, height), int(cells[9, 0])))
    assert found == cells[:, 1].tolist()


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
