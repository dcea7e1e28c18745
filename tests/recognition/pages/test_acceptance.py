"""The confidence of a number is a logistic function of what the reader and the page finder say."""

from __future__ import annotations

import math

import pytest

from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.pages.acceptance import (
    FEATURES,
    LARGEST_LOG_ODDS,
    TYPICAL_PITCH,
    features,
    logistic,
)
from digitcli.recognition.pages.crops import RegionCrops

LINE = FoundLine(LineBox(0, 0, 60, 10, 0.0), score=0.8, other_score=0.25, level_px=30)
CROPS = RegionCrops(0, LINE, strips=())


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
