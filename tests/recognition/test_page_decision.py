"""How sure a number is, how a line is split, what a stacked fraction is, and what a page shows."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.decision import NumberResult
from digitcli.recognition.line_crops import RegionCrops
from digitcli.recognition.page_decision import (
    FEATURES,
    LARGEST_LOG_ODDS,
    TYPICAL_PITCH,
    Split,
    decide_page,
    features,
    likeliest_split,
    logistic,
    shows_fraction,
)
from digitcli.recognition.readings import Digit, Number
from tests.support.pictures import cut_tight

LINE = FoundLine(LineBox(0, 0, 60, 10, 0.0), score=0.8, other_score=0.25, level_px=30)
CROPS = RegionCrops(0, LINE, strips=())

NONE = [False] * 9

Mark = tuple[str, int, int]  # a number, or "-120" for a bar 120 pixels long; x and y

SINGLE = parse_constraints(single_digit=True)
NOTHING = NumberResult(None, 0.95)
OTHER = NumberResult(None, 0.95, is_other=True)


def test_features_are_log_odds_and_sizes() -> None:
    values = features(0.9, 0.95, 0.2, 4, CROPS, 6.0)
    assert tuple(values) == FEATURES
    pitch = math.log(1.5 / TYPICAL_PITCH)
    expected = math.log(9), math.log(19), -math.log(4), math.log(4), -math.log(3), math.log(4), pitch, 1.0
    assert list(values.values()) == pytest.approx(expected)
    for probability, log_odds in [(0.0, -LARGEST_LOG_ODDS), (1.0, LARGEST_LOG_ODDS)]:
        assert features(probability, 0.5, 0.0, 1, CROPS, 1.0)["reading"] == log_odds
    pitches = [features(0.9, 0.95, 0.2, digits, CROPS, 6.0)["pitch"] for digits in (2, 7, 20)]
    assert pitches[0] > pitches[1] < pitches[2]


def test_weights_make_log_odds_a_probability() -> None:
    values = features(0.9, 0.95, 0.0, 4, CROPS, 6.0)
    assert logistic(values, {"reading": 1.0}) == pytest.approx(0.9)
    assert logistic(values, {"reading": 1.0, "bias": -1.0}) < 0.9
    assert logistic(values, {"reading": 1.0, "finder": 1.0}) > 0.9
    assert logistic(features(1.0, 1.0, 0.0, 4, CROPS, 6.0), {"reading": -100.0}) > 0
    assert logistic(features(1.0, 1.0, 0.0, 4, CROPS, 6.0), {"reading": 100.0}) < 1


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
    constraints = parse_constraints(**constraint)  # type: ignore[arg-type]
    assert constraints is not None
    splits = 0
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


def test_an_operator_always_separates() -> None:
    constraints = Constraints(lengths=(2, 2))
    assert likeliest_split("1234", [0.1, 0.9, 0.1], NONE[:3], constraints) == Split(
        [False, True, False], [pytest.approx(1), pytest.approx(1)], pytest.approx(0.9)
    )
    assert likeliest_split("1234", [0.1, 0.9, 0.1], [True, False, False], constraints) is None
    assert likeliest_split("", [], [], Constraints(lengths=(1, 1))) is None


def test_a_long_line_is_split_in_no_time_and_without_underflow_errors() -> None:
    digits = "12345" * 40
    split = likeliest_split(digits, [0.5] * 199, [False] * 199, Constraints(lengths=(5, 5)))
    assert split is not None and sum(split.is_split) == 39
    assert likeliest_split(digits, [1e-9] * 199, [False] * 199, Constraints(lengths=(1, 1))) is None


def drawn(*marks: Mark) -> tuple[np.ndarray, list[Number]]:
    """Draw numbers and bars on white paper, and return the numbers with exact boxes."""
    paper, numbers = np.full((700, 700), 235, np.uint8), []
    for text, x, y in marks:
        if text[0] == "-":
            cv2.line(paper, (x, y), (x + int(text[1:]), y + 3), 30, 8)
            continue
        digits = []
        for digit in text:
            crop = cut_tight(digit)
            height, width = crop.shape
            paper[y : y + height, x : x + width] = np.minimum(paper[y : y + height, x : x + width], crop)
            digits.append(Digit(digit, 0.9, (x, y, width, height)))
            x += width + 20
        numbers.append(Number(tuple(digits), 0.9, raw=text))
    return paper, numbers


def test_numbers_above_and_below_a_bar_are_a_fraction() -> None:
    for upper, lower in [("1", "2"), ("3", "16"), ("15", "16")]:
        for gap in [8, 30, 60]:
            for light_on_dark in [False, True]:
                wide = max(len(upper), len(lower))
                page, numbers = drawn(
                    (upper, 300, 150), (f"-{90 * wide}", 285, 255 + gap), (lower, 300, 262 + 2 * gap)
                )
                page = 255 - page if light_on_dark else page
                assert shows_fraction(page, numbers) and shows_fraction(page, numbers[::-1])
                assert not shows_fraction(page, numbers[:1]) and not shows_fraction(
                    page, [*numbers, numbers[0]]
                )


NO_FRACTIONS: dict[str, tuple[Mark, ...]] = {
    "two lines": (("12", 300, 150), ("34", 300, 300)),
    "a long rule": (("12", 300, 150), ("-600", 50, 280), ("34", 300, 320)),
    "a sum": (("12", 300, 50), ("34", 300, 200), ("-200", 280, 330), ("46", 300, 370)),
    "longer numbers": (("1234", 150, 150), ("-350", 140, 280), ("5678", 150, 310)),
    "underlined, and another below": (("12", 300, 100), ("-180", 290, 220), ("34", 300, 330)),
    "another above, and overlined": (("12", 300, 80), ("-180", 290, 320), ("34", 300, 335)),
    "a bar beside": (("12", 300, 150), ("-200", 480, 280), ("34", 300, 310)),
    "a table": (
        ("-200", 270, 120), ("12", 300, 150), ("-200", 270, 280), ("34", 300, 310), ("-200", 270, 440),
    ),
    "a short dash": (("12", 300, 150), ("-50", 330, 280), ("34", 300, 310)),
    "dashes": (("12", 300, 150), ("-40", 290, 280), ("-40", 360, 280), ("-40", 430, 280), ("34", 300, 310)),
    "a number beside, below a bar": (("12", 200, 150), ("-290", 190, 280), ("34", 350, 310)),
}  # fmt: skip


def test_other_numbers_and_bars_are_no_fraction() -> None:
    for kind in NO_FRACTIONS:
        assert not shows_fraction(*drawn(*NO_FRACTIONS[kind]))


def test_a_bar_is_no_stripe_and_may_touch_the_digits() -> None:
    page, numbers = drawn(("12", 300, 150), ("34", 300, 330))
    (x, y, width, height), below = numbers[0].box, numbers[1].box[1]
    for thickness, expected in ((8, True), (50, False)):
        middle = (y + height + below) // 2
        striped = page.copy()
        striped[middle - thickness // 2 : middle + thickness // 2, x - 10 : x + width + 10] = 30
        assert shows_fraction(striped, numbers) == expected
        striped[middle - 30 : middle + 30, x + width // 3 : x + width // 3 + 4] = 235  # a small break
        assert shows_fraction(striped, numbers) == expected
    page, numbers = drawn(("12", 300, 150), ("-180", 285, 248), ("34", 300, 246))
    assert shows_fraction(page, numbers)


def result(text: str, confidence: float = 0.99, **fields: object) -> NumberResult:
    """Return the answer that a place shows this number."""
    digits = tuple(Digit(digit, confidence, (0, 0, 9, 9)) for digit in text)
    return NumberResult(Number(digits, confidence, text), confidence, **fields)  # type: ignore[arg-type]


BROKEN = result("12", breaks_constraints=True)
ONE_AND_SEVEN = result("1", 0.3), result("7", 0.98)
LENGTH_3 = parse_constraints("3")

# Places, the constraints, the probability of other writing and a threshold; then the answer of the page:
# its status, reason, text and confidence, and the reason of each number.
PAGES: list[
    tuple[list[NumberResult], Constraints | None, float, float, tuple[object, ...], list[str | None]]
] = [
    ([result("12", 0.9), result("7", 0.8)], None, 0.02, 0.5, ("read", None, "12 7", 0.72), [None, None]),
    ([NOTHING, result("7", 0.8)], None, 0.99, 0.5, ("read", None, "7", 0.8), [None]),
    (
        [result("12"), result("7", 0.7), result("5", 0.6)], None, 0.02, 0.8,
        ("partial", "low_confidence", "12 7 5", 0.4158), [None, "low_confidence", "low_confidence"],
    ),
    ([result("12"), result("7", 0.98)], None, 0.02, 0.98, ("read", None, "12 7", 0.9702), [None, None]),
    (
        [result("12"), result("7", 0.98)], None, 0.02, 0.985,
        ("partial", "low_confidence", "12 7", 0.9702), [None, "low_confidence"],
    ),
    (
        [result("12"), result("7", 0.98)], None, 0.02, 0.995,
        ("refused", "low_confidence", "12 7", 0.9702), ["low_confidence"] * 2,
    ),
    # The least certain refused number gives the reason of the page.
    (
        [result("12"), result("1", 0.6, is_cut_off=True), result("7", 0.7)], None, 0.02, 0.8,
        ("partial", "cut_off", "12 1 7", 0.4158), [None, "cut_off", "low_confidence"],
    ),
    ([], None, 0.1, 0.5, ("blank", "blank", "", 0.9), []),
    ([NOTHING], None, 0.02, 0.5, ("blank", "blank", "", 0.931), []),
    ([NumberResult(None, 0.9)] * 2, None, 0.0, 0.5, ("blank", "blank", "", 0.81), []),
    (
        [NumberResult(None, 0.9), NumberResult(None, 0.4)], None, 0.0, 0.5,
        ("refused", "low_confidence", "", 0.36), [],
    ),
    ([], None, 0.8, 0.5, ("refused", "not_a_digit", "", 0.8), []),
    ([OTHER, NOTHING], None, 0.02, 0.5, ("refused", "not_a_digit", "", 0.95), []),
    # A picture of a single digit.
    ([*ONE_AND_SEVEN], SINGLE, 0.02, 0.5, ("read", None, "7", 0.98 * 0.7), [None]),
    (
        [result("4", 0.97), result("7", 0.98)], SINGLE, 0.02, 0.5,
        ("refused", "constraint", "7", 0.98 * 0.03), ["constraint"],
    ),
    (
        [*ONE_AND_SEVEN, BROKEN], SINGLE, 0.02, 0.5,
        ("refused", "constraint", "7", 0.98 * 0.7 * 0.01), ["constraint"],
    ),
    # A number that breaks the constraints is refused however certain it is, and a doubtful one that they
    # changed because of them.
    ([BROKEN, result("345")], LENGTH_3, 0.02, 0.5, ("partial", "constraint", "12 345", 0.9801),
     ["constraint", None]),
    ([result("802", 0.1, is_changed=True)], LENGTH_3, 0.02, 0.5, ("refused", "constraint", "802", 0.1),
     ["constraint"]),
    ([replace(BROKEN, runs_out=True)], None, 0.02, 0.5, ("refused", "cut_off", "12", 0.99), ["cut_off"]),
]  # fmt: skip


def test_each_number_of_a_page_is_read_or_refused_and_the_page_says_so() -> None:
    for results, constraints, other_writing, threshold, expected, reasons in PAGES:
        decision = decide_page(results, other_writing, constraints).refuse_below(threshold)
        found = decision.status, decision.reason, decision.text, decision.confidence
        assert found == (*expected[:3], pytest.approx(expected[3]))
        assert [number.reason for number in decision.numbers] == reasons, expected
        assert [number.status == "read" for number in decision.numbers] == [not reason for reason in reasons]


def test_a_choice_changes_the_answer_and_its_numbers() -> None:
    decision = decide_page(ONE_AND_SEVEN, 0.02, SINGLE)
    assert decision.is_changed and decision.numbers[0].confidence == pytest.approx(0.98 * 0.7)
    assert decision.numbers[0].digits[0].confidence == pytest.approx(0.98 * 0.7)
    assert decide_page([result("802", is_changed=True)], 0.02, LENGTH_3).is_changed
    assert not decide_page([result("802")], 0.02, LENGTH_3).is_changed


def test_a_doubtful_number_has_the_reason_for_its_doubt() -> None:
    for fields, reason in (
        ({"is_cut_off": True}, "cut_off"),
        ({"is_faint": True}, "too_faint"),
        ({"rival_confidence": 0.42}, "two_candidates"),
        ({"rival_confidence": 0.05}, "low_confidence"),
        ({"rival_confidence": 0.42, "is_changed": True, "is_cut_off": True}, "constraint"),
    ):
        decision = decide_page([result("1", 0.45, **fields), result("7")], 0.02, None).refuse_below(0.9)
        assert (decision.status, decision.reason) == ("partial", reason)
        sure = decide_page([result("1", 0.95, **fields)], 0.02, None)
        assert sure.refuse_below(0.9).status == "read"
