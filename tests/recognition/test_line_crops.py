"""Lines are cut out of pages as strips, for explanations as predict does it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from digitcli.errors import PictureError
from digitcli.imaging.network_inputs import STRIP_HEIGHT_PX, LineBox, cut_whole, strip_ink
from digitcli.inference.line_finding import FoundLine
from digitcli.inference.model_resolution import resolve_model
from digitcli.recognition.line_crops import (
    MAX_LENGTH,
    LineCrop,
    as_levels,
    crop_lines,
    line_cutter,
    longest_line,
    reading_order,
)
from digitcli.recognition.reader import Reader, reader_with
from digitcli.recognition.readings import Digit, Number, Reading, contains
from tests.support.networks import page_of_bars
from tests.support.pictures import grey_of, written


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


def test_boxes_of_a_strip_go_around_its_corners_and_have_a_pixel_at_least() -> None:
    image = np.zeros((3, 40, 80), np.uint8)
    for to_page, page_size, box, expected in (
        ([[0.8, -0.6, 50], [0.6, 0.8, 10]], (200, 120), (0, 0, 10, 20), (38, 10, 20, 22)),
        ([[0.01, 0, 0], [0, 0.01, 0]], (9, 5), (10, 10, 10, 10), (0, 0, 1, 1)),
        ([[1.0, 0, 500], [0, 1, 500]], (9, 5), (0, 0, 10, 10), (8, 4, 1, 1)),
    ):
        assert LineCrop(image, np.array(to_page), page_size).box_on_page(*box) == expected


def test_lines_are_read_row_by_row_from_left_to_right() -> None:
    for angle in (0.0, 0.3, -0.3):
        cos, sin = math.cos(angle), math.sin(angle)
        places = [(x, y) for y in (30, 70, 110) for x in (50, 150, 250)]
        table = [found(x * cos - y * sin, x * sin + y * cos, 40, 20, angle) for x, y in places]
        shuffled = [table[index] for index in np.random.default_rng(0).permutation(9)]
        assert reading_order(shuffled) == [table[:3], table[3:6], table[6:]]
    assert reading_order([]) == []


@pytest.fixture(scope="module")
def paper() -> np.ndarray:
    return written("40713", 60)[0]


def test_a_network_sees_what_the_page_finder_finds_or_the_whole_picture(paper: np.ndarray) -> None:
    (line,) = line_cutter("reader", "cpu")(grey_of(paper))
    (strip,) = line_cutter("strip_reader", "cpu")(grey_of(paper))
    assert np.array_equal(line, strip_ink(strip))
    (number,) = Reader("finder", "page_reader", device="cpu").read(paper).numbers
    assert strip.shape[:2] == (3, 40) and number.line is not None and np.array_equal(strip[0], number.line)
    (whole,) = line_cutter("picture_reader")(grey_of(paper))
    assert np.array_equal(whole, cut_whole(as_levels(grey_of(paper))).image)


def test_every_line_of_a_page_is_cut_out_and_the_longest_is_chosen(paper: np.ndarray) -> None:
    short = written("27", 60)[0]
    short = np.pad(short, ((0, 0), (0, paper.shape[1] - short.shape[1])), constant_values=255)
    lines = line_cutter("reader")(grey_of(np.vstack([short, paper])))
    assert len(lines) == 2 and lines[0].shape[1] < lines[1].shape[1]
    assert longest_line(lines, "page.png") is lines[1]


def test_a_line_model_reads_with_what_predict_adds_to_it() -> None:
    for model, together in (("reader", "finder+page_reader+reader"), ("page_reader", "finder+page_reader")):
        reader = reader_with(resolve_model(model), "cpu")
        assert reader is not None
        assert "+".join(part.partition("@")[0] for part in reader.name.split("+")) == together


def test_neighbouring_numbers_have_digits_together() -> None:
    numbers = tuple(
        Number(tuple(Digit(digit, 1.0, (0, 0, 1, 1)) for digit in text), 1.0, text)
        for text in ("12", "3", "45")
    )
    page = Reading("a.png", None, "read", None, "12 3 45", 1.0, numbers, "reader@0")
    assert all(contains(page, text) for text in ("12", "3", "45", "123", "345", "12345"))
    assert not any(contains(page, text) for text in ("", "1", "23", "1245", "312"))
    blank = Reading("a.png", None, "blank", "blank", "", 0.9, (), "reader@0")
    assert contains(blank, "") and not contains(blank, "1")


def test_a_picture_without_lines_is_blank() -> None:
    assert line_cutter("reader")(np.ones((300, 300), np.float32)) == []
    with pytest.raises(PictureError, match=r"No number was found in page.png") as caught:
        longest_line([], "page.png")
    assert caught.value.reason == "blank"
