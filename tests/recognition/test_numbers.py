"""What the networks say of a line becomes a number: its text, boxes, confidence, doubt and alternatives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.confidence import (
    ALONE,
    LARGEST_LOG_ODDS,
    TYPICAL_PITCH,
    Weights,
    features,
    features_of_nothing,
    from_log_odds,
    logistic,
)
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.digits_apart import digit_hypotheses, probability_of_no_digit
from digitcli.recognition.numbers import (
    CONSTRAINT_DOUBT,
    breaks_constraints,
    digit_shares,
    given_constraints,
    likeliest_text,
    reason_for_doubt,
    recalibrated,
    with_unlikely_digits,
)
from digitcli.recognition.readings import Nothing
from digitcli.strip_format import ALPHABET, OTHER
from tests.support.lines import STRIP, answer, constraints_of, line_of, read_number, read_place, spelt
from tests.support.networks import COLUMNS_OF_A_PLACE

ONLY_SEVEN = Constraints(values=(7, 7))


def test_a_line_is_read_with_its_marks() -> None:
    for written, text, raw in (
        ("1.50-", "150", "1.50-"),
        ("11/22/2019", "11222019", "11/22/2019"),
        ("= 17 □", "17", "=17"),
        ("□500,-", "500", "500,-"),
    ):
        number = read_number(line_of(spelt(written, 0.99), row=4))
        assert (number.text, number.raw, number.row) == (text, raw, 4)
        assert number.confidence == pytest.approx(0.99 ** len(text), abs=0.01)
        assert (number.status, number.reason, number.doubt) == ("read", None, "low_confidence")
        assert not number.is_changed
    number = read_number(line_of(spelt("1.50-")))
    assert number.line is not None and number.line.shape == (40, 4 * 5 * COLUMNS_OF_A_PLACE)
    number = read_number(line_of(spelt("15", 0.6), spelt("1.6", 0.9)))
    assert (number.text, number.raw) == ("16", "1.6")  # the strip that shows the text gives the marks
    number = read_number(line_of(answer({"1": 0.6, "7": 0.4}, {".": 0.99}, {"5": 0.99})), {"values": "75"})
    assert (number.text, number.raw) == ("75", "75")


def test_a_line_without_digits_has_no_number() -> None:
    for written, is_other in ((OTHER, True), ("-", False), ("", False)):
        nothing = read_place(line_of(spelt(written, 0.99)))
        assert isinstance(nothing, Nothing) and nothing.is_other == is_other
        assert nothing.confidence == pytest.approx(1.0, abs=0.02)
    nothing = read_place(line_of(answer({"1": 0.1}), answer({"1": 0.2})))
    assert isinstance(nothing, Nothing) and nothing.confidence == pytest.approx(0.85, abs=0.01)
    number = read_number(line_of(answer({"1": 0.3, "7": 0.25})))  # one of them is likelier than none
    assert number.text == "1" and number.confidence == pytest.approx(0.3, abs=0.01)
    counted = Weights({"reading": 1.0})  # the weights count that no digit may be written
    for likely, has_number in ((0.03, True), (0.015, False)):
        assert isinstance(read_place(line_of(spelt("1", likely)), weights=counted), Nothing) != has_number


def test_boxes_are_on_the_page() -> None:
    first, second = (digit.box for digit in read_number(line_of(spelt("15"))).digits)
    middle = 4.5 * 4 * 2 + 10  # columns of 4 pixels, twice as large on the page, which begins at 10
    assert first == (round(middle - 24), 20 + 8, 48, 64)
    assert second[0] - first[0] == 2 * 4 * COLUMNS_OF_A_PLACE
    part = read_number(line_of(spelt("15").part(COLUMNS_OF_A_PLACE, 99)))
    assert [digit.box for digit in part.digits] == [second]
    unplaced = replace(spelt("15"), distances=None)
    assert [digit.box for digit in read_number(line_of(unplaced)).digits] == [(10, 20, 400, 80)] * 2
    placed = read_number(line_of(unplaced, spelt("15", 0.9)))  # less sure, but with boxes
    assert [digit.box for digit in placed.digits] == [first, second]


def test_alternatives_are_the_next_likely_digits_and_texts_of_all_strips() -> None:
    line = line_of(answer({"1": 0.7, "7": 0.3}, {"5": 0.8, "6": 0.2}))
    number = read_number(line)
    assert number.text == "15" and [text for text, _ in number.alternatives] == ["75", "16"]
    first, second = number.digits
    assert first.confidence == pytest.approx(0.7, abs=0.01) and first.alternatives[0][0] == "7"
    assert dict(second.alternatives)["6"] == pytest.approx(0.2, abs=0.01)
    assert len(second.alternatives) == 2 and read_number(line, top_k=1).alternatives == ()
    for bias in (-1.0, 0.0, 3.0):
        number = read_number(line, weights=Weights({"reading": 1.0, "bias": bias}), top_k=5)
        assert all(digit.confidence >= number.confidence for digit in number.digits)
        assert number.confidence + sum(share for _, share in number.alternatives) <= 1 + 1e-9
    number = read_number(line_of(answer({"1": 0.9, "7": 0.1}), answer({"1": 0.3, "7": 0.7})))
    assert number.text == "1" and number.confidence == pytest.approx(0.6, abs=0.01)
    assert dict(number.alternatives) == pytest.approx({"7": 0.4}, abs=0.01)


def test_a_line_runs_out_where_the_edge_of_the_page_cuts_a_character() -> None:
    for written, x, side, runs_out in (
        ("□42", 180, "", True),
        ("42□", 180, "", False),
        ("42□", 720, "", True),
        ("42", 720, "", False),
        ("□42", 187, "", True),
        ("□42", 189, "", False),
        ("□42", 180, "is_first", False),
        ("42□", 720, "is_last", False),
    ):
        fields = {side: False} if side else {}
        number = read_number(line_of(spelt(written), box=LineBox(x, 60, 340, 60, 0.0), **fields))
        assert (number.reason == "cut_off") == runs_out and (number.status == "refused") == runs_out
    at_edge = LineBox(180, 60, 340, 60, 0.0)
    knows_no_other = replace(spelt("42"), alphabet=ALPHABET.replace(OTHER, "?"))
    for second, runs_out in ((spelt("42"), False), (spelt("□42"), True), (knows_no_other, True)):
        assert (read_number(line_of(spelt("□42"), second, box=at_edge)).reason == "cut_off") == runs_out
    for length, runs_out in ((6000, False), (6001, True)):  # 100 heights
        number = read_number(line_of(spelt("12"), box=LineBox(450, 60, length, 60, 0.0)))
        assert (number.reason == "cut_off") == runs_out


def test_a_number_knows_why_it_is_doubtful() -> None:
    faint = replace(STRIP, is_faint=True)
    sure, rivals = spelt("15"), answer({"1": 0.55, "7": 0.42}, {"5": 1.0})
    for line, doubt in (
        (line_of(sure), "low_confidence"),
        (line_of(rivals), "two_candidates"),
        (line_of(spelt("15", strip=faint)), "too_faint"),
        (line_of(rivals, spelt("15", strip=faint)), "too_faint"),
    ):
        assert read_number(line).doubt == doubt
    for x, doubt in ((17, "too_faint"), (15, "cut_off"), (883, "too_faint"), (885, "cut_off")):
        assert read_number(line_of(spelt("15", strip=faint), box=LineBox(x, 60, 40, 60, 0.0))).doubt == doubt
    for confidence, rival, doubt in (
        (0.65, 0.15, "two_candidates"),
        (0.64, 0.15, "low_confidence"),
        (0.75, 0.1, "two_candidates"),
        (0.75, 0.09, "low_confidence"),
    ):
        assert reason_for_doubt(confidence, rival) == doubt


def test_features_are_log_odds_and_sizes() -> None:
    found = FoundLine(LineBox(0, 0, 60, 10, 0.0), score=0.8, other_score=0.25, level_px=30)
    line = replace(line_of(spelt("1234")), found=found, beside=2.5)
    values = features(line, "1234", line.hypotheses["1234"], 0.2)
    reading = math.log(0.999**4 / (1 - 0.999**4))
    pitch = math.log(1.5 / TYPICAL_PITCH)
    expected = reading, reading, -math.log(4), math.log(4), -math.log(3), 2.5, math.log(4), pitch, 1.0
    assert " ".join(values) == "reading surest nothing finder other beside digits pitch bias"
    assert list(values.values()) == pytest.approx(expected, abs=0.02)
    for probability, log_odds in ((0.0, -LARGEST_LOG_ODDS), (1.0, LARGEST_LOG_ODDS)):
        assert features(line, "1234", probability, 0.2)["reading"] == log_odds
        assert features_of_nothing(probability) == {"nothing": log_odds, "bias": 1.0}
    pitches = [features(line, "1" * digits, 0.9, 0.2)["pitch"] for digits in (2, 7, 20)]
    assert pitches[0] > pitches[1] < pitches[2]
    # The surest answer gains by constraints what the mean does; no answer has the text "9".
    two = line_of(answer({"1": 0.8}), answer({"1": 0.4}))
    assert features(two, "1", 0.6, 0.0)["surest"] == pytest.approx(math.log(4), abs=0.01)
    gain = math.log(9) - math.log(1.5)
    assert features(two, "1", 0.9, 0.0)["surest"] == pytest.approx(math.log(4) + gain, abs=0.01)
    assert features(two, "9", 0.3, 0.0)["surest"] == pytest.approx(math.log(3 / 7), abs=0.01)
    half = replace(two, probability=0.5)
    assert features(half, "1", 0.3, 0.0)["surest"] == pytest.approx(math.log(4 / 6), abs=0.01)


def test_weights_make_log_odds_a_probability() -> None:
    values = {"reading": math.log(9), "other": 2.0, "bias": 1.0}
    assert logistic(values, {"reading": 1.0}) == pytest.approx(0.9)
    for name, weight in (("bias", -1.0), ("other", 1.0)):
        assert (logistic(values, {"reading": 1.0, name: weight}) > 0.9) == (weight > 0)
    assert 0 < from_log_odds(-1e9) < 1e-5 and 1 - 1e-5 < from_log_odds(1e9) < 1


def test_the_confidence_of_a_number_comes_from_its_weights() -> None:
    for bias, share in ((0.0, 1.0), (-1.0, 1.0), (0.0, 0.9)):
        weights = Weights({"reading": 1, "bias": bias})
        number = read_number(line_of(spelt("12", 0.99), probability=share), weights=weights)
        probability = share * 0.99**2
        odds = probability / (1 - probability) * math.exp(bias)
        assert number.confidence == pytest.approx(odds / (1 + odds), abs=0.01)
        digits = [digit.confidence for digit in number.digits]
        assert digits == pytest.approx([number.confidence / 0.99] * 2, abs=0.01)
    weights = Weights({"reading": 1.0, f"{ALONE}bias": 0.0})
    for is_alone, confidence in ((False, 0.9), (True, 0.5)):
        number = read_number(line_of(spelt("7", 0.9), is_alone=is_alone), weights=weights)
        assert number.confidence == pytest.approx(confidence, abs=0.01)


def test_a_place_where_hardly_a_number_stands_is_not_read() -> None:
    for bias, is_alone, is_read in ((-1.35, False, True), (-1.4, False, False), (-1.4, True, True)):
        weights = Weights(presence={"bias": bias, f"{ALONE}bias": 0.0})
        place = read_place(line_of(spelt("12□", 0.99), is_alone=is_alone), weights=weights)
        assert isinstance(place, Nothing) != is_read
        if isinstance(place, Nothing):
            assert place.is_other and place.confidence == pytest.approx(from_log_odds(1.4))


def test_constraints_are_met_broken_or_doubted_by_what_is_likely() -> None:
    confused = answer({"1": 0.6, "7": 0.4}, {"8": 0.9, "9": 0.1})
    for shown, limits, text, is_changed, reason in (
        (confused, {"check_digit": "luhn"}, "18", False, None),
        (confused, {"values": "70-99"}, "78", True, None),
        (spelt("18", 0.99), {"length": "5"}, "18", False, "constraint"),
        (answer({"1": 0.93, "7": 0.06}), {"values": "7"}, "7", True, None),
        (answer({"1": 0.98, "7": 0.01}), {"values": "7"}, "1", False, "constraint"),
        (answer({"7": 0.6, "1": 0.4}, {"5": 0.999}), {"values": "0-20"}, "15", True, None),
    ):
        number = read_number(line_of(shown), limits)
        assert (number.text, number.is_changed, number.reason) == (text, is_changed, reason)
        assert (number.doubt == "constraint") == is_changed
    unseen = read_number(line_of(answer({"7": 0.45})), {"values": "0-5"}, Weights({"reading": 1.0}))
    assert (unseen.text, unseen.reason) == ("7", "constraint")
    number = read_number(line_of(confused), {"values": "70-99"})
    assert number.confidence == pytest.approx(0.36 / (0.4 + 0.05 * 0.6), abs=0.01)
    assert read_number(line_of(answer({"1": 0.93, "7": 0.06})), {"values": "7"}).confidence < 0.6
    # How likely the digits form one number is not changed by what its digits have to be.
    for share in (0.9, 0.3):
        for options in (None, {"length": "2"}):
            number = read_number(line_of(spelt("18"), probability=share), options)
            assert number.confidence == pytest.approx(share, abs=0.01)
        changed = read_number(line_of(confused, probability=share), {"values": "70-99"})
        assert changed.confidence == pytest.approx(share * 0.36 / (0.4 + 0.05 * 0.6), abs=0.01)
    demanded = read_number(line_of(spelt("18"), is_demanded=True), {"length": "2"})
    assert demanded.is_changed and (demanded.status, demanded.doubt) == ("read", "constraint")


def test_a_network_that_reads_worse_makes_no_text_certain_that_constraints_force() -> None:
    line = line_of(answer({"1": 0.98, "7": 0.01}), answer({"1": 0.7, "7": 0.2}))
    number = read_number(line, {"values": "7"}, Weights({"surest": 1.0}))
    assert number.text == "7" and number.confidence < 0.85


def test_every_digit_of_a_classifier_is_tried_and_doubt_goes_to_the_empty_text() -> None:
    ones = np.eye(10)[[1]]
    hypotheses = digit_hypotheses(ones, ANY_DIGITS)
    assert set(hypotheses) - {""} == set("0123456789")
    assert hypotheses["1"] == pytest.approx(1) and hypotheses["7"] < 1e-11
    assert set(digit_hypotheses(ones, ONLY_SEVEN)) == {"7"}
    doubtful = digit_hypotheses(ones, ANY_DIGITS, doubt=0.5)
    assert (doubtful["1"], doubtful[""]) == pytest.approx((0.5, 0.5))
    for share, nothing in ((0.0, 1.0), (1.0, 0.0), (0.7, 0.3)):  # ten equal probabilities mean no digit
        assert probability_of_no_digit(share * ones + (1 - share) / 10) == pytest.approx(nothing)


def test_texts_share_the_probability_that_the_empty_one_and_the_constraints_leave() -> None:
    hypotheses = {"": 0.6, "1": 0.3, "7": 0.1}
    assert (likeliest_text(hypotheses, 0.6), likeliest_text(hypotheses, 0.5)) == ("1", "")
    assert likeliest_text({"": 0.1}, 0.5) == ""
    given = given_constraints({"7": 0.2, "1": 0.8}, ONLY_SEVEN)
    assert given == {"7": pytest.approx(0.2 / (0.2 + CONSTRAINT_DOUBT * 0.8))}
    assert given_constraints({"7": 1.0}, ONLY_SEVEN) == {"7": 1.0}
    places = {"12": 0.5, "72": 0.2, "1": 0.2, "": 0.1}  # only texts of the same length share one
    assert digit_shares(places, "12", 0) == {"1": 0.5, "7": 0.2}
    assert digit_shares(places, "12", 1) == {"2": pytest.approx(0.7)}


def test_a_number_breaks_constraints_where_that_is_likelier_than_a_mistake() -> None:
    length, luhn = constraints_of({"length": "3"}), constraints_of({"check_digit": "luhn"})
    for free, accepted, constraints, breaks in (
        ({"17": 0.97, "117": 0.02}, {"117": 0.02}, length, True),
        ({"17": 0.9, "117": 0.09}, {"117": 0.09}, length, False),
        ({"17": 1.0}, {}, length, True),
        # Of ten texts that are as likely, a check digit accepts one: that it is right says more.
        ({"17": 0.97, "18": 0.02}, {"18": 0.02}, luhn, False),
        ({"17": 0.99, "18": 0.002}, {"18": 0.002}, luhn, True),
    ):
        assert breaks_constraints(free, accepted, constraints) == breaks


def test_a_check_digit_accepts_its_share_of_numbers() -> None:
    random = np.random.default_rng(0)
    texts = ["".join(map(str, random.integers(0, 10, 13))) for _ in range(4000)]
    for scheme in ("luhn", "ean", "mod97"):
        constraints = constraints_of({"check_digit": scheme})
        share = np.mean([constraints.accepts(text) for text in texts])
        assert share == pytest.approx(constraints.share_valid, rel=0.3)


def test_texts_with_another_confidence_of_the_best_add_up_to_1_at_most() -> None:
    for confidence in (0.0, 0.1, 0.4, 0.9, 1.0):
        changed = recalibrated({"12": 0.4, "72": 0.3, "1": 0.2, "": 0.1}, "12", confidence)
        assert changed["12"] == pytest.approx(confidence) and sum(changed.values()) <= 1 + 1e-9
        assert changed["72"] == pytest.approx(0.3 * min(confidence / 0.4, (1 - confidence) / 0.6))
    certain = {"7": 1.0, "1": 1e-13}
    assert recalibrated(certain, "7", 0.9) == {"7": 0.9, "1": pytest.approx(9e-14)}
    assert sum(recalibrated(certain, "7", 1.0).values()) == 1.0


def test_unlikely_digits_share_at_most_what_the_others_leave() -> None:
    column = np.log(np.array([0.005, 0.002, 0.001, *[0.0005] * 7, 0.99], np.float32))
    for left in (0.0, 1e-4, 0.1):
        shares = with_unlikely_digits({"7": 1 - left}, column)
        assert sorted(shares) == list("0123456789") and shares["7"] == 1 - left
        assert sum(shares.values()) <= 1 + 1e-9
        assert sum(shares.values()) == pytest.approx(min(1.0, 1 - left + 0.011), abs=1e-6)
        assert shares["0"] > shares["1"] > shares["2"] > shares["3"] or left == 0.0


def test_how_sure_the_grouping_is_counts_as_a_factor() -> None:
    line = replace(line_of(spelt("12", 0.99)), probability=0.7)
    for weights in (Weights(), Weights({"reading": 1.0}), Weights({"surest": 1.0})):
        assert read_number(line, weights=weights).confidence == pytest.approx(0.7 * 0.99**2, abs=0.01)
