"""Combs and pages as pupils fill them."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.strip_format import OTHER
from digitcli.synthesis.letters import CLEAR_LETTERS, LETTERS
from digitcli.synthesis.page import Kind, Label, Page, numbers_of
from digitcli.synthesis.page_marks import Desk
from digitcli.synthesis.page_parts import CHOICES, CombStyle, draw_comb, fill_with_combs, fill_with_letters
from digitcli.synthesis.stamps import PenScribe, WritingRoom


def desk(room: WritingRoom, seed: int) -> Desk:
    random = np.random.default_rng(seed)
    return Desk(random, Page.blank(500, 900), room, room.scribe(random), 30.0)


def middles(label: Label) -> np.ndarray:
    """Return the middle of each character along the line."""
    return np.asarray(label.corners[:, :, 0].mean(axis=1))


def test_a_comb_has_one_digit_in_each_box(room: WritingRoom) -> None:
    for seed in range(5):
        writer = desk(room, seed)
        style = CombStyle.sample(writer, 1.5)
        assert style.width == pytest.approx(45)
        right = draw_comb(writer, 50, 100, 6, style)
        assert right == pytest.approx(50 + 6 * style.pitch)
        for label in writer.page.labels:
            assert len(label.text) <= 6
            box = (middles(label) - 50) / style.pitch
            assert np.abs(box % 1 - 0.5 * style.width / style.pitch).max() < 0.25
            assert np.all(np.diff(box.astype(int)) == 1)


def test_a_full_comb_has_no_empty_box(room: WritingRoom) -> None:
    for seed in range(5):
        writer = desk(room, seed)
        draw_comb(writer, 50, 100, 6, is_full=True)
        assert [len(label.text) for label in writer.page.labels] == [6]


def test_combs_below_each_other_have_equal_boxes(room: WritingRoom) -> None:
    writer = desk(room, 3)
    fill_with_combs(writer)
    numbers = [label for label in writer.page.labels if label.kind is Kind.NUMBER and len(label.text) > 1]
    pitches = [float(np.diff(middles(label)).mean()) for label in numbers]
    assert len(numbers) >= 3
    assert np.std(pitches) < 0.1 * np.mean(pitches)


def test_the_numbers_of_a_label_have_their_own_characters() -> None:
    text = f"12 3.5×{OTHER}-7="
    corners = np.zeros((len(text) - 1, 4, 2), np.float32)
    corners[:, :, 0] = np.arange(len(corners))[:, None]
    found = [
        (number.text, number.corners[:, 0, 0].tolist())
        for number in numbers_of(Label(Kind.NUMBER, text, corners))
    ]
    assert found == [("12", [0, 1]), ("3.5", [2, 3, 4]), ("-7", [7, 8])]
    assert numbers_of(Label(Kind.OTHER, "", corners[:0])) == []


def test_chosen_letters_are_other_writing_and_their_questions_are_numbers(room: WritingRoom) -> None:
    numbered = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        page = Page.blank(300, 400)
        fill_with_letters(Desk(random, page, room, room.scribe(random), 30.0))
        kinds = [label.kind for label in page.labels]
        assert Kind.OTHER in kinds
        texts = [label.text for label in page.labels if label.kind is Kind.NUMBER]
        numbered += bool(texts)
        assert all(text.rstrip(".)").isdecimal() for text in texts)
    assert 0 < numbered < 8


def test_a_pen_writes_the_letters_of_its_text(room: WritingRoom) -> None:
    assert set(CHOICES) <= set(LETTERS)
    scribe = next(
        scribe
        for seed in range(20)
        if isinstance(scribe := room.scribe(np.random.default_rng(seed)), PenScribe)
    )
    masks = [scribe.word(np.random.default_rng(7), text, 60.0).mask for text in ("L", "L", "W")]
    assert np.array_equal(masks[0], masks[1])
    assert masks[2].shape[1] > 1.2 * masks[0].shape[1]


def test_clear_letters_resemble_no_digit() -> None:
    assert not set(CLEAR_LETTERS) & set("bBDgGIlOoqQSsZz")
