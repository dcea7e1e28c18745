"""Digits are told from all other ink, and normalized as in MNIST."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.imaging.digits import (
    ConnectedComponents,
    digit_from_grey,
    mean_stroke_width,
    normalize_digit,
)
from digitcli.imaging.grayscale import Box
from tests.support.pictures import cut_tight, distance, drawn, grey_of, written


def find_components(paper: np.ndarray) -> ConnectedComponents:
    return ConnectedComponents(1 - grey_of(paper))


def find_boxes(paper: np.ndarray) -> list[Box]:
    components = find_components(paper)
    return [components.box(group) for group in components.group_digits()]


def central_box(paper: np.ndarray) -> Box:
    components = find_components(paper)
    return components.box(components.group_central_digit())


def test_the_central_digit_and_all_digits_of_a_page_are_found() -> None:
    nothing = ConnectedComponents(np.zeros((20, 30), np.float32))
    assert nothing.group_digits() == [] and nothing.group_central_digit() == []
    assert ConnectedComponents(np.ones((20, 30), np.float32)).group_digits() == []
    paper, boxes = written("374")
    assert central_box(paper) == pytest.approx(boxes[1], abs=2)
    assert len(find_boxes(paper)) == 3
    assert len(find_boxes(written("88", gap=0.4)[0][:, 90:])) == 1  # the border cuts one of them
    row, _ = written("3" * 25, 12, gap=0.8, stroke_px=2, margin_px=4)
    assert len(find_boxes(np.vstack([row] * 25))) == 625
    one = np.full((100, 90), 255, np.uint8)
    one[:, 40:50] = 0
    assert find_boxes(one) == [(40, 0, 10, 100)]  # as tall as the picture


def test_frames_and_bars_along_the_border_are_no_digits() -> None:
    framed = drawn("8")
    cv2.rectangle(framed, (7, 7), (112, 112), 0, 3)
    assert find_boxes(framed) == find_boxes(drawn("8")) == [central_box(framed)]
    speck = drawn("0")  # a zero around it is no frame
    cv2.circle(speck, (60, 60), 4, 0, -1)
    ((_, _, _, height),) = find_boxes(speck)
    assert height > 80
    for bar in (np.s_[:, :6], np.s_[:, -6:], np.s_[:6], np.s_[-6:]):
        paper = drawn("6")
        paper[bar] = 0
        assert find_boxes(paper) == find_boxes(drawn("6")), bar
    for reach, usable in ((0.25, False), (0.3, False), (0.45, True)):
        ink = np.zeros((100, 100), np.float32)
        ink[:, : round(100 * reach)] = 1
        assert ConnectedComponents(ink).usable.any() == usable, reach


def test_the_detached_bar_of_a_five_is_a_part_of_it() -> None:
    paper = drawn("5", stroke_px=8)
    paper[26:34] = 255
    whole = find_boxes(drawn("5", stroke_px=8))
    assert find_boxes(paper) == whole == [central_box(paper)]
    assert len(find_components(paper).group_central_digit()) == 2
    row, boxes = written("555", gap=0.4)
    row[boxes[0][1] + 12 :][:6] = 255
    for found, drawn_box in zip(find_boxes(row), boxes, strict=True):
        assert abs(found[3] - drawn_box[3]) <= 2


def test_equal_digits_and_lines_close_to_each_other_stay_two_and_a_digit_with_a_thin_gap_is_one() -> None:
    for digit in "0123456789":
        for gap in (0.1, 0.15):
            assert len(find_boxes(written(digit * 2, gap=gap)[0])) == 2, (digit, gap)
    paper, boxes = written("00", gap=0.6)
    x, _, width, _ = boxes[0]
    paper[:, x + width // 2 :][:, :4] = 255
    assert len(find_boxes(paper)) == 2
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


def test_marks_of_another_size_or_of_hairlines_are_no_digits() -> None:
    for height_px, digits in ((40, 2), (60, 3), (200, 3), (290, 2)):
        mark = cv2.resize(cut_tight("2"), (60, height_px), interpolation=cv2.INTER_AREA)
        assert len(find_boxes(_row_with(mark))) == digits, height_px
    for stroke_px, digits in ((1, 2), (4, 3)):
        assert len(find_boxes(_row_with(cut_tight("0", stroke_px=stroke_px)))) == digits, stroke_px


def test_a_slim_one_stays_in_a_row_whose_middle_is_bold() -> None:
    thin, _ = written("13", stroke_px=6, margin_px=40)
    one = np.full((thin.shape[0], 80), 255, np.uint8)
    one[40:140, 40:45] = 0
    for stroke_px in (16, 24):
        bold, _ = written("8", stroke_px=stroke_px, margin_px=40)
        bold = np.pad(bold, ((0, 20), (0, 0)), constant_values=255)[: thin.shape[0]]
        assert len(find_boxes(np.hstack([one, thin, bold, thin]))) == 6, stroke_px


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


def test_torn_digits_are_joined_all_over_a_page() -> None:
    paper, boxes = written("0" * 12, gap=0.6, stroke_px=8)
    for x, y, width, height in boxes[::3]:
        paper[y + height // 2, x : x + width] = 255
        paper[y : y + height, x + width // 2][:20] = 255
    found_boxes = find_boxes(np.vstack([paper, paper]))
    assert len(found_boxes) == 24
    assert all(abs(box[3] - boxes[0][3]) <= 2 for box in found_boxes)


def central_digit(paper: np.ndarray) -> np.ndarray:
    components = find_components(paper)
    return normalize_digit(components.crop_ink(components.group_central_digit()))


def test_a_digit_fills_the_box_and_its_centre_of_mass_is_in_the_middle() -> None:
    for digit in "0123456789":
        for stroke_px in (1, 4, 12):
            centred = central_digit(drawn(digit, stroke_px=stroke_px))
            assert centred.shape == (28, 28) and centred.dtype == np.uint8
            _, _, width, height = cv2.boundingRect(centred)
            assert 19 <= max(width, height) <= 20, (digit, stroke_px)
            moments = cv2.moments(centred)
            assert abs(moments["m10"] / moments["m00"] - 14) < 1, (digit, stroke_px)
            assert abs(moments["m01"] / moments["m00"] - 14) < 1, (digit, stroke_px)
    assert normalize_digit(np.zeros((50, 40), np.float32)).max() == 0
    once = digit_from_grey(drawn("3", stroke_px=12))
    assert distance(digit_from_grey(once), once) < 2
    page = np.full((400, 400), 255, np.uint8)
    page[150:270, 100:220] = drawn("5")
    assert distance(central_digit(page), central_digit(drawn("5"))) < 2


def test_hairlines_are_thickened_and_the_bar_of_a_five_is_kept() -> None:
    hairline = central_digit(drawn("0", 600, stroke_px=3))
    assert mean_stroke_width(hairline / np.float32(255)) > 1.7 and hairline.max() == 255
    five = drawn("5", stroke_px=8)
    five[26:34] = 255
    centred = central_digit(five)
    assert cv2.connectedComponents((centred > 60).astype(np.uint8))[0] == 3
    assert cv2.boundingRect(centred)[3] == 20


def test_frames_specks_neighbours_and_ruled_lines_are_removed() -> None:
    alone = drawn("3", stroke_px=8)
    framed, specked, cut_neighbour, ruled, ruled_through = (alone.copy() for _ in range(5))
    cv2.rectangle(framed, (0, 0), (119, 119), 0, 3)
    for x, y in ((8, 8), (110, 20), (15, 105)):
        cv2.circle(specked, (x, y), 2, 0, -1)
    cut_neighbour[20:100, 114:] = 0
    ruled[[6, 112]] = 90
    np.minimum(ruled_through[70:72], 60, out=ruled_through[70:72])
    for spoilt in (framed, specked, cut_neighbour, ruled, ruled_through):
        assert distance(digit_from_grey(spoilt), digit_from_grey(alone)) < 8
