"""Each number of a page is read or refused, and the page is read, partial, refused or blank."""

from __future__ import annotations

from dataclasses import replace

import pytest

from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.decision import BLANK, decide_numbers, decide_page
from digitcli.recognition.readings import Nothing, Number, Reading
from tests.support.readings import number_of

SINGLE = parse_constraints(single_digit=True)


def decide(numbers: list[Number], constraints: Constraints | None, min_confidence: float) -> Reading:
    return decide_page(numbers, 0.0, constraints).refuse_below(min_confidence)


def test_doubtful_numbers_are_refused_and_the_page_has_the_reason_of_the_least_certain() -> None:
    cut_off = replace(number_of("1", 0.6), doubt="cut_off")
    broken = number_of("12", 0.1).refused_for("constraint")
    for numbers, threshold, status, reason, refused in (
        ([number_of("12", 0.9), number_of("7", 0.8)], 0.5, "read", None, []),
        ([number_of("12", 0.99), number_of("7", 0.98)], 0.98, "read", None, []),
        ([number_of("12", 0.99), number_of("7", 0.7)], 0.8, "partial", "low_confidence", ["7"]),
        ([number_of("12", 0.99), cut_off, number_of("7", 0.7)], 0.8, "partial", "cut_off", ["1", "7"]),
        ([number_of("12", 0.99), number_of("7", 0.98)], 0.995, "refused", "low_confidence", ["12", "7"]),
        ([broken, cut_off], 0.0, "partial", "constraint", ["12"]),
        ([broken, cut_off], 0.9, "refused", "constraint", ["12", "1"]),  # it is refused already
    ):
        reading = decide(numbers, None, threshold)
        assert (reading.status, reading.reason) == (status, reason)
        assert [number.text for number in reading.numbers if number.status == "refused"] == refused
        free = decide(numbers, None, 0.0)
        assert (reading.text, reading.confidence) == (free.text, free.confidence)
    reading = decide([number_of("12", 0.9), number_of("7", 0.8)], None, 0.5)
    assert (reading.text, reading.confidence) == ("12 7", pytest.approx(0.72))
    assert decide_numbers(reading.numbers, None, 0.5).confidence == pytest.approx(0.36)
    assert reading.refuse_below(0.8) is reading and BLANK.refuse_below(1.0) is BLANK


def test_a_page_without_numbers_is_blank_or_shows_something_else() -> None:
    for places, other, status, reason, confidence in (
        ([], 0.1, "blank", "blank", 0.9),
        ([Nothing(0.9), Nothing(0.8)], 0.1, "blank", "blank", 0.9 * 0.9 * 0.8),
        ([Nothing(0.6), Nothing(0.6)], 0.1, "refused", "low_confidence", 0.9 * 0.36),
        ([Nothing(0.9)], 0.7, "refused", "not_a_digit", 0.7),
        ([Nothing(0.9), Nothing(0.8, is_other=True)], 0.1, "refused", "not_a_digit", 0.8),
        ([Nothing(0.8, is_other=True)], 0.95, "refused", "not_a_digit", 0.95),
    ):
        reading = decide_page(places, other, None)
        assert (reading.status, reading.reason, reading.text) == (status, reason, "")
        assert reading.confidence == pytest.approx(confidence)
    assert decide_page([Nothing(0.9, is_other=True), number_of("7", 0.8)], 0.9, None).text == "7"


def test_the_likeliest_digit_is_read_where_a_picture_holds_one() -> None:
    broken = number_of("12", 0.99).refused_for("constraint")
    cut_off = number_of("34", 0.99).refused_for("cut_off")  # breaks the constraints, too
    for others, confidence in (([0.3], 0.686), ([0.3, 0.99, 0.99], 0.0000686), ([0.97], 0.0294)):
        numbers = [number_of("1", others[0]), number_of("7", 0.98), *[broken, cut_off][: len(others) - 1]]
        reading = decide(numbers, SINGLE, 0.5)
        (number,) = reading.numbers
        assert (number.text, number.is_changed, number.doubt, reading.changed) == (
            "7",
            True,
            "constraint",
            True,
        )
        assert number.confidence == number.digits[0].confidence == reading.confidence
        assert reading.confidence == pytest.approx(confidence)
        assert reading.status == ("read" if confidence > 0.5 else "refused")
    reading = decide([broken, number_of("345", 0.5).refused_for("constraint")], SINGLE, 0.5)
    assert (reading.text, reading.reason, reading.changed) == ("12", "constraint", False)
    assert decide([number_of("7", 0.98)], SINGLE, 0.5).numbers == (
        replace(number_of("7", 0.98), row=0, column=0),
    )


def test_the_alternatives_of_a_number_that_is_doubted_are_less_likely_too() -> None:
    digits = tuple(replace(digit, alternatives=(("3", 0.1),)) for digit in number_of("12", 0.8).digits)
    number = replace(number_of("12", 0.8), digits=digits, alternatives=(("1", 0.1),), doubt="cut_off")
    reading = decide_numbers([number, number], None)
    doubted = reading.at_most(0.4)
    for each in doubted.numbers:
        assert (each.confidence, each.digits[0].confidence) == (pytest.approx(0.4), pytest.approx(0.4))
        assert each.alternatives[0][1] == each.digits[0].alternatives[0][1] == pytest.approx(0.05)
        assert each.doubt == "low_confidence"
    assert doubted.confidence == pytest.approx(0.4)
    assert reading.at_most(0.9) == reading and BLANK.at_most(0.1) == BLANK


def test_numbers_know_their_row() -> None:
    places = [number_of("7", 0.9, (x, y, 20, 30)) for x, y in ((10, 10), (90, 14), (12, 80))]
    assert [number.row for number in decide_numbers(places, None).numbers] == [0, 0, 1]
