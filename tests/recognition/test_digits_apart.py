"""Numbers whose digits stand apart are found, cropped, and read by classifiers of single digits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.errors import PictureError
from digitcli.imaging.digits import digit_from_grey
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import BLANK
from digitcli.recognition.digits_apart import (
    PageLayout,
    Region,
    central_digit,
    decide_digits,
    decide_faint_page,
    find_numbers,
    recognize_digits,
)
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Nothing, Number
from tests.support.pictures import cut_tight, distance, drawn, grey_of, written
from tests.support.readings import number_of

Box = tuple[int, int, int, int]


def layout_of(paper: np.ndarray) -> PageLayout:
    return find_numbers(grey_of(paper))


def boxes_of(paper: np.ndarray) -> list[Box]:
    return all_boxes(layout_of(paper))


def all_boxes(layout: PageLayout) -> list[Box]:
    return [box for region in layout.regions for box in region.boxes]


def digit_crops_of(layout: PageLayout) -> np.ndarray:
    """Return the two crops of each digit, (N, 2, 28, 28)."""
    return np.concatenate([region.crops for region in layout.regions])


def counts_of(paper: np.ndarray) -> list[int]:
    return [len(region.boxes) for region in layout_of(paper).regions]


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
        (region,) = layout.regions
        assert near(list(region.boxes), [tuple(cv2.boundingRect(255 - paper))]) and not region.is_cut_off
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
        assert counts_of(strip) == [1, 1]
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
        assert near(all_boxes(layout), boxes, 3 * scale)


def test_writing_is_searched_in_as_many_pixels_as_it_needs() -> None:
    row, boxes = written("402917", 30, stroke_px=4, margin_px=10)
    paper = np.full((2000, 3000), 255, np.uint8)
    paper[900 : 900 + row.shape[0], 1300 : 1300 + row.shape[1]] = row
    layout = layout_of(paper)
    assert max(layout.ink.shape) > 640
    expected = [(x + 1300, y + 900, w, h) for x, y, w, h in boxes]
    assert near(all_boxes(layout), expected, 5)
    for crops, digit in zip(digit_crops_of(layout), "402917", strict=True):
        assert distance(crops[0], digit_from_grey(drawn(digit, 45, stroke_px=4))) < 20
    paper, boxes = written("46", 1000, stroke_px=80, margin_px=500)
    assert max(layout_of(paper).ink.shape) == 640
    assert near(boxes_of(paper), boxes, 2 + 2 * max(paper.shape) / 640)


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
    for page, digits, is_cut_off in (
        (paper, 2, False), (paper[:, : paper.shape[1] - 90], 1, False), (drawn("3")[:, 45:], 1, True)
    ):  # fmt: skip
        (region,) = layout_of(page).regions
        assert (len(region.boxes), region.is_cut_off) == (digits, is_cut_off)
    paper, _ = written("5234", gap=0.3)
    framed, shaded, below = paper.copy(), paper.copy(), np.pad(paper, ((0, 90), (0, 0)), constant_values=255)
    framed[40:180, -4:] = 0
    shaded[:, -30:] = 60
    below[-80:, 100:160] = cut_tight("8", 120)[:80, :60]
    for page in (framed, shaded, below):
        region = layout_of(page).regions[0]
        assert not region.runs_out and len(region.boxes) == 4


def test_a_number_whose_last_digit_is_at_the_edge_runs_out() -> None:
    for share in [0.95, 0.6]:
        for text, is_last in (("52348", True), ("82345", False)):
            paper, boxes = written(text, gap=0.3)
            x, _, width, _ = boxes[-1 if is_last else 0]
            ends = (0, x + round(share * width)) if is_last else (x + round((1 - share) * width), None)
            for page, digits in ((paper, 5), (paper[:, slice(*ends)], 4)):
                (region,) = layout_of(page).regions
                assert (len(region.boxes), region.runs_out) == (digits, digits == 4)


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
            for region in layout.regions:
                assert region.crops.shape == (len(region.boxes), 2, 28, 28)
                for x, y, width, height in region.boxes:
                    assert min(x, y) >= 0 and min(width, height) >= 1
                    assert x + width <= shape[1] and y + height <= shape[0]


def test_two_numbers_at_a_bar_are_a_fraction_and_no_number(cnn_reader: Reader) -> None:
    for upper, lower in (("4", "2"), ("7", "5")):
        (above, _), (below, _) = written(upper, margin_px=30), written(lower, margin_px=30)
        width = max(above.shape[1], below.shape[1]) + 60
        above, below = (
            np.pad(each, ((0, 0), (30, width - 30 - each.shape[1])), constant_values=255)
            for each in (above, below)
        )
        bar = np.pad(np.zeros((8, width - 60), np.uint8), ((0, 0), (30, 30)), constant_values=255)
        reading = cnn_reader.read(np.vstack([above, bar, below]))
        assert (reading.reason, reading.text, reading.numbers) == ("not_a_digit", "", ())
        assert reading.confidence == 0.5
        assert cnn_reader.read(np.vstack([above, below])).text == f"{upper} {lower}"


def region(digits: int = 1, **facts: bool) -> Region:
    boxes = tuple((10 + 60 * number, 20, 40, 70) for number in range(digits))
    return Region(boxes, np.zeros((digits, 2, 28, 28), np.uint8), **facts)


def read(
    digits: np.ndarray,
    *,
    place: Region | None = None,
    can_reject: bool = False,
    top_k: int = 3,
    **constraints: str | bool,
) -> Number | Nothing:
    """Recognize a region of whose digits a classifier gives these probabilities."""
    given = parse_constraints(**constraints)  # type: ignore[arg-type]
    return recognize_digits(place or region(len(digits)), digits, can_reject, given, top_k)


def number(digits: np.ndarray, **settings: object) -> Number:
    read_there = read(digits, **settings)  # type: ignore[arg-type]
    assert isinstance(read_there, Number)
    return read_there


def probabilities(**by_digit: float) -> np.ndarray:
    return np.array([[by_digit.get(f"d{digit}", 0.0) for digit in range(10)]])


def even(share: float, digit: int = 7) -> np.ndarray:
    """Probabilities (1, 10) of a digit, mixed with even ones."""
    return (1 - share) * np.eye(10)[[digit]] + share / 10


def test_digits_alone_are_the_product_of_their_probabilities_and_the_next_likely_are_alternatives() -> None:
    rows = np.vstack([probabilities(d3=0.9, d5=0.1), probabilities(d0=0.8, d6=0.2)])
    read = number(rows, top_k=10)
    assert tuple(digit.box for digit in read.digits) == region(2).boxes
    assert (read.text, read.raw, read.confidence) == ("30", "30", pytest.approx(0.72, abs=0.001))
    assert [digit.confidence for digit in read.digits] == pytest.approx([0.9, 0.8])
    assert len(read.digits[0].alternatives) == 9
    assert read.digits[0].alternatives[0] == ("5", pytest.approx(0.1))
    assert [text for text, _ in read.alternatives[:3]] == ["36", "50", "56"]
    assert read.alternatives[0][1] == pytest.approx(0.18, abs=0.001)
    assert [text for text, _ in number(rows, top_k=2).alternatives] == ["36"]


def test_networks_that_reject_make_a_lone_digit_less_likely_and_no_other() -> None:
    assert number(even(0.2), can_reject=True).confidence == pytest.approx(0.8 * 0.82)
    assert number(even(0.2)).confidence == pytest.approx(0.82)
    assert read(even(0.9), can_reject=True) == Nothing(pytest.approx(0.9))
    assert isinstance(read(even(0.9)), Number)
    both = np.concatenate([even(0.9, 1), even(0.9, 5)])
    rejecting, plain = number(both, can_reject=True), number(both)
    assert rejecting.text == plain.text == "15" and rejecting.confidence == plain.confidence
    limited = number(even(0.4), can_reject=True, values="0-9")
    assert limited.text == "7" and 0.5 < limited.confidence < 1


def test_constraints_are_met_broken_or_doubted_by_what_is_likely() -> None:
    rows = np.vstack([probabilities(d1=0.6, d7=0.4), probabilities(d8=0.9, d9=0.1)])
    for digits, constraints, text, reason, is_changed in (
        (rows, {}, "18", None, False),
        (rows, {"check_digit": "luhn"}, "18", None, False),
        (rows, {"values": "70-99"}, "78", None, True),
        (np.eye(10)[[1, 8]], {"length": "5"}, "18", "constraint", False),
        (probabilities(d1=0.93, d7=0.06), {"values": "7"}, "7", None, True),
        (probabilities(d1=0.98, d7=0.01), {"values": "7"}, "1", "constraint", False),
    ):
        read = number(digits, **constraints)
        assert (read.text, read.reason, read.is_changed) == (text, reason, is_changed)
        assert (read.status == "read") == (reason is None) and (read.doubt == "constraint") == is_changed
    likelier = number(rows, values="70-99").confidence
    assert likelier == pytest.approx(0.36 / (0.4 + 0.05 * 0.6), abs=0.01)
    assert number(probabilities(d1=0.93, d7=0.06), values="7").confidence < 0.6


def test_the_edge_is_a_reason_before_constraints() -> None:
    both = np.eye(10)[[3, 4]]
    for runs_out, constraints, reason in (
        (True, {"length": "3"}, "cut_off"), (False, {"length": "3"}, "constraint"), (False, {}, None)
    ):  # fmt: skip
        assert number(both, place=region(2, runs_out=runs_out), **constraints).reason == reason


def test_the_doubt_of_a_number_is_the_edge_or_another_text_that_is_as_likely() -> None:
    assert number(probabilities(d1=0.4, d7=0.3), place=region(is_cut_off=True)).doubt == "cut_off"
    for second, doubt in ((0.42, "two_candidates"), (0.05, "low_confidence")):
        assert number(probabilities(d1=0.45, d7=second)).doubt == doubt


def test_a_page_is_its_numbers_blank_or_no_digits_and_as_sure_as_all_of_its_regions() -> None:
    for places, length, status, reason, text, confidence in (
        ([], None, "blank", "blank", "", 0.9),
        ([Nothing(0.95)], None, "refused", "not_a_digit", "", 0.95),
        ([number_of("12", 0.9), Nothing(0.8)], None, "read", None, "12", 0.72),
        ([number_of("1", 0.3), number_of("7", 0.3)], None, "refused", "not_a_digit", "", 0.5),  # a photograph
        ([number_of("1", 0.3), number_of("7", 0.3)], "1", "read", None, "1 7", 0.09),
    ):
        reading = decide_digits(places, parse_constraints(length=length))
        assert (reading.status, reading.reason, reading.text) == (status, reason, text)
        assert reading.confidence == pytest.approx(confidence)


def test_faint_marks_are_blank_or_need_a_person() -> None:
    likely, unlikely = (decide_digits([number_of("12", confidence)], None) for confidence in (0.6, 0.4))
    faint = decide_faint_page(likely, can_reject=True)
    assert faint.reason == faint.refuse_below(0.99).reason == "too_faint"
    assert (
        decide_faint_page(likely, can_reject=False) == decide_faint_page(unlikely, can_reject=True) == BLANK
    )


def test_the_digit_is_the_crop_that_predict_shows_the_network() -> None:
    reader = Reader("fast", device="cpu")
    for text, place in (("4", 0), ("427", 1), ("40713", 2)):
        paper = written(text, gap=0.2)[0]
        digit = central_digit(grey_of(paper), "number.png")
        (number,) = reader.read(paper).numbers
        assert digit.count == len(number.digits) == len(text) and not digit.may_touch
        assert np.array_equal(digit.image, number.digits[place].image)
    paper = written("427", gap=0.2)[0]
    wide = np.pad(paper, ((0, 0), (0, 250)), constant_values=255)  # the middle is that of the writing
    digit, moved = (central_digit(grey_of(each), "number.png") for each in (paper, wide))
    assert np.array_equal(digit.image, moved.image)


def test_digits_that_touch_and_paper_without_ink_are_refused() -> None:
    with pytest.raises(PictureError, match=r"The digits of 555\.png touch") as caught:
        central_digit(grey_of(written("555", gap=-0.02)[0]), "555.png")
    assert "digitcli explain reader 555.png" in caught.value.remedy
    assert not central_digit(grey_of(drawn("0")), "0.png").may_touch
    wide = cv2.resize(drawn("0"), None, fx=2.4, fy=1)
    assert central_digit(grey_of(wide), "0.png").may_touch  # it may be two
    with pytest.raises(PictureError, match=r"Nothing is written in white\.png"):
        central_digit(np.ones((90, 90), np.float32), "white.png")
