"""Digits are told from all other ink, and normalized as in MNIST."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from digitcli.imaging.digits import (
    ConnectedComponents,
    digit_from_grey,
    mean_stroke_width,
    normalize_central_digit,
)
from digitcli.imaging.grayscale import Box
from tests.support.pictures import cut_tight, distance, drawn, grey_of, written


def find_components(paper: np.ndarray) -> ConnectedComponents:
    return ConnectedComponents(1 - grey_of(paper))


def find_boxes(paper: np.ndarray) -> list[Box]:
    components = find_components(paper)
    return [components.box(group) for group in components.group_digits()]


def test_a_picture_without_ink_has_no_digits() -> None:
    components = ConnectedComponents(np.zeros((20, 30), np.float32))
    assert components.group_digits() == [] and components.group_central_digit() == []


def test_a_picture_full_of_ink_has_no_digits() -> None:
    assert ConnectedComponents(np.ones((20, 30), np.float32)).group_digits() == []


def test_the_central_digit_and_all_digits_of_a_page_are_found() -> None:
    paper, boxes = written("374")
    components = find_components(paper)
    x, y, width, height = components.box(components.group_central_digit())
    assert abs(x - boxes[1][0]) <= 1 and abs(width - boxes[1][2]) <= 2
    assert abs(y - boxes[1][1]) <= 1 and abs(height - boxes[1][3]) <= 2
    assert len(components.group_digits()) == 3


def test_a_frame_around_a_digit_is_not_a_digit() -> None:
    paper = drawn("8")
    cv2.rectangle(paper, (7, 7), (112, 112), 0, 3)
    alone = find_boxes(drawn("8"))
    assert find_boxes(paper) == alone
    components = find_components(paper)
    assert [components.box(components.group_central_digit())] == alone


def test_a_zero_around_a_speck_is_not_a_frame() -> None:
    paper = drawn("0")
    cv2.circle(paper, (60, 60), 4, 0, -1)
    ((_, _, _, height),) = find_boxes(paper)
    assert height > 80


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_bar_along_the_border_is_not_a_digit(side: str) -> None:
    paper = drawn("6")
    bar = {"left": np.s_[:, :6], "right": np.s_[:, -6:], "top": np.s_[:6], "bottom": np.s_[-6:]}[side]
    paper[bar] = 0
    assert find_boxes(paper) == find_boxes(drawn("6"))


def test_a_one_as_tall_as_the_picture_is_a_digit() -> None:
    paper = np.full((100, 90), 255, np.uint8)
    paper[:, 40:50] = 0
    assert find_boxes(paper) == [(40, 0, 10, 100)]


def test_the_detached_bar_of_a_five_is_a_part_of_it() -> None:
    paper = drawn("5", stroke_px=8)
    paper[26:34] = 255
    whole = find_boxes(drawn("5", stroke_px=8))
    assert find_boxes(paper) == whole
    components = find_components(paper)
    assert len(components.group_central_digit()) == 2
    assert [components.box(components.group_central_digit())] == whole


def test_a_detached_bar_in_a_row_belongs_to_its_own_five() -> None:
    paper, boxes = written("555", gap=0.4)
    paper[boxes[0][1] + 12 :][:6] = 255
    found_boxes = find_boxes(paper)
    assert len(found_boxes) == 3
    assert all(abs(found[3] - drawn_box[3]) <= 2 for found, drawn_box in zip(found_boxes, boxes, strict=True))


@pytest.mark.parametrize("digit", "0123456789")
@pytest.mark.parametrize("gap", [0.1, 0.15])
def test_two_equal_digits_close_to_each_other_stay_two(digit: str, gap: float) -> None:
    paper, _ = written(digit * 2, gap=gap)
    assert len(find_boxes(paper)) == 2


def test_a_digit_with_a_thin_gap_is_one() -> None:
    paper, boxes = written("00", gap=0.6)
    x, _, width, _ = boxes[0]
    paper[:, x + width // 2 :][:, :4] = 255
    assert len(find_boxes(paper)) == 2


def test_two_lines_close_to_each_other_stay_two() -> None:
    crop = cut_tight("3")
    paper = np.full((2 * crop.shape[0] + 110, crop.shape[1] * 2 + 160), 255, np.uint8)
    for top in (50, 60 + crop.shape[0]):
        for left in (50, 110 + crop.shape[1]):
            paper[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    assert len(find_boxes(paper)) == 4


def test_pale_and_thin_marks_are_not_digits() -> None:
    paper, boxes = written("44", gap=0.8)
    ghost = np.full((paper.shape[0], 150), 255, np.uint8)
    ghost[60:171, 40:111] = 255 - (255 - cut_tight("4")[:111, :71]) // 3
    hair = np.full((paper.shape[0], 150), 255, np.uint8)
    cv2.line(hair, (60, 60), (60, 170), 0, 1)
    assert len(find_boxes(np.hstack([paper, ghost]))) == len(boxes)
    assert len(find_boxes(np.hstack([paper, hair]))) == len(boxes)


def _row_with(mark: np.ndarray) -> np.ndarray:
    """Draw two digits 100 pixels high, their tops at 60, and after them a mark, on white paper (H, W)."""
    paper, _ = written("44", gap=0.8, margin_px=60)
    beside = np.full((400, mark.shape[1] + 60), 255, np.uint8)
    beside[60 : 60 + mark.shape[0], : mark.shape[1]] = mark
    return np.hstack([np.pad(paper, ((0, 400 - paper.shape[0]), (0, 0)), constant_values=255), beside])


@pytest.mark.parametrize(("height_px", "digits"), [(40, 2), (60, 3), (200, 3), (290, 2)])
def test_a_mark_much_smaller_or_larger_than_its_row_is_not_a_digit(height_px: int, digits: int) -> None:
    mark = cv2.resize(cut_tight("2"), (60, height_px), interpolation=cv2.INTER_AREA)
    assert len(find_boxes(_row_with(mark))) == digits


@pytest.mark.parametrize(("stroke_px", "digits"), [(1, 2), (4, 3)])
def test_a_loop_of_hairlines_is_not_a_digit(stroke_px: int, digits: int) -> None:
    assert len(find_boxes(_row_with(cut_tight("0", stroke_px=stroke_px)))) == digits


@pytest.mark.parametrize(("reach", "usable"), [(0.25, False), (0.3, False), (0.45, True)])
def test_ink_along_one_edge_that_reaches_far_in_may_be_a_digit(reach: float, usable: bool) -> None:
    ink = np.zeros((100, 100), np.float32)
    ink[:, : round(100 * reach)] = 1
    assert ConnectedComponents(ink).usable.any() == usable


@pytest.mark.parametrize("stroke_px", [16, 24])
def test_a_slim_one_stays_in_a_row_whose_middle_is_bold(stroke_px: int) -> None:
    thin, _ = written("13", stroke_px=6, margin_px=40)
    bold, _ = written("8", stroke_px=stroke_px, margin_px=40)
    one = np.full((thin.shape[0], 80), 255, np.uint8)
    one[40:140, 40:45] = 0
    rows = [one, thin, np.pad(bold, ((0, 20), (0, 0)), constant_values=255)[: thin.shape[0]], thin]
    assert len(find_boxes(np.hstack(rows))) == 6


def test_the_desk_around_a_sheet_is_not_a_digit() -> None:
    paper, boxes = written("2457", margin_px=150)
    height, width = paper.shape
    sheet = np.array([[60, 40], [width - 50, 60], [width - 70, height - 40], [40, height - 60]])
    desk = np.full_like(paper, 100)
    cv2.fillPoly(desk, [sheet], 255)
    assert find_boxes(np.minimum(paper, desk)) == [pytest.approx(box, abs=3) for box in boxes]


def test_components_whose_boxes_overlap_at_a_corner_are_one_digit() -> None:
    paper, boxes = written("77", gap=1.8)
    x, y = boxes[0][0] + 120, boxes[0][1]
    cv2.polylines(paper, [np.array([[x + 48, y], [x, y], [x, y + 48], [x + 20, y + 48]])], False, 0, 8)
    cv2.polylines(paper, [np.array([[x + 44, y + 32], [x + 68, y + 60], [x + 44, y + 104]])], False, 0, 8)
    assert len(find_boxes(paper)) == 3


def test_only_the_largest_of_very_many_components_are_kept() -> None:
    paper = np.full((640, 640), 255, np.uint8)
    paper[4::8, 4::8] = 0
    paper[200:400, 200:400] = drawn("5", 200, stroke_px=12)
    components = find_components(paper)
    assert components.count == 2001
    assert components.box(components.group_central_digit())[3] > 120


def test_a_neighbour_cut_by_the_border_is_left_out() -> None:
    paper, _ = written("88", gap=0.4)
    assert len(find_boxes(paper[:, 90:])) == 1


def test_cropped_ink_contains_only_its_own_digit() -> None:
    paper, _ = written("11", gap=0.1)
    components = find_components(paper)
    first, second = components.group_digits()
    alone = components.crop_ink(first)
    x, y, width, height = components.box(first)
    assert alone.shape == (height + 2, width + 2)
    rest = components.ink.copy()
    rest[y - 1 : y + height + 1, x - 1 : x + width + 1] -= alone
    assert rest[:, : x + width - 12].max() < 0.3
    x2, y2, width2, height2 = components.box(second)
    assert np.array_equal(rest[y2:, x2 + 12 :], components.ink[y2:, x2 + 12 :])


def test_all_digits_of_a_full_page_are_found() -> None:
    row, _ = written("3" * 25, 12, gap=0.8, stroke_px=2, margin_px=4)
    assert len(find_boxes(np.vstack([row] * 25))) == 625


def test_torn_digits_are_joined_all_over_a_page() -> None:
    paper, boxes = written("0" * 12, gap=0.6, stroke_px=8)
    for x, y, width, height in boxes[::3]:
        paper[y + height // 2, x : x + width] = 255
        paper[y : y + height, x + width // 2][:20] = 255
    found_boxes = find_boxes(np.vstack([paper, paper]))
    assert len(found_boxes) == 24
    assert all(abs(box[3] - boxes[0][3]) <= 2 for box in found_boxes)


def ink_of(grey: np.ndarray) -> np.ndarray:
    return (1 - grey / 255).astype(np.float32)


@pytest.mark.parametrize("digit", "0123456789")
@pytest.mark.parametrize("stroke", [1, 4, 12])
def test_a_digit_fills_the_box_and_its_centre_of_mass_is_in_the_middle(digit: str, stroke: int) -> None:
    centred = normalize_central_digit(ink_of(drawn(digit, stroke_px=stroke)))
    assert centred.shape == (28, 28) and centred.dtype == np.uint8
    _, _, width, height = cv2.boundingRect(centred)
    assert 19 <= max(width, height) <= 20
    moments = cv2.moments(centred)
    assert abs(moments["m10"] / moments["m00"] - 14) < 1
    assert abs(moments["m01"] / moments["m00"] - 14) < 1


def test_no_ink_gives_zeros() -> None:
    assert normalize_central_digit(np.zeros((50, 40), np.float32)).max() == 0


def test_a_normalized_digit_stays_as_it_is() -> None:
    once = digit_from_grey(drawn("3", stroke_px=12))
    assert distance(digit_from_grey(once), once) < 2


def test_hairlines_are_thickened() -> None:
    hairline = normalize_central_digit(ink_of(drawn("0", 600, stroke_px=3)))
    assert mean_stroke_width(hairline / np.float32(255)) > 1.7
    assert hairline.max() == 255


def test_the_place_on_the_page_does_not_matter() -> None:
    page = np.full((400, 400), 255, np.uint8)
    page[150:270, 100:220] = drawn("5")
    assert distance(normalize_central_digit(ink_of(page)), normalize_central_digit(ink_of(drawn("5")))) < 2


def test_the_bar_of_a_five_is_kept() -> None:
    five = drawn("5", stroke_px=8)
    five[26:34] = 255
    centred = normalize_central_digit(ink_of(five))
    assert cv2.connectedComponents((centred > 60).astype(np.uint8))[0] == 3
    assert cv2.boundingRect(centred)[3] == 20


def _framed(page: np.ndarray) -> None:
    cv2.rectangle(page, (0, 0), (119, 119), 0, 3)


def _specked(page: np.ndarray) -> None:
    for x, y in ((8, 8), (110, 20), (15, 105)):
        cv2.circle(page, (x, y), 2, 0, -1)


def _cut_neighbour(page: np.ndarray) -> None:
    page[20:100, 114:] = 0


def _ruled(page: np.ndarray) -> None:
    page[[6, 112]] = 90


def _ruled_through(page: np.ndarray) -> None:
    np.minimum(page[70:72], 60, out=page[70:72])


@pytest.mark.parametrize("spoil", [_framed, _specked, _cut_neighbour, _ruled, _ruled_through])
def test_frames_specks_neighbours_and_ruled_lines_are_removed(spoil: Callable[[np.ndarray], None]) -> None:
    page = drawn("3", stroke_px=8)
    spoil(page)
    assert distance(digit_from_grey(page), digit_from_grey(drawn("3", stroke_px=8))) < 8
