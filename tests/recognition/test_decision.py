"""Each number of a page is read or refused, and the page is read, partial, refused or blank."""

from __future__ import annotations

import dataclasses

import pytest

from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.decision import BLANK, Decision, NumberResult
from digitcli.recognition.digits_apart import decide_digits, decide_faint_page
from digitcli.recognition.readings import Digit, Number

SINGLE = parse_constraints(single_digit=True)


def result(text: str, confidence: float, raw: str = "", breaks_constraints: bool = False) -> NumberResult:
    digits = tuple(Digit(digit, confidence, (0, 0, 9, 9)) for digit in text)
    return NumberResult(
        Number(digits, confidence, raw or text), confidence, breaks_constraints=breaks_constraints
    )


def decide(regions: list[NumberResult], constraints: Constraints | None, min_confidence: float) -> Decision:
    return decide_digits(regions, constraints).refuse_below(min_confidence)


def test_a_page_is_as_certain_as_all_of_its_regions() -> None:
    decision = decide([result("12", 0.9), result("7", 0.8)], None, 0.5)
    assert (decision.status, decision.reason, decision.text) == ("read", None, "12 7")
    assert decision.confidence == pytest.approx(0.72)


def test_a_doubtful_number_is_refused_alone() -> None:
    decision = decide([result("12", 0.99), result("7", 0.7), result("5", 0.6)], None, 0.8)
    assert [number.status for number in decision.numbers] == ["read", "refused", "refused"]
    assert (decision.status, decision.reason, decision.text) == ("partial", "low_confidence", "12 7 5")
    assert decide([result("12", 0.99), result("7", 0.98)], None, 0.98).status == "read"
    assert decide([result("12", 0.99), result("7", 0.98)], None, 0.995).status == "refused"


def test_a_partial_page_has_the_reason_of_its_least_certain_refused_number() -> None:
    cut = dataclasses.replace(result("1", 0.6), is_cut_off=True)
    decision = decide([result("12", 0.99), cut, result("7", 0.7)], None, 0.8)
    assert (decision.status, decision.reason) == ("partial", "cut_off")
    assert [number.reason for number in decision.numbers] == [None, "cut_off", "low_confidence"]


def test_a_page_without_ink_is_blank_and_ink_without_numbers_is_not_a_digit() -> None:
    assert decide([], None, 0.5) == BLANK
    decision = decide([NumberResult(None, 0.95)], None, 0.5)
    assert (decision.status, decision.reason, decision.text) == ("refused", "not_a_digit", "")
    assert decision.confidence == pytest.approx(0.95)
    decision = decide([result("1", 0.3), result("7", 0.3)], None, 0.0)  # a photograph or a text
    assert (decision.status, decision.reason, decision.text) == ("refused", "not_a_digit", "")


def test_the_likeliest_digit_is_read_where_a_picture_holds_one() -> None:
    several = [result("1", 0.3), result("7", 0.98), result("12", 0.99, breaks_constraints=True)]
    decision = decide(several, SINGLE, 0.5)
    assert [number.text for number in decision.numbers] == ["7"] and decision.status == "refused"
    decision = decide([result("1", 0.3), result("7", 0.98)], SINGLE, 0.5)
    assert (decision.text, decision.status, decision.is_changed) == ("7", "read", True)
    assert decision.confidence == pytest.approx(0.98 * 0.7)
    assert decision.numbers[0].digits[0].confidence == pytest.approx(0.98 * 0.7)
    assert decide([result("4", 0.97), result("7", 0.98)], SINGLE, 0.5).status == "refused"


def test_a_slash_is_a_mark_of_the_number() -> None:
    decision = decide([result("34", 0.99, "3/4")], None, 0.5)
    assert (decision.status, decision.text, decision.numbers[0].raw) == ("read", "34", "3/4")


def test_numbers_above_and_below_a_bar_are_a_fraction() -> None:
    regions = [dataclasses.replace(result(text, 0.99), is_in_fraction=True) for text in "34"]
    assert decide(regions, None, 0.5).reason == "not_a_digit"
    decision = decide([*regions, result("12", 0.99)], None, 0.5)
    assert [number.reason for number in decision.numbers] == ["not_a_digit", "not_a_digit", None]
    assert decision.status == "partial"
    decision = decide(regions, parse_constraints(length="1"), 0.5)
    assert (decision.status, decision.text) == ("read", "3 4")
    decision = decide(regions, parse_constraints(values="0-99"), 0.5)
    assert (decision.reason, decision.text) == ("not_a_digit", "")


def test_broken_constraints_and_the_edge_come_before_doubt() -> None:
    regions = [result("12", 0.1, breaks_constraints=True), result("34", 0.1, breaks_constraints=True)]
    decision = decide(regions, parse_constraints(length="3"), 0.5)
    assert (decision.reason, decision.text) == ("constraint", "12 34")
    decision = decide([dataclasses.replace(result("1234", 0.99), runs_out=True)], None, 0.0)
    assert (decision.status, decision.reason, decision.text) == ("refused", "cut_off", "1234")
    regions = [dataclasses.replace(result(text, 0.1), is_changed=True) for text in ("802", "314")]
    decision = decide(regions, parse_constraints(length="3"), 0.5)
    assert (decision.status, decision.reason, decision.text) == ("refused", "constraint", "802 314")


def test_the_least_certain_region_gives_the_reason() -> None:
    for region, reason in (
        (dataclasses.replace(result("1", 0.4), is_cut_off=True), "cut_off"),
        (dataclasses.replace(result("1", 0.45), rival_confidence=0.42), "two_candidates"),
        (dataclasses.replace(result("1", 0.45), rival_confidence=0.05), "low_confidence"),
    ):
        assert decide([region, result("7", 0.99)], None, 0.9).reason == reason


def test_faint_marks_are_blank_or_need_a_person() -> None:
    likely = decide([result("12", 0.6)], None, 0.5)
    assert decide_faint_page(likely, can_reject=True).reason == "too_faint"
    assert decide_faint_page(likely, can_reject=False) == BLANK
    assert decide_faint_page(decide([result("12", 0.4)], None, 0.5), can_reject=True) == BLANK


def test_numbers_know_their_row() -> None:
    def at(x: int, y: int) -> NumberResult:
        return NumberResult(Number((Digit("7", 0.9, (x, y, 20, 30)),), confidence=0.9, raw="7"), 0.9)

    decision = decide_digits([at(10, 10), at(90, 14), at(12, 80)], None)
    assert [number.row for number in decision.numbers] == [0, 0, 1]


def test_a_threshold_refuses_for_the_reason_of_the_doubt_and_changes_nothing_else() -> None:
    firm = dataclasses.replace(result("12", 0.9), runs_out=True)
    decision = decide_digits([firm, dataclasses.replace(result("7", 0.6), rival_confidence=0.3)], None)
    assert (decision.status, decision.reason) == ("partial", "cut_off")
    refused = decision.refuse_below(0.7)
    assert (refused.status, refused.reason) == ("refused", "two_candidates")
    assert (refused.text, refused.confidence) == (decision.text, decision.confidence)
    assert decision.refuse_below(0.6) is decision
    assert BLANK.refuse_below(1.0) is BLANK
    faint = decide_faint_page(decide_digits([result("12", 0.6)], None), can_reject=True)
    assert faint.refuse_below(0.99).reason == "too_faint"
