"""The texts that a strip may hold, and their probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.inference.ctc import ANY_DIGITS
from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.digits_apart import digit_hypotheses, probability_of_no_digit
from digitcli.recognition.line_evidence import (
    CONSTRAINT_DOUBT,
    breaks_constraints,
    digit_shares,
    given_constraints,
    likeliest_text,
    recalibrated,
    with_unlikely_digits,
)

ONLY_SEVEN = Constraints(values=(7, 7))


def test_every_digit_of_a_classifier_is_tried() -> None:
    hypotheses = digit_hypotheses(np.eye(10)[[1]], ANY_DIGITS)
    assert set(hypotheses) - {""} == set("0123456789")
    assert hypotheses["1"] == pytest.approx(1) and hypotheses["7"] < 1e-11
    assert set(digit_hypotheses(np.eye(10)[[1]], ONLY_SEVEN)) == {"7"}


def test_doubt_moves_probability_to_the_empty_text() -> None:
    hypotheses = digit_hypotheses(np.eye(10)[[1]], ANY_DIGITS, doubt=0.5)
    assert hypotheses["1"] == pytest.approx(0.5) and hypotheses[""] == pytest.approx(0.5)


def test_ten_equal_probabilities_mean_no_digit() -> None:
    assert probability_of_no_digit(np.full((1, 10), 0.1)) == pytest.approx(1)
    assert probability_of_no_digit(np.eye(10)[[3]]) == 0
    assert probability_of_no_digit(0.7 * np.eye(10)[[3]] + 0.3 / 10) == pytest.approx(0.3)


def test_the_empty_text_needs_a_probability_above_the_threshold() -> None:
    hypotheses = {"": 0.6, "1": 0.3, "7": 0.1}
    assert likeliest_text(hypotheses, 0.6) == "1"
    assert likeliest_text(hypotheses, 0.5) == ""
    assert likeliest_text({"": 0.1}, 0.5) == ""


def test_constraints_leave_some_doubt() -> None:
    hypotheses = given_constraints({"7": 0.2, "1": 0.8}, ONLY_SEVEN)
    assert hypotheses == {"7": pytest.approx(0.2 / (0.2 + CONSTRAINT_DOUBT * 0.8))}
    assert given_constraints({"7": 1.0}, ONLY_SEVEN) == {"7": 1.0}


def test_only_texts_of_the_same_length_share_a_place() -> None:
    hypotheses = {"12": 0.5, "72": 0.2, "1": 0.2, "": 0.1}
    assert digit_shares(hypotheses, "12", 0) == {"1": 0.5, "7": 0.2}
    assert digit_shares(hypotheses, "12", 1) == {"2": pytest.approx(0.7)}


@pytest.mark.parametrize("confidence", [0.0, 0.1, 0.4, 0.9, 1.0])
def test_texts_with_another_confidence_of_the_best_add_up_to_1_at_most(confidence: float) -> None:
    changed = recalibrated({"12": 0.4, "72": 0.3, "1": 0.2, "": 0.1}, "12", confidence)
    assert changed["12"] == pytest.approx(confidence) and sum(changed.values()) <= 1 + 1e-9
    assert changed["72"] == pytest.approx(0.3 * min(confidence / 0.4, (1 - confidence) / 0.6))


def test_a_text_that_was_certain_leaves_nothing_to_others() -> None:
    certain = {"7": 1.0, "1": 1e-13}
    assert recalibrated(certain, "7", 0.9) == {"7": 0.9, "1": pytest.approx(9e-14)}
    assert sum(recalibrated(certain, "7", 1.0).values()) == 1.0


@pytest.mark.parametrize("left", [0.0, 1e-4, 0.1])
def test_unlikely_digits_share_at_most_what_the_others_leave(left: float) -> None:
    column = np.log(np.array([0.005, 0.002, 0.001, *[0.0005] * 7, 0.99], np.float32))
    shares = with_unlikely_digits({"7": 1 - left}, column)
    assert sorted(shares) == list("0123456789") and shares["7"] == 1 - left
    assert sum(shares.values()) <= 1 + 1e-9
    assert sum(shares.values()) == pytest.approx(min(1.0, 1 - left + 0.011), abs=1e-6)
    assert shares["0"] > shares["1"] > shares["2"] > shares["3"] or left == 0.0


def test_a_number_breaks_constraints_where_that_is_likelier_than_a_mistake() -> None:
    length, luhn = parse_constraints(length="3"), parse_constraints(check_digit="luhn")
    assert length is not None and luhn is not None
    assert breaks_constraints({"17": 0.97, "117": 0.02}, {"117": 0.02}, length)
    assert not breaks_constraints({"17": 0.9, "117": 0.09}, {"117": 0.09}, length)
    assert breaks_constraints({"17": 1.0}, {}, length)
    # Of ten texts that are as likely, a check digit accepts one: that it is right says more.
    assert not breaks_constraints({"17": 0.97, "18": 0.02}, {"18": 0.02}, luhn)
    assert breaks_constraints({"17": 0.99, "18": 0.002}, {"18": 0.002}, luhn)


@pytest.mark.parametrize("scheme", ["luhn", "ean", "mod97"])
def test_a_check_digit_accepts_its_share_of_numbers(scheme: str) -> None:
    constraints = parse_constraints(check_digit=scheme)
    assert constraints is not None
    random = np.random.default_rng(0)
    texts = ["".join(map(str, random.integers(0, 10, 13))) for _ in range(4000)]
    share = np.mean([constraints.accepts(text) for text in texts])
    assert share == pytest.approx(constraints.share_valid, rel=0.3)
