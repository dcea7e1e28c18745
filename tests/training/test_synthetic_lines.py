"""The synthetic lines and strips to learn from, and the hard negatives among them."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist
from digitcli.imaging.network_inputs import strip_ink
from digitcli.strip_format import OTHER
from digitcli.synthesis.lines import ALPHABET
from digitcli.synthesis.strips import LabelledStrip
from digitcli.training import synthetic_lines
from digitcli.training.line_task import ComposedLines
from digitcli.training.synthetic_lines import (
    STRIP_COMPOSERS,
    TRAINING_COMPOSERS,
    compose_ink_of_strips,
    compose_training_strips,
    scene_composer,
)


def test_hard_negatives_show_nothing_or_a_word(digits: Digits) -> None:
    composer = scene_composer(digits, "train")
    random = np.random.default_rng(2)
    strips = [strip for _ in range(30) for strip in synthetic_lines.mine(composer, random)]
    assert {strip.text for strip in strips} == {"", OTHER}
    assert all(len(strip.boxes) > 0 for strip in strips if strip.text)


def test_places_that_look_like_numbers_are_left_out(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = scene_composer(digits, "train")

    def count(like_a_number: float) -> int:
        monkeypatch.setattr(synthetic_lines, "LIKE_A_NUMBER", like_a_number)
        random = np.random.default_rng(5)
        return sum(len(synthetic_lines.mine(composer, random)) for _ in range(20))

    assert count(0.0) < count(1.0)


def test_hard_negatives_are_learned_from_and_not_measured_on(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[LabelledStrip]:
        raise AssertionError("strips to measure on are hard negatives")

    monkeypatch.setattr(synthetic_lines, "mine", fail)
    composer = scene_composer(digits, "train")
    negative = STRIP_COMPOSERS["strip_reader"](composer, np.random.default_rng(1), 1)[0]
    monkeypatch.setattr(synthetic_lines, "mine", lambda *_: [negative])
    strips = TRAINING_COMPOSERS["strip_reader"](composer, np.random.default_rng(0), 100)
    assert sum(strip is negative for strip in strips) == 7
    monkeypatch.setattr(synthetic_lines, "mine", lambda *_: [])
    assert len(TRAINING_COMPOSERS["strip_reader"](composer, np.random.default_rng(0), 20)) == 20


def test_equal_seeds_give_equal_hard_negatives(digits: Digits) -> None:
    def places() -> list[tuple[str, bytes]]:
        composer, random = scene_composer(digits, "train"), np.random.default_rng(2)
        strips = [strip for _ in range(5) for strip in synthetic_lines.mine(composer, random)]
        return [(strip.text, strip.image.tobytes()) for strip in strips]

    assert places() == places() != []


def test_the_networks_that_choose_them_belong_to_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> list[str]:
        names = ("strip_reader", "reader", "picture_reader")
        return [ComposedLines(load_mnist(), 0, name).digest for name in names]

    before = digests()
    for network, other in (("FINDER", "page_reader"), ("READER", "reader")):
        with monkeypatch.context() as patch:
            patch.setattr(synthetic_lines, network, other)
            assert [a == b for a, b in zip(before, digests(), strict=True)] == [False, False, True]
    assert digests() == before


def test_strips_of_scenes_are_lines_whose_other_characters_are_nothing_to_read(digits: Digits) -> None:
    composer = scene_composer(digits, "train")
    strips = compose_training_strips(composer, np.random.default_rng(3), 20)
    lines = compose_ink_of_strips(composer, np.random.default_rng(3), 20)
    assert any(set(strip.text) - set(ALPHABET) for strip in strips)
    for strip, line in zip(strips, lines, strict=True):
        known = [each in ALPHABET for each in strip.text if each != " "]
        assert line.text == "".join(each for each in strip.text if each in ALPHABET)
        assert np.array_equal(line.image, strip_ink(strip.image))
        assert np.array_equal(line.boxes, strip.boxes[np.array(known, bool)])
