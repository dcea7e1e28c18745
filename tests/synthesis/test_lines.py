"""Lines and characters match their labels and depend only on the seed; unfinished folders have no labels."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import InputError, OutputError
from digitcli.events import ThingsDone
from digitcli.inference.predictor import load_classifier
from digitcli.synthesis import line_folders
from digitcli.synthesis import lines as composing
from digitcli.synthesis.glyphs import render_letters
from digitcli.synthesis.line_folders import check_output_folder, write_lines
from digitcli.synthesis.lines import (
    ALPHABET,
    NO_DIGIT,
    Composition,
    LineSynthesizer,
    sample_text,
    synthesize_characters,
)

MANY = 150


@pytest.mark.parametrize("kind", ["from_mnist", "from_strokes"])
def test_lines_are_pictures_with_a_box_around_the_ink_of_each_character(
    kind: str, request: pytest.FixtureRequest
) -> None:
    synthesizer: LineSynthesizer = request.getfixturevalue(kind)
    random = np.random.default_rng(0)
    lines = [synthesizer.synthesize_line(random) for _ in range(MANY)]
    has_ink = []
    for line in lines:
        height, width = line.image.shape
        assert line.image.dtype == np.uint8 and height == 40 and width >= 8
        assert line.boxes.dtype == np.float32 and line.boxes.shape == (len(line.text), 4)
        x0, y0, x1, y1 = line.boxes.T
        assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= width).all() and (y1 <= height).all()
        assert (x0 <= x1).all() and (y0 <= y1).all() and (np.diff(x0) > -12).all(), line.text
        for character, box in zip(line.text, line.boxes, strict=True):
            if character.isdecimal():
                (left, top), (right, bottom) = box[:2].astype(int), np.ceil(box[2:]).astype(int)
                inside = line.image[top:bottom, left:right]
                has_ink.append(inside.max(initial=0) > np.median(line.image) + 40)
    assert len(has_ink) > 2 * MANY
    assert np.mean(has_ink) > 0.98  # a few lines are almost unreadable, like some photographs
    assert np.mean([line.image.max() for line in lines if line.text]) > 200
    assert np.mean([np.median(line.image) for line in lines]) < 100  # light on dark
    assert 0 < sum(not line.text for line in lines) < 0.15 * MANY
    gaps = np.concatenate([line.boxes[1:, 0] - line.boxes[:-1, 2] for line in lines])
    assert 0.1 < (gaps < 0).mean() < 0.9  # some digits touch


def test_a_line_depends_only_on_the_state_of_the_generator(
    digits: Digits, from_mnist: LineSynthesizer, from_strokes: LineSynthesizer
) -> None:
    blank = np.concatenate([np.zeros((500, 28, 28), np.uint8), digits.images[:500]])
    with_blank = LineSynthesizer(Digits(blank, np.concatenate([digits.labels[:500]] * 2)))
    random = np.random.default_rng(5)
    differs = []
    for _ in range(20):
        state, drawn = random.bit_generator.state, []
        for synthesizer in (from_mnist, from_mnist, with_blank, from_strokes):  # blank images are never used
            random.bit_generator.state = state
            drawn.append(synthesizer.synthesize_line(random))
        first, again, other, tablet = drawn
        assert first.text == again.text and np.array_equal(first.boxes, again.boxes)
        assert np.array_equal(first.image, again.image) and np.array_equal(first.image, other.image)
        differs.append(not np.array_equal(first.image, tablet.image))
    assert any(differs)
    with pytest.raises(InputError, match="7, 8, 9"):
        LineSynthesizer(digits.take(np.flatnonzero(digits.labels < 7)))


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


def test_texts_are_varied_numbers_with_marks() -> None:
    random = np.random.default_rng(1)
    texts = [sample_text(random) for _ in range(6000)]
    assert {character for text in texts for character in text} == set(ALPHABET)
    assert max(sum(map(str.isdecimal, text)) for text in texts) <= 20
    assert np.mean([set(text) <= set("0123456789") for text in texts]) > 0.3
    for use in (r"[\d.,]+/-", r"\d{1,2}/\d{1,2}/\d{4}", r"0\.\d+", r"\d{1,3}(,\d{3})+", r"\d+(-\d+){2,}"):
        assert sum(re.fullmatch(use, text) is not None for text in texts) > 5, use


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


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_labels_and_boxes_match(tmp_path: Path) -> None:
    events: list[ThingsDone] = []
    written = write_lines(tmp_path / "a" / "b", 12, 3, on_event=events.append)
    folder, rows = tmp_path / "a" / "b", rows_of(tmp_path / "a" / "b")
    assert [row["file"] for row in rows] == [f"{number:05}.png" for number in range(12)]
    boxes = json.loads((folder / "boxes.json").read_text())
    for row in rows:
        assert row["label"] == "".join(filter(str.isdecimal, row["raw"]))
        assert "".join(box[0] for box in boxes[row["file"]]) == row["raw"]
        image = cv2.imread(str(folder / row["file"]), cv2.IMREAD_UNCHANGED)
        assert image is not None and image.ndim == 2 and image.shape[0] == 40
        assert all(x + width <= image.shape[1] + 0.02 for _, x, _, width, _ in boxes[row["file"]])
    assert len(list(folder.iterdir())) == 14
    assert (written.count, written.digits) == (12, sum(len(row["label"]) for row in rows))
    assert [event.done for event in events] == list(range(1, 13)) and events[0].n == 12


def test_a_line_of_a_folder_depends_only_on_the_seed_and_its_number(tmp_path: Path) -> None:
    for name, count, seed in (("few", 3, 1), ("more", 5, 1), ("other", 3, 2)):
        write_lines(tmp_path / name, count, seed)
    few, more, other = ((tmp_path / name / "00002.png").read_bytes() for name in ("few", "more", "other"))
    assert few == more != other
    (tmp_path / "few" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not empty"):
        write_lines(tmp_path / "few", 1, 0)
    assert len(rows_of(tmp_path / "few")) == 3
    write_lines(tmp_path / "few", 1, 0, force=True)
    assert (tmp_path / "few" / "letter.txt").read_text() == "dear" and len(rows_of(tmp_path / "few")) == 1
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for name in ("few/letter.txt", "few/letter.txt/below", "link", "x" * 300):
        with pytest.raises(OutputError):
            check_output_folder(tmp_path / name, force=True)


def test_an_unfinished_folder_has_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "a", 2, 0)
    whole = line_folders.write_whole

    def full_disk(path: Path, content: bytes) -> None:
        if path.name == "00001.png":
            raise OutputError("The disk is full.")
        whole(path, content)

    monkeypatch.setattr(line_folders, "write_whole", full_disk)
    with pytest.raises(OutputError):
        write_lines(tmp_path / "a", 2, 5, force=True)
    assert not (tmp_path / "a" / "labels.csv").exists()
