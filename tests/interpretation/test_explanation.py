"""What an explanation of a line says of itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from digitcli.interpretation.explanation import Attribution, Explanation, Layer
from digitcli.strip_format import STRIP_PAPER
from tests.support.explanations import line_explanation


def test_the_runner_up_is_the_likeliest_other_digit_or_a_blank() -> None:
    explanation = line_explanation({7: 0.8, 1: 0.15}, blank=0.05)
    assert (explanation.digit, explanation.other_digit, explanation.runner_up) == (7, 1, 1)
    explanation = line_explanation({7: 0.8, 1: 0.05}, blank=0.15)
    assert (explanation.digit, explanation.other_digit, explanation.runner_up) == (7, 1, None)
    assert (explanation.probability(7), explanation.probability(None)) == (0.8, 0.15)
    certain = line_explanation({7: 0.9}, blank=0.1)
    assert certain.other_digit not in (None, 7)


def test_the_digit_is_that_of_the_text_even_if_another_is_likelier_at_its_place() -> None:
    explanation = line_explanation({7: 0.4, 1: 0.6}, blank=0.0)
    assert explanation.digit == 7 and explanation.runner_up == 1


def test_a_line_without_digits_has_no_digit_and_no_runner_up() -> None:
    empty = Explanation("a.png", "reader@0", np.zeros((40, 80), np.uint8), text="", confidence=0.9)
    assert (empty.digit, empty.other_digit, empty.runner_up) == (None, None, None)
    record = empty.record()
    assert (record["position"], record["digit"], record["probabilities"]) == (None, None, [])


def test_ink_is_what_differs_from_the_paper() -> None:
    strip = np.full((3, 40, 8), STRIP_PAPER, np.uint8)
    strip[0, 0, :3] = 1, 255, STRIP_PAPER + 10
    explanation = line_explanation({7: 1.0}, blank=0.0, image=strip)
    assert explanation.picture is not strip and explanation.picture.shape == (40, 8)
    assert explanation.ink[0].tolist() == [254, 254, 20, 0, 0, 0, 0, 0]
    ink = np.arange(320, dtype=np.uint16).reshape(40, 8).astype(np.uint8)
    assert line_explanation({7: 1.0}, blank=0.0, image=ink).ink is ink


def test_records_and_arrays_have_every_value() -> None:
    values = np.full((40, 80), 0.5, np.float32)
    explanation = line_explanation(
        {7: 0.8, 1: 0.15},
        blank=0.05,
        attributions=(Attribution("occlusion", 7, 1, 2.0, -1.0, values),),
        layers=(Layer("trunk.0", "ReLU", values[None]),),
    )
    record = json.loads(json.dumps(explanation.record()))
    assert (record["text"], record["position"], record["digit"], record["runner_up"]) == ("407", 3, 7, 1)
    assert record["span"] == [40, 60] and sum(record["probabilities"]) == pytest.approx(1)
    (attribution,) = record["attributions"]
    assert np.shape(attribution["values"]) == (40, 80) and attribution["against"] == 1
    assert record["layers"] == [{"name": "trunk.0", "kind": "ReLU", "shape": [1, 40, 80]}]
    assert list(explanation.arrays()) == ["image", "occlusion/7-1", "feature-maps/trunk.0"]
