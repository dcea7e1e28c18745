"""A line is cut out level, 40 pixels high, ink light, and its points lead back to the page."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.imaging.binarization import find_ink
from digitcli.imaging.normalization import LINE_HEIGHT_PX
from digitcli.recognition.crops import LineCrop, RegionCrops, crop_line, crop_numbers, crop_whole_picture
from digitcli.recognition.segmentation import find_numbers
from tests.support.pictures import grey_of, written


def columns_with_ink(crop: LineCrop) -> np.ndarray:
    return np.flatnonzero((crop.image > 128).any(axis=0))


def row_on_a_page(text: str = "3058", slope: float = 0.0) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    paper, boxes = written(text, slope=slope)
    page = np.pad(paper, ((200, 300), (150, 100)), constant_values=255)
    return page, [(x + 150, y + 200, width, height) for x, y, width, height in boxes]


@pytest.mark.parametrize("light", [False, True])
def test_every_crop_shows_the_line_and_leads_back_to_its_place(light: bool) -> None:
    page, boxes = row_on_a_page()
    grey = grey_of(255 - page if light else page)
    for crop in crop_line(grey, find_ink(grey), boxes):
        assert crop.image.dtype == np.uint8 and crop.image.shape[0] == LINE_HEIGHT_PX
        assert np.median(crop.image) < 50 and crop.image.max() > 200
        rows = np.flatnonzero((crop.image > 128).any(axis=1))
        columns = columns_with_ink(crop)
        box = crop.box_on_page(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right = max(box[0] + box[2] for box in boxes)
        assert np.abs(np.array(box)[:3] - [left, top, right - left]).max() < 8


def test_the_second_crop_has_more_paper_around() -> None:
    page, boxes = row_on_a_page()
    grey = grey_of(page)
    first, second = crop_line(grey, find_ink(grey), boxes)
    heights = [int(np.ptp(np.flatnonzero((crop.image > 128).any(axis=1)))) for crop in (first, second)]
    assert heights[0] > heights[1] > 15


@pytest.mark.parametrize("slope", [0.1, -0.1])
def test_a_sloping_line_is_made_level(slope: float) -> None:
    page, boxes = row_on_a_page("0000000", slope=slope)
    grey = grey_of(page)
    (crop, _) = crop_line(grey, find_ink(grey), boxes)
    left, right = np.array_split(crop.image, 2, axis=1)
    middles = [np.flatnonzero((half > 128).any(axis=1)).mean() for half in (left, right)]
    assert abs(middles[0] - middles[1]) < 3
    x = float(columns_with_ink(crop)[0])
    box = crop.box_on_page(x, 10, x + 8, 30)
    assert abs(box[0] - boxes[0][0]) < 25


def test_a_whole_picture_is_cropped_in_two_sizes() -> None:
    paper, _ = written("1234")
    first, second = crop_whole_picture(grey_of(paper))
    assert first.image.shape[0] == second.image.shape[0] == LINE_HEIGHT_PX
    assert first.image.shape[1] > second.image.shape[1]
    assert not second.image[:2].any() and not second.image[-2:].any()
    height, width = paper.shape
    for crop, rows in ((first, (0, 40)), (second, (2, 38))):
        x, y, w, h = crop.box_on_page(0, rows[0], crop.image.shape[1], rows[1])
        assert abs(x) <= 1 and abs(y) <= 1 and abs(w - width) <= 2 and abs(h - height) <= 2


def test_a_line_at_the_edge_of_a_page_is_cropped() -> None:
    paper, boxes = written("12")
    grey = grey_of(paper)
    for crop in crop_line(grey, find_ink(grey), boxes):
        assert crop.image.shape[1] >= 8 and crop.image.max() > 200


def test_faint_writing_is_dark_in_the_crops() -> None:
    page, boxes = row_on_a_page()
    faint = cv2.GaussianBlur(255 - (255 - page) // 12, (0, 0), 1)
    grey = grey_of(faint)
    assert all(crop.image.max() > 150 for crop in crop_line(grey, find_ink(grey), boxes))


def crops_of(paper: np.ndarray, with_lines: bool = True) -> tuple[RegionCrops, ...]:
    return crop_numbers(find_numbers(grey_of(paper), with_lines), with_lines)


def test_a_strip_is_one_line_and_a_lone_digit_is_none() -> None:
    strip, _ = written("40721", 60, gap=0.1, margin_px=30)
    (crops,) = crops_of(strip)
    assert crops.region.is_whole_picture and len(crops.lines) == 2 and len(crops.digits) == 0
    page, _ = row_on_a_page("7")
    (crops,) = crops_of(page)
    assert not crops.region.is_whole_picture and len(crops.lines) == 2
    assert crops.digits.shape == (1, 2, 28, 28)


def test_lines_of_a_page_are_regions_of_their_own() -> None:
    above, _ = row_on_a_page("3058")
    below, _ = row_on_a_page("1234")
    width = min(above.shape[1], below.shape[1])
    regions = [crops.region for crops in crops_of(np.vstack([above[:, :width], below[:, :width]]))]
    assert [len(region.components) for region in regions] == [4, 4]
    assert not any(region.is_whole_picture for region in regions)


def test_without_line_networks_there_are_no_line_crops() -> None:
    page, _ = row_on_a_page()
    (crops,) = crops_of(page, with_lines=False)
    assert crops.lines == () and crops.digits.shape == (4, 2, 28, 28)
