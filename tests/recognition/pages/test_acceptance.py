"""The confidence of a number is a logistic function of what the reader and the page finder say."""

from __future__ import annotations

import math

import pytest

from digitcli.imaging.strips import LineBox
from digitcli.recognition.pages.acceptance import FEATURES, LARGEST_LOG_ODDS, features, probability_right
from digitcli.recognition.pages.crops import RegionCrops
from digitcli.recognition.pages.finding import FoundLine

LINE = FoundLine(LineBox(0, 0, 10, 10, 0.0), score=0.8, other_score=0.25, level_px=30)
CROPS = RegionCrops(0, LINE, relative_height=0.5, gap=0.25, strips=())


def test_features_are_log_odds_and_sizes() -> None:
    values = features(0.9, 0.2, 4, CROPS)
    assert tuple(values) == FEATURES
    expected = math.log(9), -math.log(4), math.log(4), -math.log(3), -1.0, 0.25, math.log(4), 1.0
    assert list(values.values()) == pytest.approx(expected)


@pytest.mark.parametrize(("probability", "log_odds"), [(0.0, -LARGEST_LOG_ODDS), (1.0, LARGEST_LOG_ODDS)])
def test_log_odds_are_limited(probability: float, log_odds: float) -> None:
    assert features(probability, 0.0, 1, CROPS)["reading"] == log_odds


def test_the_weight_of_the_reading_alone_keeps_its_probability() -> None:
    assert probability_right(0.9, 0.0, 4, CROPS, {"reading": 1.0}) == pytest.approx(0.9)
    assert probability_right(0.9, 0.0, 4, CROPS, {"reading": 1.0, "bias": -1.0}) < 0.9
    assert probability_right(0.9, 0.0, 4, CROPS, {"reading": 1.0, "finder": 1.0}) > 0.9


def test_without_weights_the_probability_of_the_text_stays() -> None:
    assert probability_right(0.9, 0.0, 4, CROPS, {}) == 0.9


def test_no_weights_make_a_number_certain_or_impossible() -> None:
    assert probability_right(1.0, 0.0, 4, CROPS, {"reading": -100.0}) > 0
    assert probability_right(1.0, 0.0, 4, CROPS, {"reading": 100.0}) < 1
