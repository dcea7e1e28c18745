"""Digits that stand apart are read by classifiers of single digits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digitcli.errors import PictureError
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import NumberResult
from digitcli.recognition.digit_regions import Component, DigitCrops, Region
from digitcli.recognition.digits_apart import DigitEvidence, central_digit, recognize_digits
from digitcli.recognition.reader import Reader
from tests.support.pictures import drawn, grey_of, written


def region(components: int = 1) -> Region:
    boxes = [(10 + 60 * number, 20, 40, 70) for number in range(components)]
    return Region(tuple(Component(box, False) for box in boxes))


def read(
    digits: np.ndarray,
    *,
    place: Region | None = None,
    can_reject: bool = False,
    top_k: int = 3,
    **constraints: str | bool,
) -> NumberResult:
    """Recognize a region of whose digits a classifier gives these probabilities."""
    crops = DigitCrops(place or region(len(digits)), np.zeros((len(digits), 2, 28, 28), np.uint8))
    answers = DigitEvidence(crops, digits, can_reject)
    return recognize_digits(answers, parse_constraints(**constraints), top_k)  # type: ignore[arg-type]


def text_of(result: NumberResult) -> str:
    return "" if result.number is None else result.number.text


def probabilities(**by_digit: float) -> np.ndarray:
    return np.array([[by_digit.get(f"d{digit}", 0.0) for digit in range(10)]])


def even(share: float, digit: int = 7) -> np.ndarray:
    """Probabilities (1, 10) of a digit, mixed with even ones."""
    return (1 - share) * np.eye(10)[[digit]] + share / 10


def test_digits_alone_are_the_product_of_their_probabilities() -> None:
    rows = np.vstack([probabilities(d3=0.9, d5=0.1), probabilities(d0=0.8, d6=0.2)])
    place = region(components=2)
    result = read(rows, place=place, top_k=10)
    assert result.number is not None
    boxes = [component.box for component in place.components]
    assert [digit.box for digit in result.number.digits] == boxes and (
        result.number.text,
        result.number.raw,
    ) == ("30", "30")
    assert result.confidence == pytest.approx(0.72, abs=0.001)
    assert result.rival_confidence == pytest.approx(0.18, abs=0.001)
    assert [digit.confidence for digit in result.number.digits] == pytest.approx([0.9, 0.8])
    assert len(result.number.digits[0].alternatives) == 9


def test_alternatives_are_the_next_likely_digits_and_texts() -> None:
    rows = np.vstack([probabilities(d1=0.7, d7=0.3), probabilities(d5=0.8, d6=0.2)])
    number = read(rows).number
    assert number is not None and number.text == "15"
    assert [text for text, _ in number.alternatives] == ["75", "16"]
    assert number.digits[0].alternatives[0] == ("7", pytest.approx(0.3))


def test_networks_that_reject_make_a_lone_digit_less_likely_and_no_other() -> None:
    assert read(even(0.2), can_reject=True).confidence == pytest.approx(0.8 * 0.82)
    assert read(even(0.2)).confidence == pytest.approx(0.82)
    assert read(even(0.9), can_reject=True).number is None
    assert read(even(0.9)).number is not None
    both = np.concatenate([even(0.9, 1), even(0.9, 5)])
    rejecting, plain = read(both, can_reject=True), read(both)
    assert text_of(rejecting) == text_of(plain) == "15" and rejecting.confidence == plain.confidence
    result = read(even(0.4), can_reject=True, values="0-9")
    assert text_of(result) == "7" and 0.5 < result.confidence < 1


def test_constraints_are_met_broken_or_doubted_by_what_is_likely() -> None:
    rows = np.vstack([probabilities(d1=0.6, d7=0.4), probabilities(d8=0.9, d9=0.1)])
    free, luhn = read(rows), read(rows, check_digit="luhn")
    assert text_of(free) == text_of(luhn) == "18" and not luhn.is_changed
    ranged = read(rows, values="70-99")
    assert text_of(ranged) == "78" and ranged.is_changed and not ranged.breaks_constraints
    assert ranged.confidence == pytest.approx(0.36 / (0.4 + 0.05 * 0.6), abs=0.01)
    result = read(np.eye(10)[[1, 8]], length="5")
    assert result.breaks_constraints and not result.is_changed and text_of(result) == "18"
    result = read(probabilities(d1=0.93, d7=0.06), values="7")
    assert text_of(result) == "7" and result.is_changed and result.confidence < 0.6
    result = read(probabilities(d1=0.98, d7=0.01), values="7")
    assert text_of(result) == "1" and result.breaks_constraints and not result.is_changed


def test_a_lone_component_at_the_edge_is_cut_off() -> None:
    cut_off = Region((Component((0, 0, 10, 30), True),))
    assert read(probabilities(d1=0.4, d7=0.3), place=cut_off).is_cut_off


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
