"""Pages as pupils fill them."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.synthesis import exercises
from digitcli.synthesis.exercises import CHOICES, fill_with_letters, fill_with_sums
from digitcli.synthesis.letters import CLEAR_LETTERS, LETTERS
from digitcli.synthesis.page import Kind, Page
from digitcli.synthesis.page_marks import Desk
from digitcli.synthesis.stamps import PenScribe, WritingRoom, load_fonts
from digitcli.synthesis.strokes import load_writers


@pytest.fixture(scope="module")
def room() -> WritingRoom:
    return WritingRoom(split(load_mnist()).train, load_writers(), load_fonts().split(held_out=False))


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


def test_digits_to_add_stand_in_columns(room: WritingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "SQUARED_SHARE", 1.0)
    monkeypatch.setattr(exercises, "COLUMN_PITCH", (1.5, 1.5))
    pitch_px = 1.5 * 30.0
    followers = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        page = Page.blank(400, 250)  # room for few sums beside each other
        fill_with_sums(Desk(random, page, room, room.scribe(random), 30.0))
        upper = None
        for label in page.labels:
            centres = label.corners.mean(axis=1)
            assert np.abs(np.diff(centres[:, 0]) - pitch_px).max(initial=0) < 0.4 * pitch_px
            assert np.ptp(centres[:, 1]) < 0.5 * 30.0
            if upper is not None and 0 < centres[-1, 1] - upper[-1, 1] < 1.9 * 30.0:
                followers += 1
                columns = (centres[-1, 0] - upper[-1, 0]) / pitch_px
                assert abs(columns) < 0.4
            upper = centres
    assert followers > 15


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
