"""Pages as pupils fill them."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.synthesis.exercises import CHOICES, fill_with_letters
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
