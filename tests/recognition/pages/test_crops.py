"""Strips and digit crops show their line or digit, and points of a strip lead back to the page."""

from __future__ import annotations

import math

import numpy as np
import pytest

from digitcli.imaging.network_inputs import STRIP_HEIGHT_PX, LineBox, cut_whole
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.pages.crops import MAX_LENGTH, LineCrop, crop_lines, reading_order
from tests.support.networks import page_of_bars
from tests.support.pictures import written


def found(x: float, y: float, length: float, height: float, angle: float = 0.0) -> FoundLine:
    return FoundLine(LineBox(x, y, length, height, angle), 0.9, 0.0, 30)


def written_line() -> tuple[np.ndarray, FoundLine]:
    """Draw a line of digits, and return it with its place."""
    page, boxes = written("3058", 50, stroke_px=5)
    left, top, right = boxes[0][0], boxes[0][1], boxes[-1][0] + boxes[-1][2]
    height = max(box[3] for box in boxes)
    return page, found((left + right) / 2, top + height / 2, right - left, height)


def inked(crop: LineCrop) -> tuple[int, int, int, int]:
    """Return the first column and row with ink of a strip, and the columns and rows after the last."""
    rows, columns = (np.flatnonzero((crop.image[0] < 64).any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_each_line_has_two_strips_that_lead_back_to_its_place() -> None:
    page, line = written_line()
    (crops,) = crop_lines(page, [[line]])
    assert len(crops.strips) == len([*crops.strips]) == 2 and not crops.fills_page
    for crop in crops.strips:
        assert crop.image.dtype == np.uint8 and crop.image.shape[:2] == (3, STRIP_HEIGHT_PX)
        x, y, width, height = crop.box_on_page(*inked(crop))
        assert (x + width / 2, y + height / 2) == pytest.approx((line.box.x, line.box.y), abs=3)
        assert (width, height) == pytest.approx((line.box.length, line.box.height), abs=5)
    first, second = (inked(crop)[3] - inked(crop)[1] for crop in crops.strips)
    assert first > second > 15  # the second has a wider margin


def test_a_picture_that_a_line_fills_is_a_third_strip() -> None:
    page, line = written_line()
    x, y, reach = round(line.box.x), round(line.box.y), round(line.box.height * 0.7)
    half = round(line.box.length / 2 + 10)
    tight = np.ascontiguousarray(page[y - reach : y + reach, x - half : x + half])
    (crops,) = crop_lines(tight, [[found(half, reach, line.box.length, line.box.height)]])
    assert crops.fills_page and len(crops.strips) == 3
    assert crops.strips[2].image.shape[2] == cut_whole(tight).image.shape[2]
    assert all(inked(crop)[3] - inked(crop)[1] >= 20 for crop in crops.strips)
    both = crop_lines(tight, [[found(30, reach, 50, 30), found(90, reach, 50, 30)]])
    assert not any(each.fills_page for each in both)


def test_the_lines_of_all_rows_are_cropped_in_reading_order() -> None:
    rows = [[found(50, 30, 60, 20), found(150, 30, 60, 20)], [found(100, 80, 90, 20)]]
    crops = crop_lines(page_of_bars(), rows)
    assert [each.row for each in crops] == [0, 0, 1]
    assert [each.line for each in crops] == [*rows[0], *rows[1]]


def test_a_line_without_end_takes_little_memory() -> None:
    (crops,) = crop_lines(page_of_bars(shape=(4, 2000)), [[found(1000, 2, 2000, 4)]])
    assert all(crop.image.shape[2] <= MAX_LENGTH * STRIP_HEIGHT_PX for crop in crops.strips)


def test_a_line_at_the_edge_of_a_page_is_cropped_and_its_boxes_stay_inside() -> None:
    (crops,) = crop_lines(page_of_bars((0, 0, 60, 20)), [[found(20, 5, 80, 30)]])
    for crop in crops.strips:
        x, y, width, height = crop.box_on_page(-10, -10, crop.image.shape[2] + 500, STRIP_HEIGHT_PX)
        assert (x, y) == (0, 0)
        assert width <= 200 and height <= 120


def test_boxes_of_a_sloping_strip_go_around_its_corners() -> None:
    turned = LineCrop(
        np.zeros((3, 40, 80), np.uint8), np.array([[0.8, -0.6, 50], [0.6, 0.8, 10]]), (200, 120)
    )
    assert turned.box_on_page(0, 0, 10, 20) == (38, 10, 20, 22)


def test_a_box_has_a_pixel_at_least() -> None:
    crop = LineCrop(np.zeros((3, 40, 80), np.uint8), np.array([[0.01, 0, 0], [0, 0.01, 0]]), (9, 5))
    assert crop.box_on_page(10, 10, 10, 10) == (0, 0, 1, 1)
    beyond = LineCrop(crop.image, np.array([[1.0, 0, 500], [0, 1, 500]]), (9, 5))
    assert beyond.box_on_page(0, 0, 10, 10) == (8, 4, 1, 1)


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.3])
def test_lines_are_read_row_by_row_from_left_to_right(angle: float) -> None:
    table = [
        found(
            x * math.cos(angle) - y * math.sin(angle),
            x * math.sin(angle) + y * math.cos(angle),
            40,
            20,
            angle,
        )
        for y in (30, 70, 110)
        for x in (50, 150, 250)
    ]
    shuffled = [table[index] for index in np.random.default_rng(0).permutation(9)]
    assert reading_order(shuffled) == [table[:3], table[3:6], table[6:]]


def test_a_page_without_lines_has_no_rows() -> None:
    assert reading_order([]) == []
