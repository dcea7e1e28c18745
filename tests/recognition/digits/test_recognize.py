"""The answers of classifiers become numbers: their texts, confidences, and the effect of constraints."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.decision import NumberResult
from digitcli.recognition.digits.crops import DigitCrops
from digitcli.recognition.digits.recognize import probability_of_no_digit, recognize_number


def probabilities(**shares: float) -> np.ndarray:
    """Return the probabilities (1, 10) of the digits: probabilities(d3=0.9, d5=0.1)."""
    return np.array([[shares.get(f"d{digit}", 0.0) for digit in range(10)]])


def even(share: float, digit: int = 7) -> np.ndarray:
    """Return the probabilities (1, 10) of a digit, mixed with even ones."""
    return (1 - share) * np.eye(10)[[digit]] + share / 10


def read(
    *rows: np.ndarray,
    can_reject: bool = False,
    is_cut_off: bool = False,
    top_k: int = 3,
    **constraints: str | bool,
) -> NumberResult:
    """Recognize a number whose digits have these probabilities."""
    boxes = tuple((10 + 60 * place, 20, 40, 70) for place in range(len(rows)))
    crops = DigitCrops(2, boxes, is_cut_off, np.zeros((len(rows), 2, 28, 28), np.uint8))
    limits = parse_constraints(**constraints)  # type: ignore[arg-type]
    return recognize_number(crops, np.concatenate(rows), can_reject, limits, top_k)


def text_of(result: NumberResult) -> str | None:
    return result.number and result.number.text


def test_a_number_is_the_product_of_its_digits() -> None:
    result = read(probabilities(d3=0.9, d5=0.1), probabilities(d0=0.8, d6=0.2), top_k=10)
    number = result.number
    assert number is not None
    assert (number.text, number.raw, number.row) == ("30", "30", 2)
    assert result.confidence == number.confidence == pytest.approx(0.72, abs=0.001)
    assert result.rival_confidence == pytest.approx(0.18, abs=0.001)
    assert [digit.confidence for digit in number.digits] == pytest.approx([0.9, 0.8])
    assert [digit.box for digit in number.digits] == [(10, 20, 40, 70), (70, 20, 40, 70)]
    assert len(number.digits[0].alternatives) == 9
    assert number.alternatives[0] == ("36", pytest.approx(0.18, abs=0.001))


def test_every_digit_of_a_classifier_is_tried() -> None:
    assert text_of(read(np.eye(10)[[1]], values="7")) == "1"
    assert text_of(read(probabilities(d1=1 - 1e-5, d7=1e-5), values="7")) == "7"


def test_ten_equal_probabilities_mean_no_digit() -> None:
    assert probability_of_no_digit(even(1.0)) == 1
    assert probability_of_no_digit(even(0.4)) == pytest.approx(0.4)
    assert probability_of_no_digit(even(0.0)) == 0


def test_networks_that_reject_make_a_lone_component_less_likely_a_digit() -> None:
    assert read(even(0.2), can_reject=True).confidence == pytest.approx(0.8 * 0.82)
    rejected = read(even(0.9), can_reject=True)
    assert rejected.number is None and rejected.is_other and rejected.confidence == pytest.approx(0.9)
    assert text_of(read(even(0.9))) == "7"


def test_none_of_several_components_is_rejected() -> None:
    both = even(0.9, 1), even(0.9, 5)
    assert read(*both, can_reject=True) == read(*both)


def test_constraints_do_not_silence_rejection() -> None:
    result = read(even(0.4), can_reject=True, values="0-9")
    assert text_of(result) == "7" and 0.5 < result.confidence < 1


def test_a_text_that_meets_the_constraints_is_read_where_it_is_likely() -> None:
    rows = probabilities(d1=0.6, d7=0.4), probabilities(d8=0.9, d9=0.1)
    free, luhn = read(*rows), read(*rows, check_digit="luhn")
    assert text_of(free) == text_of(luhn) == "18" and not luhn.is_changed
    ranged = read(*rows, values="70-99")
    assert text_of(ranged) == "78" and ranged.is_changed and not ranged.breaks_constraints
    assert ranged.confidence == pytest.approx(0.36 / (0.4 + 0.05 * 0.6), abs=0.01)


def test_constraints_that_no_likely_text_meets_are_broken() -> None:
    result = read(probabilities(d1=0.99, d7=0.01), probabilities(d8=0.99, d3=0.01), length="5")
    assert result.breaks_constraints and not result.is_changed and text_of(result) == "18"


def test_constraints_make_no_unlikely_text_certain() -> None:
    result = read(probabilities(d1=0.99, d7=0.01), values="7")
    assert text_of(result) == "7" and result.is_changed and result.confidence < 0.3


def test_a_lone_component_at_the_edge_is_cut_off() -> None:
    assert read(probabilities(d7=0.9, d1=0.1), is_cut_off=True).is_cut_off
