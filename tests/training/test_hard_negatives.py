"""Tests of the places that the shipped page finder takes for numbers."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist
from digitcli.strip_format import OTHER
from digitcli.synthesis.strips import LabelledStrip
from digitcli.training import composed_lines, hard_negatives
from digitcli.training.composed_lines import STRIP_COMPOSERS, TRAINING_COMPOSERS
from digitcli.training.line_sources import composed_source
from digitcli.training.scene_source import scene_composer


def test_hard_negatives_show_nothing_or_a_word(digits: Digits) -> None:
    composer = scene_composer(digits, held_out=False)
    random = np.random.default_rng(2)
    strips = [strip for _ in range(30) for strip in hard_negatives.mine(composer, random)]
    assert {strip.text for strip in strips} == {"", OTHER}
    assert all(len(strip.boxes) > 0 for strip in strips if strip.text)


def test_places_that_look_like_numbers_are_left_out(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = scene_composer(digits, held_out=False)

    def count(like_a_number: float) -> int:
        monkeypatch.setattr(hard_negatives, "LIKE_A_NUMBER", like_a_number)
        random = np.random.default_rng(5)
        return sum(len(hard_negatives.mine(composer, random)) for _ in range(20))

    assert count(0.0) < count(1.0)


def test_hard_negatives_are_learned_from_and_not_measured_on(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[LabelledStrip]:
        raise AssertionError("strips to measure on are hard negatives")

    monkeypatch.setattr(composed_lines, "mine", fail)
    composer = scene_composer(digits, held_out=False)
    negative = STRIP_COMPOSERS["strip_reader"](composer, np.random.default_rng(1), 1)[0]
    monkeypatch.setattr(composed_lines, "mine", lambda *_: [negative])
    strips = TRAINING_COMPOSERS["strip_reader"](composer, np.random.default_rng(0), 100)
    assert sum(strip is negative for strip in strips) == 7
    monkeypatch.setattr(composed_lines, "mine", lambda *_: [])
    assert len(TRAINING_COMPOSERS["strip_reader"](composer, np.random.default_rng(0), 20)) == 20


def test_equal_seeds_give_equal_hard_negatives(digits: Digits) -> None:
    def places() -> list[tuple[str, bytes]]:
        composer, random = scene_composer(digits, held_out=False), np.random.default_rng(2)
        strips = [strip for _ in range(5) for strip in hard_negatives.mine(composer, random)]
        return [(strip.text, strip.image.tobytes()) for strip in strips]

    assert places() == places() != []


def test_the_networks_that_choose_them_belong_to_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> list[str]:
        names = ("strip_reader", "reader", "picture_reader")
        return [composed_source(name, load_mnist(), 0).digest for name in names]

    before = digests()
    for network, other in (("FINDER", "page_reader"), ("READER", "reader")):
        with monkeypatch.context() as patch:
            patch.setattr(hard_negatives, network, other)
            assert [a == b for a, b in zip(before, digests(), strict=True)] == [False, False, True]
    assert digests() == before
