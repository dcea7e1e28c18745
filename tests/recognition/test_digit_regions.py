"""Numbers whose digits stand apart are found, and their digits cropped."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.imaging.digits import digit_from_grey
from digitcli.recognition.digit_regions import Component, PageLayout, crop_numbers, find_numbers
from tests.support.pictures import cut_tight, distance, drawn, grey_of, written

Box = tuple[int, int, int, int]

SIDE = 700


def layout_of(paper: np.ndarray) -> PageLayout:
    return find_numbers(grey_of(paper))


def components_of(layout: PageLayout) -> list[Component]:
    return [component for region in layout.regions for component in region.components]


def digit_crops_of(layout: PageLayout) -> np.ndarray:
    """Return the two crops of each digit, (N, 2, 28, 28)."""
    return np.concatenate([crops.digits for crops in crop_numbers(layout)])


def boxes_of(paper: np.ndarray) -> list[Box]:
    return [component.box for component in components_of(layout_of(paper))]


def counts_of(paper: np.ndarray) -> list[int]:
    return [len(region.components) for region in layout_of(paper).regions]


def near(boxes: list[Box], expected: list[Box], tolerance_px: float = 3) -> bool:
    return len(boxes) == len(expected) and bool(
        np.abs(np.array(boxes) - np.array(expected)).max() <= tolerance_px
    )


def stacked(*rows: tuple[np.ndarray, list[Box]]) -> tuple[np.ndarray, list[Box]]:
    """Put rows of digits below each other, aligned on the left."""
    width = max(paper.shape[1] for paper, _ in rows)
    papers, boxes, top = [], [], 0
    for paper, row in rows:
        papers.append(np.pad(paper, ((0, 0), (0, width - paper.shape[1])), constant_values=255))
        boxes += [(x, y + top, w, h) for x, y, w, h in row]
        top += paper.shape[0]
    return np.vstack(papers), boxes


def test_one_digit_is_boxed_and_looks_as_it_does_alone() -> None:
    for digit in "0123456789":
        paper = np.full((300, 400), 255, np.uint8)
        paper[90:210, 200:320] = drawn(digit)
        layout = layout_of(paper)
        (component,) = components_of(layout)
        x, y, width, height = cv2.boundingRect(255 - paper)
        assert near([component.box], [(x, y, width, height)])
        assert not component.is_cut_off
        (crops,) = digit_crops_of(layout)
        assert crops.shape == (2, 28, 28) and crops.dtype == np.uint8
        assert crops.max(axis=(1, 2)).tolist() == [255, 255]
        assert [int(np.ptp(np.nonzero(crop > 99)[0])) + 1 for crop in crops] == pytest.approx([20, 16], abs=1)
        assert distance(crops[0], digit_from_grey(drawn(digit))) < 4


def test_a_row_of_digits_is_one_number_from_left_to_right() -> None:
    for slope in [0.0, 0.15, -0.15]:
        for gap in [0.2, 0.4, 0.8]:
            paper, boxes = written("0123456789", gap=gap, slope=slope)
            assert counts_of(paper) == [10]
            assert near(boxes_of(paper), boxes, 3 + 2 * paper.shape[1] / 640)
            for crops, digit in zip(digit_crops_of(layout_of(paper)), "0123456789", strict=True):
                assert distance(crops[0], digit_from_grey(drawn(digit, 150))) < 25
    paper, boxes = written("3057")
    assert near(boxes_of(255 - paper), boxes)
    paper, _ = written("000", gap=0.3, margin_px=20)
    ones = np.full((paper.shape[0], 300), 255, np.uint8)
    ones[20:120, 60:68] = ones[20:120, 190:198] = 0
    assert counts_of(np.hstack([paper, ones])) == [5]


def test_lines_are_read_from_top_to_bottom() -> None:
    for slope in [0.0, 0.08]:
        paper, boxes = stacked(
            written("31", margin_px=40, slope=slope),
            written("2468", margin_px=40, slope=slope),
            written("905", margin_px=40, slope=slope),
        )
        assert counts_of(paper) == [2, 4, 3]
        assert near(boxes_of(paper), boxes)
    for digits in ["00", "44", "87"]:
        paper, _ = stacked(*(written(digit, 50, stroke_px=5, margin_px=10) for digit in digits))
        strip = np.pad(paper, ((0, 0), (100, 100)), constant_values=255)
        assert strip.shape[0] <= 160
        regions = find_numbers(grey_of(strip)).regions
        assert [len(region.components) for region in regions] == [1, 1]
    for digit in "0368":
        tall, boxes = written("4" + digit + "7", 100, gap=0.4)
        x, y, width, height = boxes[1]
        low = cv2.resize(cut_tight(digit), (width, 60), interpolation=cv2.INTER_AREA)
        tall[y : y + height, x : x + width] = 255
        tall[y : y + 60, x : x + width] = low
        assert counts_of(tall) == [3]


def test_even_spacing_is_one_number_and_wide_gaps_part_numbers() -> None:
    assert counts_of(written("52608", gap=1.4)[0]) == [5]
    left, left_boxes = written("17", gap=0.3)
    right, right_boxes = written("462", gap=0.3)
    paper = np.hstack([left, np.full((left.shape[0], 100), 255, np.uint8), right])
    moved = [(x + left.shape[1] + 100, y, w, h) for x, y, w, h in right_boxes]
    assert counts_of(paper) == [2, 3]
    assert near(boxes_of(paper), left_boxes + moved)
    for gaps, counts in [([3], [1, 1]), ([5, 6], [1, 1, 1]), ([3, 0.3], [1, 2])]:
        digits = [cut_tight(digit) for digit in "528"]
        parts = [digits[0]]
        for gap, digit in zip(gaps, digits[1:], strict=False):
            parts += [np.full((1, round(gap * 100)), 255, np.uint8), digit]
        row = np.hstack([np.pad(part, ((0, 120 - len(part)), (0, 0)), constant_values=255) for part in parts])
        assert counts_of(np.pad(row, 60, constant_values=255)) == counts


def test_blank_paper_and_noise_hold_no_numbers() -> None:
    for level in [0, 128, 255]:
        layout = layout_of(np.full((200, 300), level, np.uint8))
        assert layout.regions == () and layout.ink.max() == 0
    noise = np.random.default_rng(0).normal(200, 6, (400, 500)).clip(0, 255).astype(np.uint8)
    assert counts_of(noise) == []


def test_marks_too_faint_to_be_ink_are_found_and_called_faint() -> None:
    for scale in [1, 4]:
        paper, boxes = written("46", 100 * scale, stroke_px=10 * scale)
        assert not layout_of(paper).is_faint
        noise = np.random.default_rng(0).normal(0, 1.5, paper.shape)
        layout = layout_of((230 + noise - 10 * (255.0 - paper) / 255).round().astype(np.uint8))
        assert layout.is_faint
        assert near([component.box for component in components_of(layout)], boxes, 3 * scale)


def test_writing_is_searched_in_as_many_pixels_as_it_needs() -> None:
    row, boxes = written("402917", 30, stroke_px=4, margin_px=10)
    paper = np.full((2000, 3000), 255, np.uint8)
    paper[900 : 900 + row.shape[0], 1300 : 1300 + row.shape[1]] = row
    layout = layout_of(paper)
    assert max(layout.ink.shape) > 640
    expected = [(x + 1300, y + 900, w, h) for x, y, w, h in boxes]
    assert near([component.box for component in components_of(layout)], expected, 5)
    for crops, digit in zip(digit_crops_of(layout), "402917", strict=True):
        assert distance(crops[0], digit_from_grey(drawn(digit, 45, stroke_px=4))) < 20
    paper, boxes = written("46", 1000, stroke_px=80, margin_px=500)
    assert max(layout_of(paper).ink.shape) == 640
    assert near(boxes_of(paper), boxes, 2 + 2 * max(paper.shape) / 640)


def test_a_digit_filling_the_frame() -> None:
    for digit in "0123456789":
        tight = cut_tight(digit)
        assert near(boxes_of(tight), [(0, 0, tight.shape[1], tight.shape[0])])
        (crops,) = digit_crops_of(layout_of(tight))
        assert distance(crops[0], digit_from_grey(drawn(digit, 150))) < 12


def test_boxes_are_whole_pixels_within_the_picture() -> None:
    paper = np.full((480, 960), 255, np.uint8)
    paper[152:272, 452:468] = 0  # from 101.3 and 301.3 to 181.3 and 312 where it is looked at
    assert boxes_of(paper) == [(452, 152, 16, 121)]
    for width in [641, 703, 858, 1001, 1279]:
        crop = cut_tight("8", 300, stroke_px=30)
        paper = np.full((width * 2 // 3, width), 255, np.uint8)
        paper[-crop.shape[0] :, -crop.shape[1] :] = crop
        ((x, y, w, h),) = boxes_of(paper)
        assert width - 2 <= x + w <= width and paper.shape[0] - 2 <= y + h <= paper.shape[0]


def test_ink_that_runs_out_of_the_picture_is_cut_off() -> None:
    paper, _ = written("38", gap=0.4, margin_px=60)
    cut = paper[:, : paper.shape[1] - 90]
    assert [component.is_cut_off for component in components_of(layout_of(paper))] == [False, False]
    (component,) = components_of(layout_of(drawn("3")[:, 45:]))
    assert component.is_cut_off
    assert not any(component.is_cut_off for component in components_of(layout_of(cut)))
    paper, _ = written("5234", gap=0.3)
    framed, shaded, below = paper.copy(), paper.copy(), np.pad(paper, ((0, 90), (0, 0)), constant_values=255)
    framed[40:180, -4:] = 0
    shaded[:, -30:] = 60
    below[-80:, 100:160] = cut_tight("8", 120)[:80, :60]
    for page in (framed, shaded, below):
        assert not layout_of(page).regions[0].runs_out
        assert len(layout_of(page).regions[0].components) == 4


def test_a_number_whose_last_digit_is_at_the_edge_runs_out() -> None:
    for share in [0.95, 0.6]:
        for side in [1, -1]:
            paper, boxes = written("52348" if side > 0 else "82345", gap=0.3)
            x, _, width, _ = boxes[-1] if side > 0 else boxes[0]
            cut = (
                paper[:, : x + round(share * width)]
                if side > 0
                else paper[:, x + round((1 - share) * width) :]
            )
            (region,) = layout_of(cut).regions
            assert region.runs_out and len(region.components) == 4
            (whole,) = layout_of(paper).regions
            assert not whole.runs_out and len(whole.components) == 5


def _specked(paper: np.ndarray) -> None:
    for x, y in ((20, 20), (250, 30), (150, 190), (330, 200)):
        cv2.circle(paper, (x, y), 2, 0, -1)


def _with_a_comma(paper: np.ndarray) -> None:
    cv2.line(paper, (168, 160), (162, 180), 0, 8)


def _with_a_dash(paper: np.ndarray) -> None:
    cv2.line(paper, (455, 110), (495, 110), 0, 8)


def test_marks_that_are_no_digits_are_left_out() -> None:
    for spoil in [_specked, _with_a_comma, _with_a_dash]:
        paper, boxes = written("264", gap=0.7)
        paper = np.pad(paper, ((0, 0), (0, 100)), constant_values=255)
        spoil(paper)
        assert near(boxes_of(paper), boxes)


def test_a_broken_stroke_stays_one_digit() -> None:
    for digit in "0235679":
        paper, boxes = written(digit)
        _, y, _, height = boxes[0]
        paper[y + height // 3 :][:3] = 255
        assert near(boxes_of(paper), boxes)
    paper, boxes = written("3205", gap=0.4)
    x, y, width, height = boxes[2]
    paper[y + height // 3 :, x : x + width][:3] = 255
    assert near(boxes_of(paper), boxes)


def _cells(text: str, side_px: int = 100, thick_px: int = 3) -> tuple[np.ndarray, list[Box]]:
    """Draw a row of joined cells with a digit in the middle of each; return the box of each digit too."""
    paper = np.full((side_px + 60, side_px * len(text) + 60), 255, np.uint8)
    boxes = []
    for index, digit in enumerate(text):
        left = 30 + index * side_px
        crop = cut_tight(digit, round(side_px * 0.55), stroke_px=7)
        height, width = crop.shape
        x, y = left + (side_px - width) // 2, 30 + (side_px - height) // 2
        paper[y : y + height, x : x + width] = crop
        cv2.rectangle(paper, (left, 30), (left + side_px, 30 + side_px), 0, thick_px)
        boxes.append((x, y, width, height))
    return paper, boxes


def test_digits_in_the_cells_of_a_form_are_found_without_the_frames() -> None:
    for thick_px in [1, 3, 5]:
        for text in ["7", "38", "205", "901364"]:
            paper, boxes = _cells(text, thick_px=thick_px)
            assert near(boxes_of(paper), boxes)
    paper, ((x, y, width, height),) = _cells("5")
    cell = paper[30:131, 30:131]
    assert near(boxes_of(cell), [(x - 30, y - 30, width, height)])


def _ruled(paper: np.ndarray, level: int) -> np.ndarray:
    paper = paper.copy()
    for row in range(25, paper.shape[0], 40):
        paper[row : row + 2] = np.minimum(paper[row : row + 2], level)
    return paper


def _squared(paper: np.ndarray, level: int) -> np.ndarray:
    return np.ascontiguousarray(_ruled(_ruled(paper, level).T, level).T)


def _dotted(paper: np.ndarray, level: int) -> np.ndarray:
    paper = paper.copy()
    for y in range(12, paper.shape[0], 28):
        for x in range(12, paper.shape[1], 28):
            cv2.circle(paper, (x, y), 1, level, -1)
    return paper


PRINTED = [(_ruled, 120), (_ruled, 190), (_squared, 190), (_squared, 220), (_dotted, 120), (_dotted, 190)]


def test_digits_on_printed_paper_are_read_and_the_paper_alone_is_blank() -> None:
    for printed, level in PRINTED:
        paper, boxes = written("206935")
        assert near(boxes_of(printed(paper, level)), boxes, 4)
    for printed in [_ruled, _squared, _dotted]:
        for level in [60, 120, 190, 220]:
            assert boxes_of(printed(np.full((400, 600), 255, np.uint8), level)) == []


def test_pictures_of_any_shape_can_be_searched() -> None:
    for shape in [(1, 1), (2, 2), (1, 20_000), (20_000, 1), (3, 5000), (28, 28)]:
        for level in (0.0, 0.5, 1.0):
            assert find_numbers(np.full(shape, level, np.float32)).regions == ()
        noise = np.random.default_rng(0).random(shape, np.float32)
        halves = np.zeros(shape, np.float32)
        halves[: shape[0] // 2, : shape[1] // 2 + 1] = 1
        for grey in (noise, halves):
            layout = find_numbers(grey)
            assert np.isfinite(layout.ink).all() and layout.ink.min() >= 0 and layout.ink.max() <= 1
            for component in components_of(layout):
                x, y, width, height = component.box
                assert min(x, y) >= 0 and min(width, height) >= 1
                assert x + width <= shape[1] and y + height <= shape[0]
            for crops in crop_numbers(layout):
                assert crops.digits.shape == (len(crops.region.components), 2, 28, 28)


def sheet(*marks: tuple[str, int, int]) -> np.ndarray:
    """Draw numbers on white paper, each by its text, x and y; "-120" is a bar 120 pixels long."""
    paper = np.full((SIDE, SIDE), 255, np.uint8)
    for text, x, y in marks:
        if text[0] == "-":
            cv2.line(paper, (x, y), (x + int(text[1:]), y + 3), 0, 8)
            continue
        for digit in text:
            crop = cut_tight(digit)
            paper[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
            x += crop.shape[1] + 20
    return paper


def in_fraction(paper: np.ndarray) -> list[bool]:
    return [region.is_in_fraction for region in find_numbers(grey_of(paper)).regions]


def test_numbers_above_and_below_a_bar_are_a_fraction() -> None:
    for upper, lower in [("1", "2"), ("3", "16"), ("15", "16")]:
        for gap in [18, 30, 60]:
            wide = max(len(upper), len(lower))
            marks = ((upper, 300, 150), (f"-{90 * wide}", 285, 255 + gap), (lower, 300, 262 + 2 * gap))
            assert in_fraction(sheet(*marks)) == [True, True]
    for kind in NO_FRACTIONS:
        assert not any(in_fraction(sheet(*NO_FRACTIONS[kind])))


NO_FRACTIONS = {
    "two lines": (("12", 300, 150), ("34", 300, 300)),
    "a long rule": (("12", 300, 150), ("-600", 50, 280), ("34", 300, 320)),
    "a sum": (("12", 300, 50), ("34", 300, 200), ("-200", 280, 330), ("46", 300, 370)),
    "longer numbers": (("1234", 150, 150), ("-350", 140, 280), ("5678", 150, 310)),
    "underlined, and another below": (("12", 300, 100), ("-180", 290, 220), ("34", 300, 500)),
    "a bar beside": (("12", 300, 150), ("-100", 500, 280), ("34", 300, 310)),
}
