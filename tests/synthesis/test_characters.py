"""Synthetic characters are digits that match their labels, and letters that look like no digit."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.inference.predictor import load_classifier
from digitcli.synthesis.characters import NO_DIGIT, synthesize_characters
from digitcli.synthesis.letters import render_letters


@pytest.fixture(scope="module")
def characters(digits: Digits) -> Digits:
    return synthesize_characters(digits, render_letters(), seed=1, count=1_200)


def test_half_of_the_characters_are_letters_and_all_have_ink(characters: Digits) -> None:
    counts = np.bincount(characters.labels, minlength=11)
    assert 540 < counts[NO_DIGIT] < 660 and counts[:10].min() > 30
    assert characters.images.shape == (1_200, 28, 28) and (characters.images.max(axis=(1, 2)) > 60).all()


def test_digits_look_like_their_labels_and_letters_like_no_digit_in_particular(characters: Digits) -> None:
    digits = characters.labels != NO_DIGIT
    probabilities = load_classifier("cnn").probabilities(characters.images)
    assert (probabilities.argmax(axis=1) == characters.labels)[digits].mean() > 0.75
    assert np.bincount(probabilities.argmax(axis=1)[~digits], minlength=10).max() < 0.5 * (~digits).sum()


def test_characters_depend_on_the_seed_and_not_on_the_number_of_processes(
    digits: Digits, characters: Digits
) -> None:
    again = synthesize_characters(digits, render_letters(), seed=1, count=1_200, processes=2)
    assert np.array_equal(again.images, characters.images) and np.array_equal(again.labels, characters.labels)
    other = synthesize_characters(digits, render_letters(), seed=2, count=30)
    assert not np.array_equal(other.images, characters.images[:30])
