"""Characters match their labels and depend only on the seed."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import InputError
from digitcli.inference.predictor import load_classifier
from digitcli.synthesis import characters as composing
from digitcli.synthesis.characters import NO_DIGIT, synthesize_characters
from digitcli.synthesis.glyphs import render_letters


def test_half_of_the_characters_are_letters_whatever_the_number_of_processes(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composing, "PORTION_SIZE", 150)
    letters = render_letters()
    characters = synthesize_characters(digits, letters, seed=1, count=400)
    counts = np.bincount(characters.labels, minlength=11)
    assert 160 < counts[NO_DIGIT] < 240 and counts[:10].min() > 8
    assert characters.images.shape == (400, 28, 28) and (characters.images.max(axis=(1, 2)) > 60).all()
    is_digit = characters.labels != NO_DIGIT
    answers = load_classifier("cnn").probabilities(characters.images).argmax(axis=1)
    assert (answers == characters.labels)[is_digit].mean() > 0.75
    assert np.bincount(answers[~is_digit], minlength=10).max() < 0.5 * (~is_digit).sum()
    again = synthesize_characters(digits, letters, seed=1, count=400, processes=2)
    assert np.array_equal(again.images, characters.images) and np.array_equal(again.labels, characters.labels)
    other = synthesize_characters(digits, letters, seed=2, count=30)
    assert not np.array_equal(other.images, characters.images[:30])


def test_blank_images_are_never_used_and_every_digit_needs_one(digits: Digits) -> None:
    few = Digits(digits.images[:500], digits.labels[:500])
    blank = np.concatenate([np.zeros((500, 28, 28), np.uint8), few.images])
    with_blank = Digits(blank, np.concatenate([few.labels] * 2))
    first, second = (synthesize_characters(each, render_letters(), 5, 40) for each in (few, with_blank))
    assert np.array_equal(first.images, second.images)
    with pytest.raises(InputError, match="7, 8, 9"):
        synthesize_characters(digits.take(np.flatnonzero(digits.labels < 7)), render_letters(), 0, 1)
