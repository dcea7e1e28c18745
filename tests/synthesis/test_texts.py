"""Texts of numbers and words."""

from __future__ import annotations

import re

import numpy as np

from digitcli.strip_format import ALPHABET, DIGITS, MARKS
from digitcli.synthesis.glyphs import MARKS as DRAWN_MARKS
from digitcli.synthesis.glyphs import draw_mark
from digitcli.synthesis.texts import sample_amount, sample_integer, sample_number, sample_word


def test_numbers_use_every_mark_that_can_be_drawn_and_no_other() -> None:
    random = np.random.default_rng(0)
    characters = {character for _ in range(4000) for character in sample_number(random)}
    assert characters == set(DIGITS + MARKS)
    assert set(MARKS) == set(DRAWN_MARKS)
    assert len(set(ALPHABET)) == len(ALPHABET)


def test_every_number_has_a_digit_and_no_space() -> None:
    random = np.random.default_rng(1)
    for _ in range(2000):
        text = sample_number(random)
        assert any(character in DIGITS for character in text)
        assert " " not in text


def test_an_integer_has_as_many_digits_as_asked_for() -> None:
    random = np.random.default_rng(2)
    lengths = {len(sample_integer(random, 2, 5)) for _ in range(200)}
    assert lengths == {2, 3, 4, 5}


def test_an_amount_separates_cents_and_thousands_by_different_marks() -> None:
    random = np.random.default_rng(3)
    texts = [sample_amount(random) for _ in range(2000)]
    both = [text for text in texts if re.fullmatch(r"\d{1,3}([.,])\d{3}(\1\d{3})*[.,]\d\d", text)]
    assert len(both) > 50
    assert all(text[-3] != text[-7] for text in both)
    assert all(1 <= sum(map(str.isdecimal, text)) <= 10 for text in texts)


def test_words_have_no_digits() -> None:
    random = np.random.default_rng(3)
    assert not any(character in DIGITS for _ in range(500) for character in sample_word(random))


def test_a_slash_is_taller_than_a_digit_at_both_ends() -> None:
    random = np.random.default_rng(4)
    for _ in range(500):
        (stroke,) = draw_mark(random, "/")
        assert stroke[:, 1].min() <= -0.05 and stroke[:, 1].max() >= 1.05
