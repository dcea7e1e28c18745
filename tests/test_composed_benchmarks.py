"""The pages that are composed in benchmarks/ for numbers of a known length, and for columns."""

from __future__ import annotations

import columns
import known_lengths
import numpy as np
import pytest
from held_out.sheet import held_out_room

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.synthesis.scenes import SceneComposer
from digitcli.training.synthetic_lines import scene_composer
from tests.support.pictures import drawn
from tests.support.readings import reading_of


@pytest.fixture(scope="module")
def composer() -> SceneComposer:
    return scene_composer(split(load_mnist()).validation, held_out=True)


LENGTHS = {"groups": (5, 16), "field": (1, 10), "combs": (3, 8), "table": (1, 1), "cut row": (5, 16)}


@pytest.mark.parametrize("kind", known_lengths.KINDS)
def test_pages_have_numbers_of_the_lengths_of_their_kind(composer: SceneComposer, kind: str) -> None:
    pages = list(known_lengths.examples(kind, composer, seed=1, pages=16))
    assert len(pages) >= 4
    for scene, length in pages:
        assert LENGTHS[kind][0] <= length <= LENGTHS[kind][1]
        assert all(len(label.text) == length for label in scene.labels)
    again = next(known_lengths.examples(kind, composer, seed=1, pages=16))[0]
    assert np.array_equal(pages[0][0].picture, again.picture)


def test_groups_of_a_number_stand_apart(composer: SceneComposer) -> None:
    pages = list(known_lengths.examples("groups", composer, seed=1, pages=8))
    assert pages
    for scene, length in pages:
        (label,) = scene.labels
        left, right = label.corners[:, :, 0].min(axis=1), label.corners[:, :, 0].max(axis=1)
        gaps = (left[1:] - right[:-1]) / np.ptp(label.corners[:, :, 1], axis=1).max()
        assert 1 <= np.sum(gaps > 0.3) < length - 1


def test_a_cut_row_shows_the_ends_of_two_numbers(composer: SceneComposer) -> None:
    examples = list(known_lengths.examples("cut row", composer, seed=1, pages=12))
    assert {len(scene.labels) for scene, _ in examples} == {0, 1}
    for scene, _ in examples:
        assert not scene.ignored
        width = scene.picture.shape[1]
        assert all(0 < x < width for label in scene.labels for x in label.corners[:, :, 0].ravel())


@pytest.mark.parametrize("kind", columns.KINDS)
def test_only_pictures_of_a_digit_have_a_text(composer: SceneComposer, kind: str) -> None:
    writers = columns.Writers(composer, held_out_room(split(load_mnist()).validation))
    randoms = map(np.random.default_rng, range(30 if kind == "1" else 6))
    pictures = [pair for random in randoms for pair in columns.KINDS[kind](writers, random)]
    assert pictures
    for picture, text in pictures:
        assert picture.dtype == np.uint8 and picture.ndim == 2 and min(picture.shape) >= 10
        assert text is None if "column" in kind else text in {"1"} | set("" if kind == "1" else "023456789")


def test_one_number_in_place_of_a_column_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, blank = Reader(device="cpu"), np.full((80, 40), 255, np.uint8)
    assert columns.judge(reader, blank, None) == (1, False, False, False)
    monkeypatch.setattr(reader, "read", lambda picture: reading_of(("1", (0, 0, 9, 9))))
    assert columns.judge(reader, blank, None) == (1, False, True, True)
    assert columns.judge(reader, blank, "1") == (1, False, True, False)
    assert columns.judge(Reader(device="cpu"), np.asarray(drawn("5", 90)), "5") == (1, True, True, False)
