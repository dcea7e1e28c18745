"""Numbers know their rows and columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from digitcli.recognition.results import Digit, Number
from digitcli.recognition.table import find_columns, place_numbers

Boxes = npt.NDArray[np.float64]
ROWS, COLUMNS, HEIGHT = 12, 4, 30
CELL_WIDTH, ROW_HEIGHT = 150, 60


def table(seed: int, degrees: float = 0.0, empty: float = 0.0) -> tuple[Boxes, npt.NDArray[np.int64]]:
    """Return boxes of a table with ragged columns and the cell of each, row and column."""
    random = np.random.default_rng(seed)
    cells = np.array([[row, column] for row in range(ROWS) for column in range(COLUMNS)])
    cells = cells[random.random(len(cells)) >= empty]
    widths = random.choice([12, 20, 40, 60, 80], len(cells))
    alignment = random.choice([0, 0.5, 1], COLUMNS)[cells[:, 1]]
    x = CELL_WIDTH * cells[:, 1] + alignment * (120 - widths) + random.uniform(0, 10, len(cells))
    y = ROW_HEIGHT * cells[:, 0] + random.normal(0, 3, len(cells))
    middles = np.stack([x + widths / 2, y + HEIGHT / 2], axis=1)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    size = np.stack([widths, np.full(len(cells), HEIGHT)], axis=1)
    return np.concatenate([middles @ turn - size / 2, size], axis=1), cells


def numbers_at(*boxes: tuple[int, int, int, int], row: int | None = None) -> list[Number]:
    return [Number((Digit("1", 0.9, box),), 0.9, "1", row=row) for box in boxes]


@pytest.mark.parametrize("degrees", [0.0, 4.0, -12.0])
@pytest.mark.parametrize("empty", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_columns_of_ragged_numbers_are_found(seed: int, empty: float, degrees: float) -> None:
    boxes, cells = table(seed, degrees, empty)
    np.testing.assert_array_equal(find_columns(boxes, cells[:, 0]), cells[:, 1])


def test_a_list_is_one_column_however_ragged() -> None:
    boxes = np.array([[0.0, 60 * row, 20, 30] if row % 2 else [100.0, 60 * row, 20, 30] for row in range(6)])
    assert find_columns(boxes, np.arange(6)).tolist() == [0] * 6


def test_a_number_in_two_parts_adds_one_column_and_joins_no_others() -> None:
    boxes, cells = table(0)
    x, y, width, height = boxes[1]
    split = np.concatenate([boxes, [[x + width + 5, y, 10, height]]])
    columns = find_columns(split, np.append(cells[:, 0], cells[1, 0]))
    assert columns[-1] == columns[1] + 1
    assert len(set(zip(cells[:, 0].tolist(), columns.tolist(), strict=False))) == len(cells)


def test_rows_are_found_or_kept_and_count_from_zero() -> None:
    found = place_numbers(numbers_at((0, 100, 20, 30), (200, 104, 20, 30), (0, 0, 20, 30)))
    assert [(number.row, number.column) for number in found] == [(1, 0), (1, 1), (0, 0)]
    kept = [*numbers_at((0, 0, 20, 30), row=3), *numbers_at((0, 90, 20, 30), row=7)]
    assert [number.row for number in place_numbers(kept)] == [0, 1]


def test_a_page_without_numbers_has_none_to_place() -> None:
    assert place_numbers([]) == ()
