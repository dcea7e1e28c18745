"""Numbers that stand apart in a row are one number in groups, if only that meets the constraints."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.line_crops import LineCrop, RegionCrops
from digitcli.recognition.line_evidence import LineEvidence
from digitcli.recognition.recognize import WIDEST_GAP, ReadLine, join_groups, line_around, recognize_region
from digitcli.recognition.region_evidence import RegionEvidence
from tests.support.networks import ALPHABET, line_output

CROP = LineCrop(np.zeros((3, 40, 200), np.uint8), np.eye(2, 3), (900, 200))
HEIGHT_PX = 20.0


def shown(text: str) -> LineEvidence:
    """Return the answer to a strip with a text."""
    output = line_output(*({character: 0.999} for character in text))
    return LineEvidence.of(CROP, output, ALPHABET, 1.0)


def line(text: str, x: float, *, row: int = 0) -> RegionEvidence:
    """Return a line of 20 pixels with a text, whose left end is at x."""
    length = HEIGHT_PX * len(text)
    box = LineBox(x + length / 2, 50, length, HEIGHT_PX, 0.0)
    crops = RegionCrops(row, FoundLine(box, 0.9, 0.0, 20), (CROP,))
    return RegionEvidence(crops, (shown(text),))


def row_of(*texts: str, gap: float = 1.0) -> list[RegionEvidence]:
    """Return lines of a row with these texts, and a gap between them in heights of a digit."""
    lines: list[RegionEvidence] = []
    x = 0.0
    for text in texts:
        lines.append(line(text, x))
        x += HEIGHT_PX * (len(text) + gap)
    return lines


def texts_after_joining(
    lines: Sequence[RegionEvidence], misread: str | None = None, **constraints: str
) -> list[str]:
    """Return the numbers that are read in lines with constraints; together they may be misread."""
    given = parse_constraints(**constraints)  # type: ignore[arg-type]
    assert given is not None
    read: list[ReadLine] = [(each, recognize_region(each, given, 2)) for each in lines]

    def read_as_one(group: Sequence[RegionEvidence]) -> RegionEvidence:
        around = line_around([each.crops.line for each in group])
        text = misread or " ".join(each.lines[0].raw for each in group)
        return RegionEvidence(RegionCrops(0, around, (CROP,)), (shown(text),))

    joined = join_groups(read, given, 2, read_as_one)
    boxes = [(region.crops.row, region.crops.line.box) for region, _ in joined]
    starts = [(row, box.x - box.length / 2) for row, box in boxes]
    assert starts == sorted(starts)  # in reading order
    return [result.number.text for _, results in joined for result in results if result.number]


@pytest.mark.parametrize(
    ("texts", "constraints", "joined"),
    [
        (["4539", "5787", "6362", "1486"], {"length": "16", "check_digit": "luhn"}, ["4539578763621486"]),
        (["4539", "5787", "6362", "1487"], {"length": "16", "check_digit": "luhn"}, None),
        (["4", "8", "2", "1"], {"length": "4"}, ["4821"]),
        (["4", "8", "2", "1"], {"length": "2"}, ["48", "21"]),
        (["4", "8", "2", "1"], {"length": "3"}, None),  # a digit is left over
        (["4", "8", "2", "1", "7"], {"length": "2-3"}, None),  # 48 217 or 482 17
        (["1", "3456"], {"length": "4-5"}, None),  # a row label and its number
        (["1", "7", "8", "12"], {"values": "100-9999"}, None),  # cells of a table
        (["12", "345"], {"pattern": r"\d{5}"}, None),
        (["12", "345"], {"length": "4-6"}, None),
        (["4539", "1488"], {"check_digit": "luhn"}, None),  # one of ten pairs is valid
        (["123", "456"], {"length": "6", "values": "100000-200000"}, ["123456"]),
        (["12+", "345"], {"length": "5"}, None),
    ],
)
def test_neighbours_are_joined_if_that_is_the_only_way_to_meet_the_constraints(
    texts: list[str], constraints: dict[str, str], joined: list[str] | None
) -> None:
    apart = ["".join(character for character in text if character.isdecimal()) for text in texts]
    assert texts_after_joining(row_of(*texts), **constraints) == (joined or apart)


def test_only_neighbours_of_a_row_are_joined() -> None:
    assert texts_after_joining(row_of("12", "345", gap=WIDEST_GAP + 0.1), length="5") == ["12", "345"]
    assert texts_after_joining([line("12", 0), line("345", 60, row=1)], length="5") == ["12", "345"]


def test_only_combs_are_joined_on_a_page_of_several_rows() -> None:
    other = line("8", 0, row=1)
    assert texts_after_joining([*row_of("1", "34"), other], length="3") == ["1", "34", "8"]
    assert texts_after_joining([*row_of("1", "7"), other], length="2") == ["1", "7", "8"]
    assert texts_after_joining([*row_of("4", "8", "2"), other], length="3") == ["482", "8"]
    marks_and_sum = row_of("1", "8", "6", "559")  # a row label, two marks and their sum
    assert texts_after_joining([*marks_and_sum, other], length="3") == ["1", "8", "6", "559", "8"]


def test_other_writing_separates_groups_and_a_place_where_nothing_stands_does_not() -> None:
    before, behind = row_of("12", "345", gap=1.5)
    assert texts_after_joining([before, line("□", 40), behind], length="5") == ["12", "345"]
    assert texts_after_joining([before, line(" ", 40), behind], length="5") == ["12345"]


def test_a_line_around_others_covers_them_along_their_slope() -> None:
    angle = 0.1
    boxes = [LineBox(x * math.cos(angle), x * math.sin(angle), 40, 20, angle) for x in (100, 200)]
    around = line_around(
        [FoundLine(box, score, 0.1, 20) for box, score in zip(boxes, (0.9, 0.7), strict=True)]
    )
    assert around.score == 0.7
    assert (around.box.length, around.box.height) == pytest.approx((140, 20), abs=0.01)
    assert around.box.x == pytest.approx(150 * math.cos(angle), abs=0.01)


def test_lines_in_which_other_digits_are_read_together_stay_apart() -> None:
    assert texts_after_joining(row_of("12", "345"), misread="12845", length="5") == ["12", "345"]


@pytest.mark.parametrize("texts", [("□□□", "4", "8", "2"), ("4", "8", "2", "□")])
def test_a_word_beside_boxes_does_not_keep_their_digits_apart(texts: Sequence[str]) -> None:
    other_row = line("8", 0, row=1)
    assert texts_after_joining([*row_of(*texts), other_row], length="3") == ["482", "8"]
