"""Lines are cut out of pages as strips, read by networks, and divided at the same places in all strips."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from digitcli.errors import PictureError
from digitcli.imaging.network_inputs import LineBox, Strip, cut_whole
from digitcli.inference.line_finding import FoundLine
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.confidence import features
from digitcli.recognition.line_reading import (
    MAX_LENGTH,
    Answer,
    Line,
    as_levels,
    line_cutter,
    longest_line,
    read_lines,
    reading_order,
    strips_of,
)
from digitcli.recognition.reader import Reader
from digitcli.strip_format import ALPHABET, OTHER, STRIP_HEIGHT_PX
from tests.support.lines import STRIP, answer, line_of, spelt
from tests.support.networks import FakeReader, line_output, page_of_bars
from tests.support.pictures import grey_of, written


def found(x: float, y: float, length: float, height: float, angle: float = 0.0) -> FoundLine:
    return FoundLine(LineBox(x, y, length, height, angle), 0.9, 0.0, 30)


def written_line() -> tuple[np.ndarray, FoundLine]:
    """Draw a line of digits, and return it with its place."""
    page, boxes = written("3058", 50, stroke_px=5)
    left, top, right = boxes[0][0], boxes[0][1], boxes[-1][0] + boxes[-1][2]
    height = max(box[3] for box in boxes)
    return page, found((left + right) / 2, top + height / 2, right - left, height)


def inked(strip: Strip) -> tuple[int, int, int, int]:
    """Return the first column and row with ink of a strip, and the columns and rows after the last."""
    rows, columns = (np.flatnonzero((strip.image[0] < 64).any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_each_line_has_two_strips_that_lead_back_to_its_place() -> None:
    page, line = written_line()
    (strips,) = strips_of(page, [(0, line)])
    for strip in strips:
        assert strip.image.dtype == np.uint8 and strip.image.shape[:2] == (3, STRIP_HEIGHT_PX)
        x, y, width, height = strip.box_on_picture(*inked(strip))
        assert (x + width / 2, y + height / 2) == pytest.approx((line.box.x, line.box.y), abs=3)
        assert (width, height) == pytest.approx((line.box.length, line.box.height), abs=5)
        for column in (0, 3, 17):
            on_page = spelt("3058", strip=strip).point_at(column)
            assert strip.column_at(on_page) == column
    first, second = (inked(strip)[3] - inked(strip)[1] for strip in strips)
    assert first > second > 15  # the second has a wider margin


def test_a_line_without_end_takes_little_memory_and_boxes_stay_on_the_page() -> None:
    (strips,) = strips_of(page_of_bars(shape=(4, 2000)), [(0, found(1000, 2, 2000, 4))])
    assert len(strips) == 2 and all(s.image.shape[2] <= MAX_LENGTH * STRIP_HEIGHT_PX for s in strips)
    (strips,) = strips_of(page_of_bars((0, 0, 60, 20)), [(0, found(20, 5, 80, 30))])
    for strip in strips:
        x, y, width, height = strip.box_on_picture(-10, -10, strip.image.shape[2] + 500, STRIP_HEIGHT_PX)
        assert (x, y) == (0, 0) and width <= 200 and height <= 120
    for to_page, page_size, box, expected in (
        ([[0.8, -0.6, 50], [0.6, 0.8, 10]], (200, 120), (0, 0, 10, 20), (38, 10, 20, 22)),
        ([[0.01, 0, 0], [0, 0.01, 0]], (9, 5), (10, 10, 10, 10), (0, 0, 1, 1)),
        ([[1.0, 0, 500], [0, 1, 500]], (9, 5), (0, 0, 10, 10), (8, 4, 1, 1)),
    ):
        assert Strip(STRIP.image, np.array(to_page), page_size).box_on_picture(*box) == expected


def test_lines_are_read_row_by_row_from_left_to_right() -> None:
    for angle in (0.0, 0.3, -0.3):
        cos, sin = math.cos(angle), math.sin(angle)
        places = [(x, y) for y in (30, 70, 110) for x in (50, 150, 250)]
        table = [found(x * cos - y * sin, x * sin + y * cos, 40, 20, angle) for x, y in places]
        shuffled = [table[index] for index in np.random.default_rng(0).permutation(9)]
        assert reading_order(shuffled) == [(index // 3, line) for index, line in enumerate(table)]
    assert reading_order([]) == []


@pytest.fixture(scope="module")
def paper() -> np.ndarray:
    return written("40713", 60)[0]


def test_a_network_sees_what_the_page_finder_finds_or_the_whole_picture(paper: np.ndarray) -> None:
    (strip,) = line_cutter("reader", "cpu")(grey_of(paper))
    (number,) = Reader("finder", "reader", device="cpu").read(paper).numbers
    assert strip.shape[:2] == (3, 40) and number.line is not None and np.array_equal(strip[0], number.line)
    (whole,) = line_cutter("glance")(grey_of(paper))
    assert np.array_equal(whole, cut_whole(as_levels(grey_of(paper))).image)
    short = written("27", 60)[0]
    short = np.pad(short, ((0, 0), (0, paper.shape[1] - short.shape[1])), constant_values=255)
    lines = line_cutter("reader")(grey_of(np.vstack([short, paper])))
    assert len(lines) == 2 and lines[0].shape[2] < lines[1].shape[2]
    assert longest_line(lines, "page.png") is lines[1]
    assert line_cutter("reader")(np.ones((300, 300), np.float32)) == []
    with pytest.raises(PictureError, match=r"No number was found in page.png") as caught:
        longest_line([], "page.png")
    assert caught.value.reason == "blank"


def read_bars(*readers: FakeReader, count: int = 2) -> list[Line]:
    """Read bars of a page by these networks."""
    places = [(0, found(50 + 60 * index, 60, 40, 40)) for index in range(count)]
    return read_lines(page_of_bars(), places, cast(list[LineRecognizer], readers))


def test_networks_and_strips_are_asked_until_the_texts_are_certain() -> None:
    for likely, calls in ((0.999, ([2], [])), (0.9, ([2, 2], [2, 2]))):
        first, second = FakeReader("12", "3", likely=likely), FakeReader("45", "6", likely=likely)
        lines = read_bars(first, second)
        assert [line.raw for line in lines] == ["12", "3"] and (first.calls, second.calls) == calls
        assert [len(line.answers) for line in lines] == [sum(map(len, calls))] * 2
        widths = [[answer.strip.image.shape[2] for answer in line.answers] for line in lines]
        assert all(each[:1] * 2 == each[:2] and each[2:] == each[2:3] * 2 for each in widths if each[1:])
    reader = FakeReader("1", "2", likely=0.99)
    unsure = line_output({"7": 0.9})
    reader._outputs = [line_output({"1": 0.9999}), unsure, unsure]
    assert [len(line.answers) for line in read_bars(reader)] == [1, 2]
    for share, count in ((0.018, 1), (0.022, 2), (0.975, 2), (0.985, 1)):  # of a space: one number or two
        reader = FakeReader("1")
        reader._outputs = [line_output({"1": 1.0}, {" ": share}, {"2": 1.0})]
        assert len(read_bars(reader, count=1)[0].answers) == count
    assert read_bars(reader, count=0) == [] and len(reader.calls) == count


def test_a_second_strip_confirms_that_a_character_at_an_end_is_cut_off() -> None:
    for text, count in (("12□", 2), ("□12", 2), ("1□2", 1), ("12", 1)):
        (line,) = read_bars(FakeReader(text, "12"), count=1)
        assert [answer.raw for answer in line.answers] == [text, "12"][:count]


def test_a_gap_tells_how_likely_it_separates_numbers_if_no_digit_stands_there() -> None:
    for places, expected, characters, cut in (
        (({" ": 0.7},), (0.7, 0.0, 1.0), " ", 14),
        (
            ({" ": 0.4}, {" ": 0.45}),
            (0.67, 0.0, 1.0),
            "",
            23,
        ),  # behind the likeliest, or the last that is seen
        (({"+": 0.9}, {" ": 0.8}), (0.98, 0.9, 1.0), "+ ", 23),
        (({OTHER: 0.4, "7": 0.3, "1": 0.3},), (1.0, 1.0, 0.4), OTHER, 14),
        (({"+": 0.6, " ": 0.3},), (0.9, 0.6, 1.0), "+", 14),
        (({".": 0.9},), (0.0, 0.0, 1.0), ".", 6),
    ):
        (gap,) = answer({"2": 1.0}, *places, {"3": 1.0}).gaps
        assert gap[:3] == pytest.approx(expected, abs=0.01) and gap[3:] == (characters, cut)
    # The tails of digits beside a space, without blanks between them.
    tails = answer({"1": 1.0}, {"1": 0.45}, {" ": 1.0}, {"2": 0.45}, {"2": 1.0}).with_marks
    logits = tails[[4, 13, 22, 31, 40]]
    (gap,) = Answer.of(STRIP, replace(line_output(), logits=logits), ALPHABET, 1.0).gaps
    assert (gap.separator, gap.no_digit) == pytest.approx((1.0, 1.0), abs=0.01)


def test_the_mean_of_the_networks_that_know_spaces_and_see_as_many_digits_tells_of_a_gap() -> None:
    sure, unsure, plus = (
        answer({"1": 1.0}, each, {"2": 1.0}) for each in ({" ": 0.9}, {" ": 0.5}, {"+": 0.7})
    )
    more, no_space = spelt("1 2 3"), replace(spelt("12"), alphabet=ALPHABET.replace(" ", "?"))
    for answers, expected in (
        ((sure, unsure), (0.7, 0.0)),
        ((sure, plus), (0.8, 0.35)),
        ((sure, more, no_space), (0.9, 0.0)),
        ((no_space, unsure), (0.5, 0.0)),
        ((no_space,), (0.0, 0.0)),
    ):
        assert line_of(*answers).gap(0) == pytest.approx(expected, abs=0.01)


def test_all_strips_of_a_line_are_cut_at_the_same_places_of_the_page() -> None:
    # The second strip begins two columns further left, and the columns of the third are twice as wide.
    shifted = replace(STRIP, to_picture=np.array([[2.0, 0, -6], [0, 2.0, 20]]))
    coarser = replace(STRIP, to_picture=np.array([[4.0, 0, 10], [0, 4.0, 20]]))
    first = spelt("12 34")
    no_space = replace(spelt("12345", strip=shifted), alphabet=ALPHABET.replace(" ", "?"))
    line = line_of(first, no_space, spelt("12 3", strip=coarser), is_alone=True)
    parts = line.parts([False, True, False], [0.8, 0.6])
    bounds = [[(a.first_column, a.first_column + len(a.columns)) for a in part.answers] for part in parts]
    assert bounds == [[(0, 23), (0, 25), (0, 12)], [(23, 45), (25, 45), (12, 36)]]
    for behind in parts[1].answers:
        assert behind.point_at(0)[0] == pytest.approx(first.point_at(23)[0], abs=8)
        assert len(behind.columns) == len(behind.with_marks) and behind.distances is not None
        assert len(behind.distances) == len(behind.columns)
    assert [part.raw for part in parts] == ["12 ", "34"]
    assert [(part.is_first, part.is_last) for part in parts] == [(True, False), (False, True)]
    assert not any(part.is_alone for part in parts)
    assert [part.probability for part in parts] == pytest.approx([0.8, 0.6], abs=1e-5)
    (whole,) = line.parts([False] * 3, [0.9])
    assert whole == replace(line, probability=0.9) and whole.is_alone
    (again,) = parts[1].parts([False], [1.0])
    assert again.answers == parts[1].answers
    halves = parts[1].parts([True], [1.0, 1.0])
    assert [[len(a.columns) for a in part.answers] for part in halves] == [[10, 10, 4], [12, 10, 20]]
    doubtful = line_of(answer({"1": 1.0}, {OTHER: 0.4, "7": 0.3, "8": 0.3}, {"3": 1.0}))
    assert [part.probability for part in doubtful.parts([True], [1.0, 1.0])] == pytest.approx(
        [1, 0.4], abs=0.01
    )
    beyond = first.part(-5, 0), first.part(44, 99), first.part(60, 70)
    assert [(part.first_column, len(part.columns)) for part in beyond] == [(0, 1), (44, 1), (44, 1)]


def test_the_parts_of_a_line_have_their_own_length() -> None:
    whole, line = line_of(spelt("1234")), line_of(spelt("12 34"))
    parts = line.parts([False, True, False], [1.0, 1.0])
    assert whole.length == pytest.approx(380 / 60)
    assert [part.length for part in parts] == pytest.approx([23 * 8 / 60 - 0.4, 22 * 8 / 60 - 0.4])
    assert all(features(part, "12", 0.9, 0.0)["pitch"] < 1 for part in parts)
    middle = line_of(spelt("1 2 3")).parts([True, True], [1.0] * 3)[1]
    assert middle.length == pytest.approx(len(middle.reference.columns) * 8 / 60)


def test_the_texts_of_a_line_are_those_of_all_its_strips_with_their_mean_probabilities() -> None:
    line = line_of(answer({"1": 0.9, "7": 0.1}), answer({"1": 0.3, "7": 0.6}))
    assert line.hypotheses == pytest.approx({"1": 0.6, "7": 0.35, "": 0.05}, abs=1e-3)
