"""Drawn characters: digits that are read as what they say, letters, and fonts to draw them from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import InputError
from digitcli.inference.predictor import load_classifier
from digitcli.synthesis.characters import NO_DIGIT, synthesize_characters
from digitcli.synthesis.letters import hash_fonts, render_letters


@pytest.fixture(scope="module")
def drawn(digits: Digits) -> Digits:
    return synthesize_characters(digits, render_letters(), seed=1, count=1_200)


def test_half_of_them_are_letters_and_all_have_ink(drawn: Digits) -> None:
    counts = np.bincount(drawn.labels, minlength=11)
    assert 540 < counts[NO_DIGIT] < 660 and counts[:10].min() > 30
    assert drawn.images.shape == (1_200, 28, 28) and (drawn.images.max(axis=(1, 2)) > 60).all()


def test_drawn_digits_look_like_what_they_are_and_letters_like_no_one_digit(drawn: Digits) -> None:
    digits = drawn.labels != NO_DIGIT
    probabilities = load_classifier("cnn").probabilities(drawn.images)
    assert (probabilities.argmax(axis=1) == drawn.labels)[digits].mean() > 0.75
    assert np.bincount(probabilities.argmax(axis=1)[~digits], minlength=10).max() < 0.5 * (~digits).sum()


def test_characters_follow_from_the_seed_however_many_processes_draw_them(
    digits: Digits, drawn: Digits
) -> None:
    again = synthesize_characters(digits, render_letters(), seed=1, count=1_200, processes=2)
    assert np.array_equal(again.images, drawn.images) and np.array_equal(again.labels, drawn.labels)
    other = synthesize_characters(digits, render_letters(), seed=2, count=30)
    assert not np.array_equal(other.images, drawn.images[:30])


def test_letters_of_a_font_are_drawn_too(fonts: Path) -> None:
    without, letters = render_letters(), render_letters(fonts)
    added = letters[len(without) :]
    assert len(added) == len(without) / 5 and all(image.shape == (28, 28) for image in letters)
    assert all(image.any() for image in letters)
    assert len({image.tobytes() for image in added}) == len(added)
    assert len(render_letters(fonts / "below" / "one.ttf")) == len(letters)


def test_the_digest_is_that_of_the_fonts_alone(fonts: Path) -> None:
    before = hash_fonts(fonts)
    (fonts / "below" / "OFL.txt").write_text("another")
    assert hash_fonts(fonts) == before
    (fonts / "two.otf").write_bytes(b"more")
    assert hash_fonts(fonts) != before


@pytest.mark.parametrize("content", [b"", b"no font at all", b"\x00\x01\x00\x00" + bytes(400)])
def test_a_damaged_font_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.ttf").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.ttf"):
        render_letters(tmp_path)


def test_a_folder_without_fonts_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no font"):
        render_letters(tmp_path)
