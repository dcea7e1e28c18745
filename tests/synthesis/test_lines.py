"""Lines and characters match their labels, depend only on the seed, and vary like real paper."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import InputError
from digitcli.inference.predictor import load_classifier
from digitcli.synthesis import lines as composing
from digitcli.synthesis.letters import render_letters
from digitcli.synthesis.lines import (
    ALPHABET,
    NO_DIGIT,
    Composition,
    Line,
    LineSynthesizer,
    sample_text,
    synthesize_characters,
)

MANY = 250


@pytest.fixture(scope="module", params=["from_mnist", "from_strokes"])
def synthesizer(request: pytest.FixtureRequest) -> LineSynthesizer:
    made: LineSynthesizer = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="module")
def lines(synthesizer: LineSynthesizer) -> list[Line]:
    random = np.random.default_rng(0)
    return [synthesizer.synthesize_line(random) for _ in range(MANY)]


def test_the_same_state_gives_the_same_line(synthesizer: LineSynthesizer) -> None:
    for seed in range(20):
        first, again = (synthesizer.synthesize_line(np.random.default_rng(seed)) for _ in range(2))
        assert first.text == again.text
        assert np.array_equal(first.image, again.image) and np.array_equal(first.boxes, again.boxes)


def test_a_line_depends_only_on_the_state_of_the_generator(synthesizer: LineSynthesizer) -> None:
    random = np.random.default_rng(5)
    synthesizer.synthesize_line(random)
    state = random.bit_generator.state
    second = synthesizer.synthesize_line(random)
    random.bit_generator.state = state
    assert np.array_equal(synthesizer.synthesize_line(random).image, second.image)


def test_a_line_too_narrow_for_its_text_is_composed_anew(
    from_mnist: LineSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = iter([44, 44, 48])
    boxes = np.zeros((7, 4), np.float32)

    def photograph(random: np.random.Generator) -> tuple[np.ndarray, str, np.ndarray]:
        return np.full((40, next(widths)), 200, np.uint8), "1000000", boxes

    monkeypatch.setattr(from_mnist, "synthesize_photograph", photograph)
    line = from_mnist.synthesize_line(np.random.default_rng(0))
    assert line.image.shape == (40, 4 * 12)  # CTC needs a column for each digit, and one between two zeros


def test_pictures_are_forty_high_and_light_on_dark(lines: list[Line]) -> None:
    for line in lines:
        assert line.image.dtype == np.uint8 and line.image.shape[0] == 40 and line.image.shape[1] >= 8
    assert np.mean([line.image.max() for line in lines if line.text]) > 200
    assert np.mean([np.median(line.image) for line in lines]) < 100


def test_there_is_a_box_for_each_character_within_the_picture(lines: list[Line]) -> None:
    for line in lines:
        assert line.boxes.dtype == np.float32 and line.boxes.shape == (len(line.text), 4)
        height, width = line.image.shape
        x0, y0, x1, y1 = line.boxes.T
        assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= width).all() and (y1 <= height).all()
        assert (x0 <= x1).all() and (y0 <= y1).all()


def test_boxes_follow_the_text_from_left_to_right(lines: list[Line]) -> None:
    for line in lines:
        assert (np.diff(line.boxes[:, 0]) > -12).all(), line.text


def test_each_digit_has_ink_in_its_box(lines: list[Line]) -> None:
    has_ink = []
    for line in lines:
        for character, (x0, y0, x1, y1) in zip(line.text, line.boxes, strict=True):
            if character.isdecimal():
                inside = line.image[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
                has_ink.append(inside.max(initial=0) > np.median(line.image) + 40)
    assert len(has_ink) > 2 * MANY
    assert np.mean(has_ink) > 0.98  # a few lines are almost unreadable, like some photographs


def test_some_lines_have_nothing_to_read(lines: list[Line]) -> None:
    assert 0 < sum(not line.text for line in lines) < 0.15 * MANY


def test_some_digits_touch(lines: list[Line]) -> None:
    gaps = np.concatenate([line.boxes[1:, 0] - line.boxes[:-1, 2] for line in lines])
    assert 0.1 < (gaps < 0).mean() < 0.9


def test_texts_are_varied_numbers_with_marks() -> None:
    random = np.random.default_rng(1)
    texts = [sample_text(random) for _ in range(6000)]
    assert {character for text in texts for character in text} == set(ALPHABET)
    assert max(sum(map(str.isdecimal, text)) for text in texts) <= 20
    assert np.mean([set(text) <= set("0123456789") for text in texts]) > 0.3
    for use in (r"[\d.,]+/-", r"\d{1,2}/\d{1,2}/\d{4}", r"0\.\d+", r"\d{1,3}(,\d{3})+", r"\d+(-\d+){2,}"):
        assert sum(re.fullmatch(use, text) is not None for text in texts) > 5, use


def test_tablet_strokes_change_lines(from_mnist: LineSynthesizer, from_strokes: LineSynthesizer) -> None:
    pairs = [
        [made.synthesize_line(np.random.default_rng(seed)) for made in (from_mnist, from_strokes)]
        for seed in range(20)
    ]
    assert any(not np.array_equal(one.image, other.image) for one, other in pairs)


def test_blank_images_are_never_used(digits: Digits) -> None:
    images = np.concatenate([np.zeros((500, 28, 28), np.uint8), digits.images[:500]])
    labels = np.concatenate([digits.labels[:500], digits.labels[:500]])
    made = LineSynthesizer(Digits(images, labels))
    clean = LineSynthesizer(Digits(digits.images[:500], digits.labels[:500]))
    for seed in range(5):
        one, other = (
            synthesizer.synthesize_line(np.random.default_rng(seed)) for synthesizer in (made, clean)
        )
        assert np.array_equal(one.image, other.image)


def test_missing_digits_are_named(digits: Digits) -> None:
    few = digits.take(np.flatnonzero(digits.labels < 7))
    with pytest.raises(InputError, match="7, 8, 9"):
        LineSynthesizer(few)


def test_a_box_stays_around_its_ink() -> None:
    ink = np.zeros((80, 300), np.uint8)
    ink[25:60, 230:255] = 255
    original = Composition(ink, np.zeros_like(ink), np.array([[230, 25, 255, 60]], np.float32))
    moved = 0.0
    for seed in range(40):
        changed = composing._change_view(np.random.default_rng(seed), original)
        x, y, width, height = cv2.boundingRect((changed.ink > 127).astype(np.uint8))
        around = np.array([x, y, x + width, y + height])
        assert np.abs(changed.boxes[0] - around).max() < 5
        moved = max(moved, float(np.abs(around - original.boxes[0]).max()))
    assert moved > 8


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
