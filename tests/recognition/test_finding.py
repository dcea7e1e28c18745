"""The page finder's pyramid, and the choice and the order of its lines."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.imaging.finder_input import finder_input
from digitcli.imaging.strips import LineBox
from digitcli.recognition.finding import LEVELS_PX, FoundLine, find_lines, levels_of, reading_order, suppress

NOTHING = -8.0


def _line(
    x: float, y: float, length: float, height: float, score: float = 0.9, level: float = 30
) -> FoundLine:
    return FoundLine(LineBox(x, y, length, height, 0.0), score, 0.0, level)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (60, 300), (480, 640), (3000, 4000), (1, 5000)])
def test_levels_grow_to_the_size_of_the_page_and_no_further_than_the_largest(height: int, width: int) -> None:
    levels = levels_of(height, width)
    assert levels == sorted(set(levels))
    assert levels[-1] <= min(LEVELS_PX[-1], 2.6 * max(height, width) + 1)
    assert levels[-1] >= min(LEVELS_PX[-1], max(height, width))


def test_the_surer_of_two_overlapping_lines_is_kept() -> None:
    whole, part, apart = (
        _line(100, 50, 120, 30, 0.95),
        _line(70, 50, 30, 30, 0.8),
        _line(300, 50, 60, 30, 0.6),
    )
    assert suppress([part, apart, whole]) == [whole, apart]


def test_a_line_of_a_trusted_height_wins_over_the_same_line_on_another_level() -> None:
    right, small = _line(100, 50, 120, 30, 0.9, level=30), _line(100, 50, 110, 28, 0.95, level=11)
    assert suppress([small, right]) == [right]


def test_neighbouring_rows_that_touch_are_both_kept() -> None:
    rows = [_line(100, 50, 120, 30), _line(100, 78, 120, 30)]
    assert sorted(suppress(rows), key=lambda line: line.box.y) == rows


def test_lines_are_read_row_by_row_from_left_to_right() -> None:
    table = [_line(x, y + x / 50, 40, 20) for y in (30, 70, 110) for x in (50, 150, 250)]
    shuffled = [table[index] for index in np.random.default_rng(0).permutation(9)]
    assert reading_order(shuffled) == [table[:3], table[3:6], table[6:]]
    assert reading_order([]) == []


def test_boxes_are_in_pixels_of_the_page_whatever_the_level() -> None:
    """A finder that marks the dark cells finds a bar at the same place on every level."""
    page = np.full((400, 600), 220, np.uint8)
    page[180:220, 200:400] = 30

    def run(level: np.ndarray) -> np.ndarray:
        cells = level[3].reshape(level.shape[1] // 4, 4, level.shape[2] // 4, 4).mean(axis=(1, 3))
        maps = np.zeros((6, *cells.shape), np.float32)
        maps[0] = np.where(cells < 100, 8.0, NOTHING)
        maps[1] = NOTHING
        return maps

    (line, *others) = find_lines(page, run)
    assert not others
    assert (line.box.x, line.box.y) == pytest.approx((300, 200), abs=12)


def test_inputs_are_padded_to_whole_cells_of_the_deepest_stage() -> None:
    shapes = []

    def run(level: np.ndarray) -> np.ndarray:
        shapes.append(level.shape)
        return np.full((6, level.shape[1] // 4, level.shape[2] // 4), NOTHING, np.float32)

    assert find_lines(np.full((50, 130), 200, np.uint8), run) == []
    assert all(channels == 4 and not height % 32 and not width % 32 for channels, height, width in shapes)
    assert finder_input(np.full((50, 130), 200, np.uint8), 25, 65).shape == (4, 25, 65)
