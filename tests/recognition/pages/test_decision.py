"""Each number of a page is read or refused, and the page is read, partial, refused or blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.decision import Decision, decide_number
from digitcli.recognition.number_result import NumberResult
from digitcli.recognition.pages.decision import decide_page
from digitcli.recognition.results import Digit, Number

SINGLE = parse_constraints(single_digit=True)
NOTHING = NumberResult(None, 0.95)
OTHER = NumberResult(None, 0.95, is_other=True)


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
