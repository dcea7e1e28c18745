"""Digits that stand apart are read by classifiers of single digits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.errors import PictureError
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import BLANK
from digitcli.recognition.digit_regions import Component, DigitCrops, Region
from digitcli.recognition.digits_apart import (
    central_digit,
    decide_digits,
    decide_faint_page,
    recognize_digits,
)
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Nothing, Number
from tests.support.pictures import drawn, grey_of, written
from tests.support.readings import number_of


def region(components: int = 1, **facts: bool) -> Region:
    boxes = [(10 + 60 * number, 20, 40, 70) for number in range(components)]
    return Region(tuple(Component(box, False) for box in boxes), **facts)


def read(
    digits: np.ndarray,
    *,
    place: Region | None = None,
    can_reject: bool = False,
    top_k: int = 3,
    **constraints: str | bool,
) -> Number | Nothing:
    """Recognize a region of whose digits a classifier gives these probabilities."""
    crops = DigitCrops(place or region(len(digits)), np.zeros((len(digits), 2, 28, 28), np.uint8))
    given = parse_constraints(**constraints)  # type: ignore[arg-type]
    return recognize_digits(crops, digits, can_reject, given, top_k)


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
    assert [digit.box for digit in read.digits] == [each.box for each in region(2).components]
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


def test_the_reason_of_a_number_is_a_fraction_before_the_edge_and_the_edge_before_constraints() -> None:
    both, of_3 = np.eye(10)[[3, 4]], {"length": "3"}
    facts = {"is_in_fraction": True, "runs_out": True}
    for place, constraints, reason in (
        (facts, of_3, "not_a_digit"),
        ({"runs_out": True}, of_3, "cut_off"),
        ({}, of_3, "constraint"),
        ({}, {}, None),
        (facts, {"length": "1"}, "cut_off"),  # two digits at a bar are no fraction
        ({"is_in_fraction": True}, {"length": "1"}, "constraint"),
        ({"is_in_fraction": True}, {"values": "0-99"}, "not_a_digit"),
    ):
        assert number(both, place=region(2, **place), **constraints).reason == reason, (place, constraints)
    assert number(np.eye(10)[[3]], place=region(1, is_in_fraction=True), length="1").status == "read"


def test_the_doubt_of_a_number_is_the_edge_or_another_text_that_is_as_likely() -> None:
    cut_off = Region((Component((0, 0, 10, 30), True),))
    assert number(probabilities(d1=0.4, d7=0.3), place=cut_off).doubt == "cut_off"
    for second, doubt in ((0.42, "two_candidates"), (0.05, "low_confidence")):
        assert number(probabilities(d1=0.45, d7=second)).doubt == doubt


def test_a_page_is_its_numbers_blank_or_no_digits_and_as_sure_as_all_of_its_regions() -> None:
    fraction = [number_of(text, 0.99).refused_for("not_a_digit") for text in "34"]
    for places, length, status, reason, text, confidence in (
        ([], None, "blank", "blank", "", 0.9),
        ([Nothing(0.95)], None, "refused", "not_a_digit", "", 0.95),
        ([number_of("12", 0.9), Nothing(0.8)], None, "read", None, "12", 0.72),
        ([number_of("1", 0.3), number_of("7", 0.3)], None, "refused", "not_a_digit", "", 0.5),  # a photograph
        ([number_of("1", 0.3), number_of("7", 0.3)], "1", "read", None, "1 7", 0.09),
        (fraction, None, "refused", "not_a_digit", "", 0.99**2),
        ([*fraction, number_of("12", 0.99)], None, "partial", "not_a_digit", "3 4 12", 0.99**3),
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
