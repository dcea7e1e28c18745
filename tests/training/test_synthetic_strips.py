"""The synthetic strips to learn from, and the hard negatives among them."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.strip_format import OTHER
from digitcli.synthesis.scenes import scene_composer
from digitcli.synthesis.strips import LabelledStrip
from digitcli.training import synthetic_strips
from digitcli.training.scene_changes import change_strip
from digitcli.training.synthetic_strips import compose_strips, compose_training_strips


def test_hard_negatives_show_nothing_or_a_word(digits: Digits) -> None:
    composer = scene_composer(digits, "train")
    random = np.random.default_rng(2)
    strips = [strip for _ in range(90) for strip in synthetic_strips.mine(composer, random)]
    assert {strip.text for strip in strips} == {"", OTHER}
    assert all(len(strip.boxes) > 0 for strip in strips if strip.text)


def test_places_that_look_like_numbers_are_left_out(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = scene_composer(digits, "train")

    def count(like_a_number: float) -> int:
        monkeypatch.setattr(synthetic_strips, "LIKE_A_NUMBER", like_a_number)
        random = np.random.default_rng(5)
        return sum(len(synthetic_strips.mine(composer, random)) for _ in range(20))

    assert count(0.0) < count(1.0)


def test_hard_negatives_are_learned_from_and_not_measured_on(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[LabelledStrip]:
        raise AssertionError("strips to measure on are hard negatives")

    monkeypatch.setattr(synthetic_strips, "mine", fail)
    composer = scene_composer(digits, "train")
    negative = compose_strips(composer, np.random.default_rng(1), 1)[0]
    monkeypatch.setattr(synthetic_strips, "mine", lambda *_: [negative])
    strips = compose_training_strips(composer, np.random.default_rng(0), 100)
    assert sum(strip is negative for strip in strips) == 7
    monkeypatch.setattr(synthetic_strips, "mine", lambda *_: [])
    assert len(compose_training_strips(composer, np.random.default_rng(0), 20)) == 20


def test_equal_seeds_give_equal_hard_negatives(digits: Digits) -> None:
    def places() -> list[tuple[str, bytes]]:
        composer, random = scene_composer(digits, "train"), np.random.default_rng(2)
        strips = [strip for _ in range(5) for strip in synthetic_strips.mine(composer, random)]
        return [(strip.text, strip.image.tobytes()) for strip in strips]

    assert places() == places() != []


def test_print_and_handwriting_are_told_of_each_character_also_after_a_change(digits: Digits) -> None:
    random = np.random.default_rng(3)
    strips = compose_strips(scene_composer(digits, "train"), random, 60)
    shares = np.concatenate([strip.prints for strip in strips])
    assert {0.0, 1.0} == set(shares[~np.isnan(shares)].tolist()) and np.isnan(shares).any()
    for strip in strips:
        assert len(strip.prints) == len(strip.boxes)
        changed = change_strip(strip, random, 1)
        np.testing.assert_array_equal(changed.prints, strip.prints)
        assert changed.text == strip.text and changed.boxes.shape == strip.boxes.shape
