"""Digits are told from frames, bars, specks and their neighbours by the geometry of their pieces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.imaging.components import Box, ConnectedComponents
from tests.support.pictures import cut_tight, drawn, grey_of, written


def pieces_of(paper: np.ndarray) -> ConnectedComponents:
    return ConnectedComponents(1 - grey_of(paper))


def boxes_of(paper: np.ndarray) -> list[Box]:
    pieces = pieces_of(paper)
    return [pieces.box(group) for group in pieces.group_digits()]


def test_no_ink_has_no_pieces() -> None:
    pieces = ConnectedComponents(np.zeros((20, 30), np.float32))
    assert pieces.group_digits() == [] and pieces.group_central_digit() == []


def test_all_ink_is_no_digit() -> None:
    assert ConnectedComponents(np.ones((20, 30), np.float32)).group_digits() == []


def test_a_picture_of_one_digit_gives_the_central_one_and_a_page_gives_all() -> None:
    paper, boxes = written("374")
    pieces = pieces_of(paper)
    x, y, width, height = pieces.box(pieces.group_central_digit())
    assert abs(x - boxes[1][0]) <= 1 and abs(width - boxes[1][2]) <= 2
    assert abs(y - boxes[1][1]) <= 1 and abs(height - boxes[1][3]) <= 2
    assert len(pieces.group_digits()) == 3


def test_what_goes_around_a_digit_is_a_frame() -> None:
    paper = drawn("8")
    cv2.rectangle(paper, (7, 7), (112, 112), 0, 3)
    alone = boxes_of(drawn("8"))
    assert boxes_of(paper) == alone
    pieces = pieces_of(paper)
    assert [pieces.box(pieces.group_central_digit())] == alone


def test_a_zero_around_a_speck_is_no_frame() -> None:
    paper = drawn("0")
    cv2.circle(paper, (60, 60), 4, 0, -1)
    ((_, _, _, height),) = boxes_of(paper)
    assert height > 80


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_bar_along_the_rim_is_no_digit(side: str) -> None:
    paper = drawn("6")
    bar = {"left": np.s_[:, :6], "right": np.s_[:, -6:], "top": np.s_[:6], "bottom": np.s_[-6:]}[side]
    paper[bar] = 0
    assert boxes_of(paper) == boxes_of(drawn("6"))


def test_a_one_as_tall_as_the_picture_is_a_digit_where_it_stands_free() -> None:
    paper = np.full((100, 90), 255, np.uint8)
    paper[:, 40:50] = 0
    assert boxes_of(paper) == [(40, 0, 10, 100)]


def test_the_detached_flag_of_a_five_is_its_part() -> None:
    paper = drawn("5", stroke_px=8)
    paper[26:34] = 255
    whole = boxes_of(drawn("5", stroke_px=8))
    assert boxes_of(paper) == whole
    pieces = pieces_of(paper)
    assert len(pieces.group_central_digit()) == 2
    assert [pieces.box(pieces.group_central_digit())] == whole


def test_a_detached_flag_goes_to_its_own_five_in_a_row() -> None:
    paper, boxes = written("555", gap=0.4)
    paper[boxes[0][1] + 12 :][:6] = 255
    found = boxes_of(paper)
    assert len(found) == 3
    assert all(abs(box[3] - given[3]) <= 2 for box, given in zip(found, boxes, strict=True))


@pytest.mark.parametrize("digit", "0123456789")
@pytest.mark.parametrize("gap", [0.1, 0.15])
def test_two_equal_digits_close_to_each_other_stay_two(digit: str, gap: float) -> None:
    paper, _ = written(digit * 2, gap=gap)
    assert len(boxes_of(paper)) == 2


def test_a_digit_torn_in_two_by_a_hair_is_one() -> None:
    paper, boxes = written("00", gap=0.6)
    x, _, width, _ = boxes[0]
    paper[:, x + width // 2 :][:, :4] = 255
    assert len(boxes_of(paper)) == 2


def test_two_lines_close_to_each_other_stay_two() -> None:
    crop = cut_tight("3")
    paper = np.full((2 * crop.shape[0] + 110, crop.shape[1] * 2 + 160), 255, np.uint8)
    for top in (50, 60 + crop.shape[0]):
        for left in (50, 110 + crop.shape[1]):
            paper[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    assert len(boxes_of(paper)) == 4


def test_pale_and_thin_marks_are_no_digits() -> None:
    paper, boxes = written("44", gap=0.8)
    ghost = np.full((paper.shape[0], 150), 255, np.uint8)
    ghost[60:171, 40:111] = 255 - (255 - cut_tight("4")[:111, :71]) // 3
    hair = np.full((paper.shape[0], 150), 255, np.uint8)
    cv2.line(hair, (60, 60), (60, 170), 0, 1)
    assert len(boxes_of(np.hstack([paper, ghost]))) == len(boxes)
    assert len(boxes_of(np.hstack([paper, hair]))) == len(boxes)


def _row_with(mark: np.ndarray) -> np.ndarray:
    """Two digits 100 pixels high, their tops at 60, and a mark on white paper, uint8 (H, W), after them."""
    paper, _ = written("44", gap=0.8, margin_px=60)
    beside = np.full((400, mark.shape[1] + 60), 255, np.uint8)
    beside[60 : 60 + mark.shape[0], : mark.shape[1]] = mark
    return np.hstack([np.pad(paper, ((0, 400 - paper.shape[0]), (0, 0)), constant_values=255), beside])


@pytest.mark.parametrize(("height_px", "digits"), [(40, 2), (60, 3), (200, 3), (290, 2)])
def test_what_is_far_lower_or_higher_than_its_row_is_no_digit(height_px: int, digits: int) -> None:
    mark = cv2.resize(cut_tight("2"), (60, height_px), interpolation=cv2.INTER_AREA)
    assert len(boxes_of(_row_with(mark))) == digits


@pytest.mark.parametrize(("stroke_px", "digits"), [(1, 2), (4, 3)])
def test_a_hairline_around_nothing_is_no_digit(stroke_px: int, digits: int) -> None:
    assert len(boxes_of(_row_with(cut_tight("0", stroke_px=stroke_px)))) == digits


@pytest.mark.parametrize(("reach", "usable"), [(0.25, False), (0.3, False), (0.45, True)])
def test_what_lies_along_one_edge_and_reaches_far_in_may_be_a_digit(reach: float, usable: bool) -> None:
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
    assert len(boxes_of(np.hstack(rows))) == 6


def test_the_desk_around_a_sheet_is_no_digit() -> None:
    paper, boxes = written("2457", margin_px=150)
    height, width = paper.shape
    sheet = np.array([[60, 40], [width - 50, 60], [width - 70, height - 40], [40, height - 60]])
    desk = np.full_like(paper, 100)
    cv2.fillPoly(desk, [sheet], 255)
    assert boxes_of(np.minimum(paper, desk)) == [pytest.approx(box, abs=3) for box in boxes]


def test_pieces_whose_boxes_overlap_at_a_corner_are_one_digit() -> None:
    paper, boxes = written("77", gap=1.8)
    x, y = boxes[0][0] + 120, boxes[0][1]
    cv2.polylines(paper, [np.array([[x + 48, y], [x, y], [x, y + 48], [x + 20, y + 48]])], False, 0, 8)
    cv2.polylines(paper, [np.array([[x + 44, y + 32], [x + 68, y + 60], [x + 44, y + 104]])], False, 0, 8)
    assert len(boxes_of(paper)) == 3


def test_only_the_largest_of_very_many_pieces_are_looked_at() -> None:
    paper = np.full((640, 640), 255, np.uint8)
    paper[4::8, 4::8] = 0
    paper[200:400, 200:400] = drawn("5", 200, stroke_px=12)
    pieces = pieces_of(paper)
    assert pieces.count == 2001
    assert pieces.box(pieces.group_central_digit())[3] > 120


def test_a_neighbour_cut_by_the_rim_is_left_out() -> None:
    paper, _ = written("88", gap=0.4)
    assert len(boxes_of(paper[:, 90:])) == 1


def test_what_is_cut_out_holds_its_own_ink_alone() -> None:
    paper, _ = written("11", gap=0.1)
    pieces = pieces_of(paper)
    first, second = pieces.group_digits()
    alone = pieces.crop_ink(first)
    x, y, width, height = pieces.box(first)
    assert alone.shape == (height + 2, width + 2)
    rest = pieces.ink.copy()
    rest[y - 1 : y + height + 1, x - 1 : x + width + 1] -= alone
    assert rest[:, : x + width - 12].max() < 0.3
    x2, y2, width2, height2 = pieces.box(second)
    assert np.array_equal(rest[y2:, x2 + 12 :], pieces.ink[y2:, x2 + 12 :])


def test_a_page_full_of_digits_is_found_in_full() -> None:
    row, _ = written("3" * 25, 12, gap=0.8, stroke_px=2, margin_px=4)
    assert len(boxes_of(np.vstack([row] * 25))) == 625


def test_pieces_of_torn_digits_are_joined_all_over_a_page() -> None:
    paper, boxes = written("0" * 12, gap=0.6, stroke_px=8)
    for x, y, width, height in boxes[::3]:
        paper[y + height // 2, x : x + width] = 255
        paper[y : y + height, x + width // 2][:20] = 255
    found = boxes_of(np.vstack([paper, paper]))
    assert len(found) == 24
    assert all(abs(box[3] - boxes[0][3]) <= 2 for box in found)
