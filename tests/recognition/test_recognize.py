"""The answers of networks become numbers: their texts, boxes, confidences, and the effect of constraints."""

from __future__ import annotations

import dataclasses
import math
from typing import cast

import numpy as np
import pytest

from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.line_finding import FoundLine
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import NumberResult
from digitcli.recognition.line_crops import LineCrop, RegionCrops
from digitcli.recognition.line_evidence import CONSTRAINT_DOUBT, LineEvidence
from digitcli.recognition.page_decision import ALONE
from digitcli.recognition.readings import Number
from digitcli.recognition.recognize import recognize_region
from digitcli.recognition.region_evidence import RegionEvidence, run_networks
from digitcli.strip_format import OTHER
from tests.support.networks import ALPHABET, COLUMNS_OF_A_PLACE, FakeReader, line_output

CROP = LineCrop(np.zeros((3, 40, 200), np.uint8), np.array([[2.0, 0, 10], [0, 2.0, 20]]), (900, 200))
LINE = FoundLine(LineBox(210, 60, 380, 60, 0.0), 0.99, 0.0, 30)


def evidence(*places: dict[str, float]) -> LineEvidence:
    """Return the answer to a strip whose places show characters with these probabilities."""
    return LineEvidence.of(CROP, line_output(*places), ALPHABET, 1.0)


def spelt(text: str, likely: float = 0.999) -> LineEvidence:
    """Return the answer to a strip that shows a text."""
    return evidence(*({character: likely} for character in text))


def read(
    *lines: LineEvidence,
    box: LineBox | None = None,
    top_k: int = 3,
    is_alone: bool = False,
    **constraints: str | bool,
) -> list[NumberResult]:
    """Recognize a line with these answers to its strips."""
    found = FoundLine(box or LineBox(210, 60, 380, 60, 0.0), 0.99, 0.0, 30)
    crops = RegionCrops(4, found, tuple(line.crop for line in lines))
    answers = RegionEvidence(crops, lines, is_alone=is_alone)
    return recognize_region(answers, parse_constraints(**constraints), top_k)  # type: ignore[arg-type]


def numbers_of(results: list[NumberResult]) -> list[Number]:
    return [result.number for result in results if result.number is not None]


def texts_of(results: list[NumberResult]) -> list[str]:
    return [number.text for number in numbers_of(results)]


def only(results: list[NumberResult]) -> NumberResult:
    """Return the only result."""
    (result,) = results
    return result


def text_of(result: NumberResult) -> str | None:
    return result.number and result.number.text


def test_a_line_is_read_with_its_marks() -> None:
    result = only(read(spelt("1.50-", 0.99)))
    number = result.number
    assert number is not None
    assert (number.text, number.raw, number.row) == ("150", "1.50-", 4)
    assert result.confidence == number.confidence == pytest.approx(0.99**3, abs=0.01)
    assert not result.is_changed and not result.breaks_constraints and not result.is_cut_off
    assert number.line is not None and number.line.shape == (40, 4 * 5 * COLUMNS_OF_A_PLACE)


def test_a_line_is_split_at_spaces_and_operators() -> None:
    for written, texts, raws in [
        ("12 345", ["12", "345"], ["12", "345"]),
        ("5/6+8×7=98", ["56", "8", "7", "98"], ["5/6+", "8×", "7=", "98"]),
        ("3 + 4", ["3", "4"], ["3+", "4"]),
        ("+5 -7", ["5", "7"], ["+5", "-7"]),
        ("$5 $7.-", ["5", "7"], ["$5", "$7.-"]),
        ("11/22/2019", ["11222019"], ["11/22/2019"]),
        ("-0.001", ["0001"], ["-0.001"]),
        ("□500,-", ["500"], ["500,-"]),
        ("= 17 □", ["17"], ["=17"]),
        ("1□5", ["1", "5"], ["1", "5"]),
    ]:
        results = read(spelt(written))
        assert texts_of(results) == texts
        assert [number.raw for number in numbers_of(results)] == raws
        assert all(result.confidence > 0.98 for result in results)


def only_line(written: str, **constraints: str | bool) -> list[str]:
    """Return the numbers of the only line of a page, whose characters stand equally far apart."""
    line = spelt(written)
    alone = RegionEvidence(RegionCrops(0, LINE, (line.crop,)), (line,)).as_only(None)
    return texts_of(recognize_region(alone, parse_constraints(**constraints), 3))  # type: ignore[arg-type]


def test_a_space_in_the_only_line_separates_numbers_if_it_is_wider_than_their_gaps() -> None:
    for written, texts in [
        ("8 3 0 5 9", ["83059"]),  # as in the boxes of a form
        ("12 34", ["12", "34"]),  # twice as far as the other digits
        ("12   34", ["12", "34"]),
        ("1 2", ["12"]),
    ]:
        assert only_line(written) == texts
    assert only_line("8 3 0 5 9", length="5") == ["83059"]
    assert only_line("12 34", length="4") == ["1234"]
    assert only_line("1 2", length="1") == ["1", "2"]


def test_groups_are_one_number_if_only_that_meets_the_constraints() -> None:
    assert texts_of(read(spelt("12 34"), length="4")) == ["12", "34"]
    (joined,) = read(spelt("12 34"), is_alone=True, length="4")
    assert text_of(joined) == "1234" and joined.is_changed
    assert joined.confidence == pytest.approx(1 - CONSTRAINT_DOUBT, abs=0.01)
    assert texts_of(read(spelt("12+34"), is_alone=True, length="4")) == ["12", "34"]
    assert texts_of(read(spelt("12   34"), is_alone=True, length="3-5")) == ["12", "34"]
    card = spelt("4539 1488 0343 6467", 0.97)
    groups = texts_of(read(card, is_alone=True, length="16", check_digit="luhn"))
    assert groups == ["4539148803436467"]
    assert len(read(card, is_alone=True, check_digit="luhn")) == 4


def test_constraints_do_not_join_two_numbers_for_certain_of_which_one_meets_them() -> None:
    assert texts_of(read(spelt("1 234"), length="3-4")) == ["1", "234"]
    crop = dataclasses.replace(CROP)  # another strip, read by a network that knows no spaces
    no_space = dataclasses.replace(spelt("1234"), crop=crop, alphabet=ALPHABET.replace(" ", "?"))
    assert texts_of(read(spelt("1 234"), no_space, length="3-4")) == ["1", "234"]
    (likely,) = read(evidence({"1": 1.0}, {" ": 0.6}, {"2": 1.0}), length="2")
    assert text_of(likely) == "12" and likely.confidence > 0.9


def with_spaces(text: str, share: float, *places: int) -> LineEvidence:
    """Return the answer to a strip with a text, and a space with a probability before some of its digits."""
    shown: list[dict[str, float]] = []
    for index, digit in enumerate(text):
        shown += [{" ": share}] * (index in places) + [{digit: 0.999}]
    return evidence(*shown)


def test_constraints_split_a_line_where_that_is_likelier_than_that_it_breaks_them() -> None:
    row = read(with_spaces("305", 0.2, 1, 2), length="1")
    assert [text_of(result) for result in row] == ["3", "0", "5"]
    assert row[0].confidence == pytest.approx(0.2 * 0.95 / (0.2 * 0.95 + 0.8 * 0.05), abs=0.01)
    assert all(result.is_changed for result in row)
    for whole, share in (("305", 0.04), ("20241231", 1e-7)):
        result = only(read(with_spaces(whole, share, 1, 2), length="1"))
        assert text_of(result) == whole and result.breaks_constraints


def test_constraints_choose_the_likeliest_split() -> None:
    for constraints, texts in [
        ({"length": "2"}, ["12", "45"]),  # not at the likelier space
        ({"length": "1-3"}, ["1", "245"]),
        ({"values": "0-100"}, ["12", "45"]),  # 0.55 * 0.3, and 0.45 * 0.3 for three numbers
        ({"length": "5"}, ["1245"]),  # no split helps
    ]:
        line = evidence({"1": 0.999}, {" ": 0.45}, {"2": 0.999}, {" ": 0.3}, {"4": 0.999}, {"5": 0.999})
        assert [text_of(result) for result in read(line, **constraints)] == texts


def test_splits_that_meet_the_constraints_compete() -> None:
    line = evidence({"1": 1.0}, {" ": 0.45}, {"2": 1.0}, {" ": 0.4}, {"4": 1.0}, {"5": 1.0})
    first, second = read(line, values="0-100")  # 12|45 or 1|2|45
    two, three = 0.55 * 0.4, 0.45 * 0.4
    meets = 0.4 * 0.95 / (0.4 * 0.95 + 0.6 * 0.05)
    assert first.confidence == pytest.approx(meets * two / (two + three), abs=0.01)
    assert second.confidence == pytest.approx(meets, abs=0.01)


def test_a_number_that_constraints_leave_alone_is_unchanged() -> None:
    line = evidence({"5": 0.999}, {" ": 0.999}, {"3": 0.999}, {" ": 0.4}, {"4": 0.999})
    results = read(line, length="1")
    assert [(text_of(result), result.is_changed) for result in results] == [
        ("5", False),
        ("3", True),
        ("4", True),
    ]


def test_most_strips_tell_which_digits_are_split() -> None:
    for misread in [0, 1, 2]:
        lines = [evidence({"1": 0.99}, {"5": 0.99}, {" ": 0.4}, {"8": 0.99}) for _ in range(3)]
        lines[misread] = evidence({"7": 0.99}, {"5": 0.99}, {" ": 0.4}, {"8": 0.99})
        strips = [dataclasses.replace(line, crop=dataclasses.replace(CROP)) for line in lines]
        assert texts_of(read(*strips, values="0-20")) == ["15", "8"]


def test_strips_that_show_no_digit_are_not_split() -> None:
    line = evidence({"7": 0.45})
    assert line.digits == ""
    answers = RegionEvidence(RegionCrops(0, LINE, (line.crop,)), (line,), acceptance={"reading": 1.0})
    result = only(recognize_region(answers, parse_constraints(values="0-5"), 1))
    assert text_of(result) == "7" and result.breaks_constraints
    lines = [evidence({"7": share}) for share in (0.9, 0.4)]
    strips = [dataclasses.replace(line, crop=dataclasses.replace(CROP)) for line in lines]
    assert [line.digits for line in strips] == ["7", ""]
    assert only(read(*strips, values="0-5")).breaks_constraints


def test_constraints_join_no_numbers_over_an_operator() -> None:
    assert texts_of(read(spelt("5+3"), length="2")) == ["5", "3"]
    line = evidence({"5": 1.0}, {"+": 1.0}, {"3": 1.0}, {" ": 0.6}, {"4": 1.0})
    assert texts_of(read(line, pattern="5|34")) == ["5", "34"]
    assert texts_of(read(line, pattern="53|4")) == ["5", "3", "4"]


def test_operators_in_the_only_line_of_a_page_separate_numbers() -> None:
    line = spelt("12 + 5")
    alone = RegionEvidence(RegionCrops(0, LINE, (line.crop,)), (line,)).as_only(spelt("125"))
    assert [number.text for number in numbers_of(recognize_region(alone, None, 3))] == ["12", "5"]
    assert len(alone.lines) == 1 and not any(part.is_alone for part in alone.parts())


def test_the_only_number_of_a_page_has_the_whole_picture_and_weights_of_its_own() -> None:
    line = spelt("7", 0.9)
    evidence = RegionEvidence(RegionCrops(0, LINE, (line.crop,)), (line,))
    for text, confidence in (("7", 0.9), ("1", 0.45)):
        (result,) = recognize_region(evidence.as_only(spelt(text, 0.9 if text == "7" else 0.4)), None, 3)
        assert result.number is not None and result.number.text == "7"
        assert result.confidence == pytest.approx(confidence, abs=0.01)
    line = spelt("7", 0.9)
    crops = RegionCrops(0, LINE, (line.crop,))
    evidence = RegionEvidence(crops, (line,), acceptance={"reading": 1.0, f"{ALONE}bias": 0.0})
    (among,), (alone,) = (recognize_region(each, None, 1) for each in (evidence, evidence.as_only(None)))
    assert among.confidence == pytest.approx(0.9, abs=0.01) and alone.confidence == pytest.approx(0.5)


def test_a_line_runs_out_where_the_edge_of_the_page_cuts_a_character() -> None:
    for written, x, runs_out in [
        ("□42", 180, True),
        ("42□", 180, False),
        ("42□", 720, True),
        ("42", 720, False),
        ("□42", 210, False),
    ]:
        assert only(read(spelt(written), box=LineBox(x, 60, 340, 60, 0.0))).runs_out is runs_out
    assert only(read(spelt("12"), box=LineBox(450, 60, 6100, 60, 0.0))).runs_out
    first, second = read(spelt("12 34□"), box=LineBox(720, 60, 340, 60, 0.0))
    assert not first.runs_out and second.runs_out


def test_the_numbers_of_a_line_are_as_certain_as_their_own_digits() -> None:
    first, second = numbers_of(read(evidence({"1": 0.99}, {" ": 0.99}, {"3": 0.7, "8": 0.3})))
    assert first.confidence == pytest.approx(0.99, abs=0.01)
    assert second.confidence == pytest.approx(0.7, abs=0.01)
    assert second.digits[0].alternatives[0] == ("8", pytest.approx(0.3, abs=0.01))


def test_a_line_without_digits_has_no_numbers() -> None:
    for written in ["□", "-", ""]:
        result = only(read(spelt(written, 0.99)))
        assert result.number is None and result.confidence > 0.9


def test_the_strip_that_shows_the_text_gives_the_marks() -> None:
    second = dataclasses.replace(spelt("1.6", 0.9), crop=dataclasses.replace(CROP))
    (number,) = numbers_of(read(spelt("15", 0.6), second))
    assert (number.text, number.raw) == ("16", "1.6")
    line = evidence({"1": 0.6, "7": 0.4}, {".": 0.99}, {"5": 0.99})
    (number,) = numbers_of(read(line, values="75"))
    assert (number.text, number.raw) == ("75", "75")


def test_boxes_are_on_the_page() -> None:
    (number,) = numbers_of(read(spelt("15")))
    first, second = (digit.box for digit in number.digits)
    middle = 4.5 * 4 * 2 + 10  # columns of 4 pixels, twice as large on the page, which begins at 10
    assert first == (round(middle - 24), 20 + 8, 48, 64)
    assert second[0] - first[0] == 2 * 4 * COLUMNS_OF_A_PLACE
    output = line_output({"1": 0.99}, {"5": 0.99})
    line = LineEvidence(CROP, spelt("15").columns, output.logits, ALPHABET, None)
    (number,) = numbers_of(read(line))
    assert [digit.box for digit in number.digits] == [(10, 20, 400, 80)] * 2


def test_a_line_that_reaches_beyond_the_page_is_cut_off() -> None:
    for box, is_cut_off in [((210, 60), False), ((18, 60), False), ((0, 60), True), ((210, 199), True)]:
        assert only(read(spelt("15"), box=LineBox(*box, 40, 60, 0.0))).is_cut_off == is_cut_off


def test_alternatives_are_the_next_likely_digits_and_texts() -> None:
    (number,) = numbers_of(read(evidence({"1": 0.7, "7": 0.3}, {"5": 0.8, "6": 0.2})))
    assert number.text == "15"
    assert [text for text, _ in number.alternatives] == ["75", "16"]
    first, second = number.digits
    assert first.confidence == pytest.approx(0.7, abs=0.01) and first.alternatives[0][0] == "7"
    assert second.alternatives[0] == ("6", pytest.approx(0.2, abs=0.01))


def test_strips_are_averaged() -> None:
    result = only(read(evidence({"1": 0.9, "7": 0.1}), evidence({"1": 0.3, "7": 0.7})))
    assert text_of(result) == "1" and result.confidence == pytest.approx(0.6, abs=0.01)
    assert result.rival_confidence == pytest.approx(0.4, abs=0.01)
    result = only(read(evidence({"1": 0.1}), evidence({"1": 0.2})))
    assert result.number is None and result.confidence == pytest.approx(0.85, abs=0.02)
    result = only(read(evidence({"1": 0.3, "7": 0.25})))
    assert text_of(result) == "1" and result.confidence == pytest.approx(0.3, abs=0.02)


def test_a_number_is_never_surer_than_its_digits_nor_than_what_its_alternatives_leave() -> None:
    for bias in [-1.0, 0.0, 3.0]:
        line = evidence({"1": 0.6, "7": 0.4}, {"5": 0.7, "6": 0.3})
        crops = RegionCrops(0, LINE, (CROP,))
        answers = RegionEvidence(crops, (line,), acceptance={"reading": 1.0, "bias": bias})
        (result,) = recognize_region(answers, None, 5)
        assert result.number is not None and result.number.text == "15"
        assert all(digit.confidence >= result.confidence for digit in result.number.digits)
        assert result.confidence + sum(share for _, share in result.number.alternatives) <= 1 + 1e-9


def test_the_confidence_of_a_number_comes_from_its_weights() -> None:
    for bias in [0.0, -1.0]:
        crops = RegionCrops(0, LINE, (CROP,))
        answers = RegionEvidence(crops, (spelt("12 5", 0.99),), acceptance={"reading": 1.0, "bias": bias})
        for text, result in zip(["12", "5"], recognize_region(answers, None, 2), strict=True):
            assert result.number is not None and result.number.text == text
            probability = 0.99 ** (len(text) + 1)  # of its digits and of the space
            odds = probability / (1 - probability) * math.exp(bias)
            assert result.confidence == pytest.approx(odds / (1 + odds), abs=0.02)
            digits = [digit.confidence for digit in result.number.digits]
            assert digits == pytest.approx([result.confidence / probability * 0.99**2] * len(text), abs=0.02)


def test_a_place_where_hardly_a_number_stands_is_not_read() -> None:
    for bias, texts in [(-1.0, ["12", "5"]), (-2.0, [])]:
        crops = RegionCrops(0, LINE, (CROP,))
        answers = RegionEvidence(crops, (spelt("12 5", 0.99),), presence={"bias": bias})
        results = recognize_region(answers, None, 2)
        assert texts_of(results) == texts
        assert texts or [result.confidence for result in results] == pytest.approx([0.88] * 2, abs=0.01)


def test_constraints_are_met_broken_or_doubted_by_what_is_likely() -> None:
    line = evidence({"1": 0.6, "7": 0.4}, {"8": 0.9, "9": 0.1})
    free, luhn = only(read(line)), only(read(line, check_digit="luhn"))
    assert text_of(free) == text_of(luhn) == "18" and not luhn.is_changed
    ranged = only(read(line, values="70-99"))
    assert text_of(ranged) == "78" and ranged.is_changed and not ranged.breaks_constraints
    assert ranged.confidence == pytest.approx(0.36 / (0.4 + 0.05 * 0.6), abs=0.01)
    result = only(read(spelt("18", 0.99), length="5"))
    assert result.breaks_constraints and not result.is_changed and text_of(result) == "18"
    result = only(read(evidence({"1": 0.93, "7": 0.06}), values="7"))
    assert text_of(result) == "7" and result.is_changed and result.confidence < 0.6
    result = only(read(evidence({"1": 0.98, "7": 0.01}), values="7"))
    assert text_of(result) == "1" and result.breaks_constraints and not result.is_changed
    result = only(read(evidence({"7": 0.6, "1": 0.4}, {"5": 0.999}), values="0-20"))
    assert text_of(result) == "15" and result.is_changed


def test_a_network_that_reads_worse_makes_no_text_certain_that_constraints_force() -> None:
    lines = (evidence({"1": 0.98, "7": 0.01}), evidence({"1": 0.7, "7": 0.2}))
    answers = RegionEvidence(RegionCrops(0, LINE, (CROP, CROP)), lines, acceptance={"surest": 1.0})
    result = only(recognize_region(answers, parse_constraints(values="7"), 2))
    assert text_of(result) == "7" and result.confidence < 0.85


def test_a_doubt_is_that_of_the_numbers_beside_it() -> None:
    results = read(
        evidence(*({character: 0.999 if character == " " else 0.9} for character in "1 2 3 4 5 6"))
    )
    assert [result.confidence for result in results] == pytest.approx([0.9] * 6, abs=0.01)
    first, second, third = read(evidence({"1": 1}, {" ": 0.7}, {"2": 1}, {" ": 1}, {"3": 1}))
    assert (first.confidence, second.confidence) == pytest.approx((0.7, 0.7), abs=0.01)
    assert third.confidence == pytest.approx(1, abs=0.01)
    (number,) = read(evidence({"1": 1}, {" ": 0.3}, {"3": 1}))
    assert text_of(number) == "13" and number.confidence == pytest.approx(0.7, abs=0.01)
    line = evidence({"1": 1}, {" ": 0.7}, {"2": 1})
    free, constrained = read(line)[0], read(line, length="1-8")[0]
    assert constrained.confidence == pytest.approx(free.confidence, abs=0.01)
    assert texts_of(read(evidence({"1": 1.0}, {" ": 0.4}, {" ": 0.4}, {"2": 1.0}))) == ["1", "2"]


def test_a_strip_that_shows_another_number_of_numbers_is_outvoted_and_speaks_against_every_text() -> None:
    joined, *split = (
        dataclasses.replace(spelt(text), crop=dataclasses.replace(CROP)) for text in ("12", "1 2", "1 2")
    )
    first, second = read(joined, *split)
    assert (text_of(first), text_of(second)) == ("1", "2")
    assert (first.confidence, second.confidence) == pytest.approx((2 / 3, 2 / 3), abs=0.01)


def test_the_surest_strip_says_how_many_numbers_a_line_holds() -> None:
    unsure = evidence({"1": 0.999}, {" ": 0.6}, {"2": 0.999})
    sure = dataclasses.replace(spelt("12"), crop=dataclasses.replace(CROP))
    assert texts_of(read(unsure, sure)) == texts_of(read(sure, unsure)) == ["12"]


def test_every_region_gets_the_answers_of_every_reader_that_is_needed() -> None:
    first, second = FakeReader("12", "3", likely=0.9), FakeReader("45", "6", likely=0.9)
    regions = [RegionCrops(0, LINE, (CROP, CROP)) for _ in range(2)]
    answers = run_networks(regions, cast(list[LineRecognizer], [first, second]), {}, {})
    assert [len(each.lines) for each in answers] == [4, 4]
    assert [each.raw for each in answers] == ["12", "3"]
    (shares,) = numbers_of(recognize_region(answers[1], None, 2))
    assert shares.text in ("3", "6") and shares.confidence == pytest.approx(0.45, abs=0.01)
    assert first.calls == second.calls == [2, 2]
    first, second = FakeReader("12", "3"), FakeReader("45", "6")
    regions = [RegionCrops(0, LINE, (CROP, CROP)) for _ in range(2)]
    answers = run_networks(regions, cast(list[LineRecognizer], [first, second]), {}, {})
    assert [each.raw for each in answers] == ["12", "3"] and [len(each.lines) for each in answers] == [1, 1]
    assert (first.calls, second.calls) == ([2], [])
    reader = FakeReader("1")
    assert run_networks([], cast(list[LineRecognizer], [reader]), {}, {}) == []
    assert reader.calls == []


def test_a_second_strip_is_read_only_if_the_first_leaves_a_doubt() -> None:
    regions = [RegionCrops(0, LINE, (CROP, CROP)) for _ in range(2)]
    for likely, calls in ((0.999, [2]), (0.9, [2, 2])):
        reader = FakeReader("1", "2", likely=likely)
        answers = run_networks(regions, cast(list[LineRecognizer], [reader]), {}, {})
        assert reader.calls == calls
        assert [len(each.lines) for each in answers] == [len(calls)] * 2


def test_the_page_that_a_line_fills_is_read_by_networks_for_ink_alone() -> None:
    of_strips, of_ink = FakeReader("1", likely=0.9), FakeReader("1", name="reader", likely=0.9)
    readers = cast(list[LineRecognizer], [of_strips, of_ink])
    for fills_page, calls in ((False, 3), (True, 2)):
        of_strips.calls, of_ink.calls = [], []
        run_networks([RegionCrops(0, LINE, (CROP, CROP, CROP), fills_page)], readers, {}, {})
        assert (sum(of_strips.calls), sum(of_ink.calls)) == (calls, 3)


def test_a_second_strip_confirms_that_a_character_at_an_end_is_cut_off() -> None:
    of_ink = FakeReader("12", name="reader")
    regions = [RegionCrops(0, LINE, (CROP, CROP))]
    for texts, raws in ((("12□", "12"), ["12□", "12"]), (("12", "12"), ["12"])):
        of_strips = FakeReader(*texts)  # certain
        (answers,) = run_networks(regions, cast(list[LineRecognizer], [of_strips, of_ink]), {}, {})
        assert [line.raw for line in answers.lines] == raws


def test_a_reader_of_ink_gets_the_ink_of_strips() -> None:
    light_on_dark = np.full((3, 40, 80), 128, np.uint8)
    light_on_dark[:, 10:30, 38:42] = 250
    regions = [
        RegionCrops(0, LINE, (LineCrop(image, CROP.to_page, CROP.page_size),))
        for image in (light_on_dark, 255 - light_on_dark)
    ]
    seen: list[np.ndarray] = []
    reader = FakeReader("1", name="reader")
    outputs = reader.outputs
    reader.outputs = lambda crops: (seen.extend(crops), outputs(crops))[1]  # type: ignore[method-assign]
    run_networks(regions, cast(list[LineRecognizer], [reader]), {}, {})
    for ink in seen:
        assert ink.shape == (40, 80) and ink.dtype == np.uint8
        assert ink[12:28, 39:41].min() > 200 and ink[:, :20].max() < 40


def test_networks_without_spaces_are_split_where_the_first_one_finds_them() -> None:
    first, second = spelt("12 34", 0.99), spelt("12 34", 0.99)
    blank = second.with_marks.copy()
    blank[:, ALPHABET.index(" ")] = -20.0
    without_space = dataclasses.replace(second, with_marks=blank)
    wider = dataclasses.replace(CROP)
    lines = first, without_space, *(dataclasses.replace(each, crop=wider) for each in (first, without_space))
    parts = RegionEvidence(RegionCrops(0, LINE, (CROP, wider)), lines).parts()
    assert [len(part.lines) for part in parts] == [4, 4]
    assert [part.raw for part in parts] == ["12 ", "34"]
    widest = dataclasses.replace(first, crop=dataclasses.replace(CROP))
    crops = RegionCrops(0, LINE, (CROP, wider, widest.crop))
    unseen = RegionEvidence(crops, (lines[0], lines[3], widest)).parts()
    assert [part.shares for part in unseen] == [pytest.approx((0.99, 0, 0.99), abs=0.02)] * 2
    knows_no_space = dataclasses.replace(lines[3], alphabet=ALPHABET.replace(" ", "?"))
    alone = RegionEvidence(RegionCrops(0, LINE, (CROP, wider)), (lines[0], knows_no_space)).parts()
    assert [part.shares for part in alone] == [pytest.approx((0.99, 0.99), abs=0.02)] * 2


def test_a_strip_with_other_digits_that_shows_another_number_of_numbers_dissents() -> None:
    lines = [
        dataclasses.replace(spelt(text), crop=dataclasses.replace(CROP)) for text in ("12", "1 2", "1 2")
    ]
    lines.append(dataclasses.replace(spelt("123"), crop=dataclasses.replace(CROP)))
    crops = RegionCrops(0, LINE, tuple(line.crop for line in lines))
    first, second = RegionEvidence(crops, tuple(lines)).parts()
    assert (first.dissent, second.dissent) == (1, 1)
    assert first.hypotheses(ANY_DIGITS)["1"] == pytest.approx(0.5, abs=0.01)


def test_a_digit_that_may_stand_in_a_gap_makes_both_numbers_doubtful() -> None:
    line = evidence({"1": 1.0}, {"2": 1.0}, {OTHER: 0.4, "7": 0.3, "1": 0.3}, {"3": 1.0}, {"4": 1.0})
    first, second = read(line)
    assert (text_of(first), text_of(second)) == ("12", "34")
    assert (first.confidence, second.confidence) == pytest.approx((0.4, 0.4), abs=0.01)


def test_the_tails_of_digits_beside_a_space_make_no_number_doubtful() -> None:
    places = {"1": 1.0}, {"1": 0.45}, {" ": 1.0}, {"2": 0.45}, {"2": 1.0}
    tails = evidence(*places).with_marks
    columns = [4, *range(13, 14), 22, 31, 40]  # without blanks between them, so that each digit is one
    line = LineEvidence.of(CROP, dataclasses.replace(line_output(), logits=tails[columns]), ALPHABET, 1.0)
    parts = RegionEvidence(RegionCrops(0, LINE, (CROP,)), (line,)).parts()
    assert [part.shares for part in parts] == [pytest.approx((1.0,), abs=0.01)] * 2


def test_the_parts_of_a_line_have_their_own_length() -> None:
    crops = RegionCrops(0, LINE, (CROP,))
    whole = RegionEvidence(crops, (spelt("1234"),)).features("1234", 0.9, 0.0)
    parts = [part.features("12", 0.9, 0.0) for part in RegionEvidence(crops, (spelt("12 34"),)).parts()]
    assert all(part["pitch"] < 1 for part in [whole, *parts])
