"""How sure a number is, how a line is split, what a stacked fraction is, and what a page shows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.decision import Decision, NumberResult, decide_number
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


@pytest.mark.parametrize(("probability", "log_odds"), [(0.0, -LARGEST_LOG_ODDS), (1.0, LARGEST_LOG_ODDS)])
def test_log_odds_are_limited(probability: float, log_odds: float) -> None:
    assert features(probability, 0.5, 0.0, 1, CROPS, 1.0)["reading"] == log_odds


def test_a_pitch_counts_alike_if_it_is_narrow_or_wide() -> None:
    pitches = [features(0.9, 0.95, 0.2, digits, CROPS, 6.0)["pitch"] for digits in (2, 7, 20)]
    assert pitches[0] > pitches[1] < pitches[2]


def test_the_weight_of_the_reading_alone_keeps_its_probability() -> None:
    values = features(0.9, 0.95, 0.0, 4, CROPS, 6.0)
    assert logistic(values, {"reading": 1.0}) == pytest.approx(0.9)
    assert logistic(values, {"reading": 1.0, "bias": -1.0}) < 0.9
    assert logistic(values, {"reading": 1.0, "finder": 1.0}) > 0.9


def test_no_weights_make_a_number_certain_or_impossible() -> None:
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


def test_a_line_without_digits_is_not_split() -> None:
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


@pytest.mark.parametrize("light_on_dark", [False, True])
@pytest.mark.parametrize("gap", [8, 30, 60])
@pytest.mark.parametrize(("upper", "lower"), [("1", "2"), ("3", "16"), ("15", "16")])
def test_numbers_above_and_below_a_bar_are_a_fraction(
    upper: str, lower: str, gap: int, light_on_dark: bool
) -> None:
    wide = max(len(upper), len(lower))
    page, numbers = drawn((upper, 300, 150), (f"-{90 * wide}", 285, 255 + gap), (lower, 300, 262 + 2 * gap))
    page = 255 - page if light_on_dark else page
    assert shows_fraction(page, numbers) and shows_fraction(page, numbers[::-1])
    assert not shows_fraction(page, numbers[:1]) and not shows_fraction(page, [*numbers, numbers[0]])


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


@pytest.mark.parametrize("kind", NO_FRACTIONS)
def test_other_numbers_and_bars_are_no_fraction(kind: str) -> None:
    assert not shows_fraction(*drawn(*NO_FRACTIONS[kind]))


def test_a_dark_stripe_between_two_numbers_is_no_bar() -> None:
    page, numbers = drawn(("12", 300, 150), ("34", 300, 330))
    (x, y, width, height), below = numbers[0].box, numbers[1].box[1]
    for thickness, expected in ((8, True), (50, False)):
        middle = (y + height + below) // 2
        striped = page.copy()
        striped[middle - thickness // 2 : middle + thickness // 2, x - 10 : x + width + 10] = 30
        assert shows_fraction(striped, numbers) == expected
        striped[middle - 30 : middle + 30, x + width // 3 : x + width // 3 + 4] = 235  # a small break
        assert shows_fraction(striped, numbers) == expected


def test_a_bar_may_touch_the_digits() -> None:
    page, numbers = drawn(("12", 300, 150), ("-180", 285, 248), ("34", 300, 246))
    assert shows_fraction(page, numbers)


def result(text: str, confidence: float = 0.99, **fields: object) -> NumberResult:
    """Return the answer that a place shows this number."""
    digits = tuple(Digit(digit, confidence, (0, 0, 9, 9)) for digit in text)
    return NumberResult(Number(digits, confidence, text), confidence, **fields)  # type: ignore[arg-type]


def decide(
    *results: NumberResult,
    constraints: Constraints | None = None,
    min_confidence: float = 0.5,
    other_writing: float = 0.02,
) -> Decision:
    return decide_page(results, other_writing, constraints).refuse_below(min_confidence)


def statuses(decision: Decision) -> list[str]:
    return [number.status for number in decision.numbers]


def reasons(decision: Decision) -> Sequence[str | None]:
    return [number.reason for number in decision.numbers]


def test_a_page_is_as_certain_as_all_of_its_numbers() -> None:
    decision = decide(result("12", confidence=0.9), result("7", confidence=0.8))
    assert (decision.status, decision.reason, decision.text) == ("read", None, "12 7")
    assert decision.confidence == pytest.approx(0.72)


def test_places_without_numbers_do_not_matter_beside_numbers() -> None:
    decision = decide(NOTHING, result("7", confidence=0.8), other_writing=0.99)
    assert (decision.status, decision.text) == ("read", "7")
    assert decision.confidence == pytest.approx(0.8)


def test_a_doubtful_number_is_refused_alone() -> None:
    sure, doubtful, guess = (
        result(text, confidence=share) for text, share in (("12", 0.99), ("7", 0.7), ("5", 0.6))
    )
    decision = decide(sure, doubtful, guess, min_confidence=0.8)
    assert statuses(decision) == ["read", "refused", "refused"]
    assert (decision.status, decision.reason, decision.text) == ("partial", "low_confidence", "12 7 5")


@pytest.mark.parametrize(
    ("min_confidence", "status"), [(0.98, "read"), (0.985, "partial"), (0.995, "refused")]
)
def test_a_page_is_refused_if_none_of_its_numbers_is_read(min_confidence: float, status: str) -> None:
    numbers = result("12"), result("7", confidence=0.98)
    assert decide(*numbers, min_confidence=min_confidence).status == status


def test_a_partial_page_has_the_reason_of_its_least_certain_refused_number() -> None:
    cut = result("1", confidence=0.6, is_cut_off=True)
    decision = decide(result("12"), cut, result("7", confidence=0.7), min_confidence=0.8)
    assert (decision.status, decision.reason) == ("partial", "cut_off")
    assert reasons(decision) == [None, "cut_off", "low_confidence"]


def test_a_page_on_which_nothing_is_found_is_blank() -> None:
    decision = decide(other_writing=0.1)
    assert (decision.status, decision.reason, decision.text) == ("blank", "blank", "")
    assert decision.confidence == pytest.approx(0.9)
    assert decision.numbers == ()


def test_other_writing_is_not_a_digit() -> None:
    decision = decide(other_writing=0.8)
    assert (decision.status, decision.reason, decision.text) == ("refused", "not_a_digit", "")
    assert decision.confidence == pytest.approx(0.8)


def test_other_writing_where_a_number_might_stand_is_not_a_digit() -> None:
    decision = decide(OTHER, NOTHING)
    assert (decision.status, decision.reason, decision.text) == ("refused", "not_a_digit", "")
    assert decision.confidence == pytest.approx(0.95)
    assert decision.numbers == ()


def test_a_false_alarm_of_the_finder_leaves_a_page_blank() -> None:
    assert decide(NOTHING).status == "blank"


def test_the_likeliest_digit_is_read_where_a_picture_holds_one() -> None:
    decision = decide(result("1", confidence=0.3), result("7", confidence=0.98), constraints=SINGLE)
    assert (decision.text, decision.status, decision.is_changed) == ("7", "read", True)
    assert decision.confidence == pytest.approx(0.98 * 0.7)
    assert decision.numbers[0].confidence == pytest.approx(0.98 * 0.7)


def test_two_likely_digits_are_not_a_single_one() -> None:
    decision = decide(result("4", confidence=0.97), result("7", confidence=0.98), constraints=SINGLE)
    assert (decision.status, decision.text) == ("refused", "7")


def test_a_digit_that_meets_the_constraint_is_chosen_before_a_likelier_number_that_does_not() -> None:
    broken = result("12", breaks_constraints=True)
    cut = replace(broken, runs_out=True)
    assert decide_number(cut).reason == "cut_off"  # which is why it breaks them
    decision = decide(result("1", confidence=0.3), result("7", confidence=0.98), broken, constraints=SINGLE)
    assert [number.text for number in decision.numbers] == ["7"] and decision.status == "refused"


def test_a_number_that_breaks_the_constraints_is_refused_however_certain_it_is() -> None:
    decision = decide(
        result("12", breaks_constraints=True), result("345"), constraints=parse_constraints("3")
    )
    assert (decision.status, decision.reason, decision.text) == ("partial", "constraint", "12 345")
    assert reasons(decision) == ["constraint", None]


def test_a_doubtful_number_that_the_constraints_changed_is_refused_because_of_them() -> None:
    decision = decide(result("802", confidence=0.1, is_changed=True), constraints=parse_constraints("3"))
    assert (decision.status, decision.reason, decision.is_changed) == ("refused", "constraint", True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"is_cut_off": True}, "cut_off"),
        ({"is_faint": True}, "too_faint"),
        ({"rival_confidence": 0.42}, "two_candidates"),
        ({"rival_confidence": 0.05}, "low_confidence"),
        ({"rival_confidence": 0.42, "is_changed": True, "is_cut_off": True}, "constraint"),
    ],
)
def test_a_doubtful_number_has_the_reason_for_its_doubt(fields: dict[str, float], reason: str) -> None:
    decision = decide(result("1", confidence=0.45, **fields), result("7"), min_confidence=0.9)
    assert (decision.status, decision.reason) == ("partial", reason)
    assert decide(result("1", confidence=0.95, **fields), min_confidence=0.9).status == "read"


def test_a_page_is_blank_if_no_place_may_show_a_number() -> None:
    unlikely, likely = NumberResult(None, 0.9), NumberResult(None, 0.4)
    blank = decide(unlikely, unlikely, other_writing=0.0)
    assert blank.status == "blank" and blank.confidence == pytest.approx(0.81)
    refused = decide(unlikely, likely, other_writing=0.0)
    assert (refused.status, refused.reason) == ("refused", "low_confidence")
    assert refused.confidence == pytest.approx(0.36)
