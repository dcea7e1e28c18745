"""Which digits of a page form one number: by the spaces, by a network, and by the constraints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from digitcli.gap_format import VALUES
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition import grouping
from digitcli.recognition.confidence import Weights
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.grouping import (
    WIDEST_GROUP_GAP,
    Split,
    SplitGaps,
    group_digits,
    likeliest_split,
)
from digitcli.recognition.line_reading import Line
from digitcli.recognition.numbers import CONSTRAINT_DOUBT, recognize
from digitcli.recognition.readings import Number
from tests.support.lines import GREY, HEIGHT_PX, constraints_of, shown, spelt, strip_at


def row_of(*texts: str, gap: float = 1.0) -> list[Line]:
    """Return lines of a row with these texts, and a gap between them in heights of a digit."""
    lines: list[Line] = []
    for text in texts:
        last = lines[-1].found.box if lines else LineBox(0, 0, 0, 0, 0)
        lines.append(shown(text, last.x + last.length / 2 + gap * HEIGHT_PX))
    return lines


def by(*shares: float) -> SplitGaps:
    """Return a network that tells how likely the gaps of a page separate numbers."""
    return lambda gaps: np.array(shares)


def grouped(
    lines: Sequence[Line],
    options: Mapping[str, str] | None = None,
    split_gaps: SplitGaps | None = None,
    misread: str | None = None,
) -> list[Number]:
    """Return the numbers of some lines, which may be misread where they are read again as one."""
    constraints = constraints_of(options) if options else None

    def read_again(places: Sequence[tuple[int, FoundLine]]) -> list[Line]:
        joined = []
        for row, found in places:
            start, end = (found.box.x + side * found.box.length / 2 for side in (-1, 1))
            inside = [each for each in lines if start < each.found.box.x < end and each.row == row]
            raws = [each.raw for each in inside if each.raw.strip()]
            joined.append(shown(misread or " ".join(raws), start, row=row))
        return joined

    parts = group_digits(GREY, lines, split_gaps, constraints, read_again)
    read = [recognize(part, Weights(), constraints, 2) for part in parts]
    return [number for number in read if isinstance(number, Number)]


def texts(numbers: Sequence[Number]) -> list[str]:
    return [number.text for number in numbers]


def sure(numbers: Sequence[Number]) -> list[float]:
    return [number.confidence for number in numbers]


@pytest.fixture(autouse=True)
def _gaps_by_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "LINE_WEIGHT", 0.0)


def test_the_log_odds_of_a_gap_are_a_weighted_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    line = shown([{"1": 1.0}, {" ": 0.9}, {"3": 1.0}], 20)
    for weight, expected in ((0.0, 0.2), (0.5, 0.6), (1.0, 0.9)):  # odds of 1/4 and 9
        monkeypatch.setattr(grouping, "LINE_WEIGHT", weight)
        numbers = grouped([line], split_gaps=by(0.2))
        assert texts(numbers) == (["13"] if expected < 0.5 else ["1", "3"])
        assert sure(numbers) == pytest.approx([max(expected, 1 - expected)] * len(numbers), abs=0.01)


def test_spaces_and_operators_separate_numbers_where_no_network_tells() -> None:
    other_row = shown("0", 20, row=1, y=100)
    for written, expected, raws in (
        ("12 345", ["12", "345"], ["12", "345"]),
        ("5/6+8×7=98", ["56", "8", "7", "98"], ["5/6+", "8×", "7=", "98"]),
        ("3 + 4", ["3", "4"], ["3+", "4"]),
        ("+5 -7", ["5", "7"], ["+5", "-7"]),
        ("$5 $7.-", ["5", "7"], ["$5", "$7.-"]),
        ("1□5", ["1", "5"], ["1", "5"]),
        ("-0.001", ["0001"], ["-0.001"]),
    ):
        *numbers, _ = grouped([shown(written, 20), other_row])
        assert (texts(numbers), [number.raw for number in numbers]) == (expected, raws)
        assert all(number.confidence > 0.98 for number in numbers)
    for share, expected in ((0.49, ["13"]), (0.51, ["1", "3"])):
        *numbers, _ = grouped([shown([{"1": 1}, {" ": share}, {"3": 1}], 20), other_row])
        assert texts(numbers) == expected
        assert sure(numbers) == pytest.approx([0.51] * len(expected), abs=0.01)


def test_a_space_in_the_only_line_separates_numbers_if_it_is_wider_than_their_gaps() -> None:
    for written, expected in (
        ("8 3 0 5 9", ["83059"]),  # as in the boxes of a form
        ("12 34", ["12", "34"]),  # twice as far as the other digits
        ("1.2 3", ["123"]),  # not far enough
        ("1 2", ["12"]),
        ("1+2", ["1", "2"]),
    ):
        assert texts(grouped([shown(written, 20)])) == expected


def test_a_number_is_as_likely_as_the_least_likely_of_its_gaps() -> None:
    for shares, numbers in (
        ((0.1, 0.7, 0.2), {"12": 0.7, "34": 0.7}),
        ((0.1, 0.3, 0.2), {"1234": 0.7}),
        ((0.6, 0.2, 0.9), {"1": 0.6, "23": 0.6, "4": 0.9}),
        ((0.5, 0.0, 0.0), {"1": 0.5, "234": 0.5}),
    ):
        for written in ("1234", "12 34"):  # whatever the spaces are
            read = grouped([shown(written, 20)], split_gaps=by(*shares))
            assert dict(zip(texts(read), sure(read), strict=True)) == pytest.approx(numbers, abs=0.01)
    doubtful = shown([{"1": 1.0}, {"□": 0.4, "7": 0.3, "9": 0.3}, {"3": 1.0}], 20)
    unsure = shown([{"1": 0.99}, {" ": 0.99}, {"3": 0.7, "8": 0.3}], 20)
    for line, confidences in ((doubtful, (0.4, 0.4)), (unsure, (0.99, 0.7))):
        assert sure(grouped([line], split_gaps=by(1.0))) == pytest.approx(confidences, abs=0.01)


def test_numbers_that_go_on_in_the_next_line_are_read_again_as_one() -> None:
    lines = [*row_of("12", "345", "6"), shown("8", 20, row=1, y=100)]
    calls: list[int] = []

    def network(gaps: np.ndarray) -> np.ndarray:
        calls.append(gaps.shape[1])
        is_inside = gaps[0, :, list(VALUES).index("inside")] > 0
        first = np.array([0.1, 0.2, 0.1, 0.1, 0.9])  # of 1 2, 3 4 5 and 6
        return first if len(calls) == 1 else np.where(is_inside, 0.1, 0.3)  # once is enough

    numbers = grouped(lines, split_gaps=network)
    assert texts(numbers) == ["12345", "6", "8"] and [number.row for number in numbers] == [0, 0, 1]
    assert sure(numbers) == pytest.approx([0.3, 0.3, 1.0], abs=0.01)
    assert calls == [5, 5]
    again = grouped(row_of("12", "345"), None, lambda gaps: np.zeros(gaps.shape[1]), misread="12845")
    assert texts(again) == ["12845"]
    (alone,) = group_digits(GREY, row_of("1", "2"), by(0.1), None, lambda _: [shown("12", 20)])
    assert alone.is_alone
    assert texts(grouped(row_of("12", "345", "6"))) == ["12", "345", "6"]
    assert grouped([]) == [] == grouped([shown("", 20)], {"length": "1"}, by())


def test_a_line_around_others_covers_them_along_their_slope() -> None:
    seen, lines = list[tuple[int, FoundLine]](), list[Line]()
    for along, score, other, level in ((100, 0.9, 0.1, 20), (200, 0.7, 0.2, 10)):
        x, y = along * math.cos(0.1), along * math.sin(0.1) + 20
        found = FoundLine(LineBox(x, y, 40, 20, 0.1), score, other, level)
        lines.append(Line(3, found, (spelt("1", strip=strip_at(x, y)),)))

    def read_again(places: Sequence[tuple[int, FoundLine]]) -> list[Line]:
        seen.extend(places)
        return lines[:1]

    group_digits(GREY, lines, by(0.1), None, read_again)
    ((row, around),) = seen
    assert (row, around.score, around.other_score, around.level_px) == (3, 0.7, 0.2, 20)
    sides = 150 * math.cos(0.1), 140, 20, 0.1
    assert (around.box.x, around.box.length, around.box.height, around.box.angle) == pytest.approx(
        sides, abs=0.01
    )


def test_constraints_split_and_join_the_digits_of_a_row_as_is_likeliest() -> None:
    for digits, shares, options, expected in (
        ("305", (0.2, 0.2), {"length": "1"}, ["3", "0", "5"]),
        ("305", (0.04, 0.9), {"length": "1"}, ["30", "5"]),  # it is likelier that they are broken
        ("1245", (0.45, 0.3, 0), {"length": "2"}, ["12", "45"]),  # not at the likelier gap
        ("1245", (0.45, 0.3, 0), {"length": "1-3"}, ["1", "245"]),
        ("1245", (0.45, 0.3, 0), {"values": "0-100"}, ["12", "45"]),  # 0.55 * 0.3, or 0.45 * 0.3 for three
        ("1245", (0.45, 0.3, 0), {"length": "5"}, ["1245"]),  # no split helps
        ("12", (0.6,), {"length": "2"}, ["12"]),
        ("1234", (0.999, 0, 0), {"length": "3-4"}, ["1", "234"]),
        ("305", (0.2, 0.2), {"single_digit": "1"}, ["305"]),  # one of its digits is chosen later
    ):
        assert texts(grouped([shown(digits, 20)], options, by(*shares))) == expected
    for share, expected in ((0.051, ["1", "2"]), (0.049, ["12"])):
        assert texts(grouped([shown("12", 20)], {"length": "1"}, by(share))) == expected


def test_numbers_that_only_constraints_make_are_as_likely_as_their_splits() -> None:
    meets = 0.4 * 0.95 / (0.4 * 0.95 + 0.6 * CONSTRAINT_DOUBT)
    two, three = 0.55 * 0.4, 0.45 * 0.4
    for digits, shares, options, confidences, is_changed in (
        ("1245", (0.45, 0.4, 0), {"values": "0-100"}, (meets * two / (two + three), meets), (True, True)),
        ("534", (0.999, 0.4), {"length": "1"}, (0.999, meets, meets), (False, True, True)),
        ("12", (0.7,), {"length": "1-8"}, (0.7, 0.7), (False, False)),  # they change nothing
        ("12", (0.6,), {"length": "2"}, (meets,), (True,)),
    ):
        numbers = grouped([shown(digits, 20)], options, by(*shares))
        assert sure(numbers) == pytest.approx(confidences, abs=0.01)
        assert tuple(number.is_changed for number in numbers) == is_changed
        assert [number.doubt == "constraint" for number in numbers] == list(is_changed)


def test_constraints_join_no_numbers_over_an_operator() -> None:
    line = shown([{"5": 1.0}, {"+": 1.0}, {"3": 1.0}, {" ": 0.6}, {"4": 1.0}], 20)
    for options, expected in (
        ({"length": "3"}, ["5", "3", "4"]),
        ({"pattern": "5|34"}, ["5", "34"]),
        ({"pattern": "53|4"}, ["5", "3", "4"]),
    ):
        assert texts(grouped([line], options, by(1.0, 0.6))) == expected


@pytest.mark.parametrize(
    ("written", "options", "joined"),
    [
        (["4539", "5787", "6362", "1486"], {"length": "16", "check_digit": "luhn"}, ["4539578763621486"]),
        (["4539", "5787", "6362", "1487"], {"length": "16", "check_digit": "luhn"}, None),
        (["4", "8", "2", "1"], {"length": "4"}, ["4821"]),
        (["4", "8", "2", "1"], {"length": "2"}, ["48", "21"]),
        (["4", "8", "2", "1"], {"length": "3"}, None),  # a digit is left over
        (["4", "8", "2", "1", "7"], {"length": "2-3"}, None),  # 48 217 or 482 17
        (["12", "3456"], {"length": "3"}, None),  # no number is taken to pieces
        (["12", "1", "345"], {"length": "3"}, None),  # one of them meets the constraints
        (["1", "3456"], {"length": "4-5"}, None),  # a row label and its number
        (["1", "7", "8", "12"], {"values": "100-9999"}, None),  # cells of a table
        (["12", "345"], {"pattern": r"\d{5}"}, None),
        (["4539", "1488"], {"check_digit": "luhn"}, None),  # one of ten pairs is valid
        (["123", "456"], {"length": "6", "values": "100000-200000"}, ["123456"]),
        (["12+", "345"], {"length": "5"}, None),
    ],
)
def test_neighbours_are_joined_if_that_is_the_only_way_to_meet_the_constraints(
    written: list[str], options: dict[str, str], joined: list[str] | None
) -> None:
    apart = ["".join(each for each in text if each.isdecimal()) for text in written]
    numbers = grouped(row_of(*written), options)
    assert texts(numbers) == (joined or apart)
    if joined:
        assert all(number.is_changed and number.confidence > 0.9 for number in numbers)
        spaces = list(VALUES).index("separator")
        one_line = [shown(" ".join(written), 20)]
        numbers = grouped(one_line, options, lambda gaps: (gaps[0, :, spaces] > 128).astype(float))
        assert texts(numbers) == joined and sure(numbers) == pytest.approx([0.95] * len(joined), abs=0.02)


def test_only_near_neighbours_of_a_row_are_joined_and_only_if_the_same_digits_are_read() -> None:
    for gap, is_joined in ((WIDEST_GROUP_GAP - 0.1, True), (WIDEST_GROUP_GAP + 0.1, False)):
        assert (texts(grouped(row_of("12", "345", gap=gap), {"length": "5"})) == ["12345"]) == is_joined
    below = [*row_of("12"), shown("345", 60, row=1, y=80)]
    assert texts(grouped(below, {"length": "5"})) == ["12", "345"]
    apart = grouped(row_of("12", "345"), {"length": "5"}, misread="12845")
    assert [(each.text, each.reason) for each in apart] == [("12", "constraint"), ("345", "constraint")]
    assert sure(apart) == pytest.approx([1.0, 1.0], abs=0.01)
    before, behind = row_of("12", "345", gap=1.9)
    for between, expected in (("□", ["12", "345"]), (" ", ["12345"])):
        place = shown(between, before.found.box.x + before.found.box.length / 2 + 10)
        assert texts(grouped([before, place, behind], {"length": "5"})) == expected


def test_only_combs_are_joined_on_a_page_of_several_rows() -> None:
    other = shown("8", 20, row=1, y=100)
    for row, length, expected in (
        (("1", "34"), "3", ["1", "34", "8"]),
        (("1", "7"), "2", ["1", "7", "8"]),
        (("4", "8", "2"), "3", ["482", "8"]),
        (("1", "8", "6", "559"), "3", ["1", "8", "6", "559", "8"]),  # a row label, two marks and their sum
        (("□□□", "4", "8", "2"), "3", ["482", "8"]),
        (("4", "8", "2", "□"), "3", ["482", "8"]),
    ):
        assert texts(grouped([*row_of(*row), other], {"length": length})) == expected


def by_all_splits(digits: str, separators: list[float], constraints: Constraints) -> Split | None:
    """Try every split, and sum their probabilities."""
    found = {}
    for is_split in itertools.product((False, True), repeat=len(digits) - 1):
        bounds = [0, *(place + 1 for place, splits in enumerate(is_split) if splits), len(digits)]
        numbers = list(itertools.pairwise(bounds))
        if all(constraints.accepts(digits[start:end]) for start, end in numbers):
            pairs = zip(separators, is_split, strict=True)
            demands = [share if splits else 1 - share for share, splits in pairs]
            found[is_split] = math.prod(demands), min(demands, default=1.0), numbers
    if not found:
        return None
    likeliest = max(found, key=lambda is_split: found[is_split][0])
    total = sum(share for share, _, _ in found.values())
    shares = [
        sum(share for share, _, numbers in found.values() if number in numbers) / total
        for number in found[likeliest][2]
    ]
    return Split(list(likeliest), shares, found[likeliest][1])


@pytest.mark.parametrize(
    "constraint", [{"length": "1-3"}, {"values": "0-120"}, {"check_digit": "luhn"}, {"pattern": "1.|[2-9]+"}]
)
def test_the_split_is_the_likeliest_of_all(constraint: dict[str, str]) -> None:
    constraints, splits = constraints_of(constraint), 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        digits = "".join(map(str, random.integers(0, 10, int(random.integers(1, 9)))))
        separators = random.random(len(digits) - 1).tolist()
        expected = by_all_splits(digits, separators, constraints)
        found = likeliest_split(digits, separators, [False] * len(separators), constraints)
        if expected is None or found is None:
            assert expected is found
            continue
        splits += any(found.is_split)
        assert found.is_split == expected.is_split
        assert found.shares == pytest.approx(expected.shares)
        assert found.least == pytest.approx(expected.least)
    assert splits


def test_an_operator_always_separates_and_a_long_line_is_split_in_no_time() -> None:
    pairs, gaps = Constraints(lengths=(2, 2)), [0.1, 0.9, 0.1]
    split = likeliest_split("1234", gaps, [False] * 3, pairs)
    assert split is not None and split.is_split == [False, True, False]
    assert (*split.shares, split.least) == pytest.approx((1, 1, 0.9))
    assert likeliest_split("1234", gaps, [True, False, False], pairs) is None
    assert likeliest_split("", [], [], pairs) is None
    digits = "12345" * 40
    split = likeliest_split(digits, [0.5] * 199, [False] * 199, Constraints(lengths=(5, 5)))
    assert split is not None and sum(split.is_split) == 39
    assert likeliest_split(digits, [1e-9] * 199, [False] * 199, Constraints(lengths=(1, 1))) is None
