"""The lines of labelled pictures, and the texts that a network learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.adaptation.calibrate import Answer, answer_pictures
from digitcli.adaptation.labelled_lines import (
    LONGEST_PX,
    divide_label,
    find_lines_to_learn,
    marks_of,
    shows_part_only,
    target_text,
)
from digitcli.data.dataset import Digits
from digitcli.data.label_tables import LabelledPicture
from digitcli.errors import PictureError
from digitcli.inference.ctc import digit_columns
from digitcli.inference.predictor import LineRecognizer, PageFinder, load_line_recognizer, load_page_finder
from digitcli.recognition.line_reading import line_cutter
from digitcli.recognition.reader import Reader
from digitcli.strip_format import ALPHABET
from digitcli.synthesis.scenes import scene_composer
from digitcli.synthesis.strips import LabelledStrip
from digitcli.training.synthetic_strips import compose_strips
from tests.support.pictures import encoded, grey_of, written

Example = tuple[np.ndarray, str]


@pytest.fixture(scope="module")
def lines(digits: Digits) -> list[LabelledStrip]:
    composed = compose_strips(scene_composer(digits, "train"), np.random.default_rng(1), 200)
    return [strip for strip in composed if len(strip.digits) > 1 and " " not in strip.text][:60]


def cut(line: LabelledStrip) -> Example:
    """Return a line without its last digit, and the label of all digits."""
    *_, before, last = (
        box for box, character in zip(line.boxes, line.text, strict=True) if character.isdecimal()
    )
    return line.image[:, :, : max(8, round((before[2] + last[0]) / 2))], line.digits


def count_partial(examples: list[Example]) -> int:
    recognizer = load_line_recognizer("reader", "cpu")
    alphabet, temperature = recognizer.header.alphabet, recognizer.header.temperature
    answers = recognizer.outputs([image for image, _ in examples])
    return sum(
        shows_part_only(image, answer, digit_columns(answer.logits, alphabet, temperature), digits)
        for (image, digits), answer in zip(examples, answers, strict=True)
    )


def test_lines_that_show_only_a_part_of_their_label_are_found(lines: list[LabelledStrip]) -> None:
    """Most lines without their last digit are, and hardly a whole one; nor where a digit left ink."""
    parts = [cut(line) for line in lines]
    assert count_partial(parts) >= 0.5 * len(lines)
    assert count_partial([(line.image, line.digits) for line in lines]) <= 1
    beside = ((0, 0), (0, 0), (0, 20))
    blots = [(np.pad(image, beside, constant_values=128), digits) for image, digits in parts]
    for image, _ in blots:
        image[:, 10:30, -16:-4] = 255
    assert count_partial(blots) <= 0.2 * len(lines)
    others = str.maketrans("0123456789", "1234567890")  # labels that are wrong
    assert count_partial([(line.image, line.digits.translate(others) + "3") for line in lines]) == 0


def logits(shown: str, probability: float = 0.98) -> np.ndarray:
    """Return logits of a network that sees a character in every second column; a space is the blank."""
    columns = np.full((2 * len(shown) + 1, len(ALPHABET) + 1), (1 - probability) / len(ALPHABET), np.float32)
    columns[:, -1] = probability
    for place, character in enumerate(shown):
        column = columns[2 * place + 1]
        column[:] = (1 - probability) / len(ALPHABET)
        column[ALPHABET.index(character) if character != " " else -1] = probability
    return np.log(columns)


def test_a_label_is_divided_only_where_it_can_be_told() -> None:
    cases: list[tuple[str, list[str], tuple[str, ...] | None]] = [
        ("17146", ["1714"], ("17146",)),
        ("17.146.-", ["17146"], ("17146",)),
        ("", ["7", ""], ("", "")),
        ("12 345", ["12", "345"], ("12", "345")),
        ("12 345", ["12", "995"], None),  # too different
        ("17146", ["17", "146"], ("17", "146")),
        ("17146", ["17", "148"], ("17", "146")),
        ("1234", ["12", "4"], None),  # the 3 may stand in either region
        ("17146", ["1", "7", "14", "6"], ("1", "7", "14", "6")),
        ("17146", ["888", "99"], None),
        ("17146", ["1", "7"], None),  # too much is missing
    ]
    for label, readings, parts in cases:
        assert divide_label(label, readings) == parts, (label, readings)


def test_targets_keep_the_marks_that_are_written() -> None:
    for shown, digits, text in (
        ("17.146.-", "17146", "17.146.-"),
        ("17.146", "17146", "17.146"),
        ("1 7", "17", "17"),
        ("0.5-", "", ""),
        ("17.146.-", "28999", "28999"),  # what the network reads says nothing about this label
    ):
        assert target_text(logits(shown), ALPHABET, 1.0, digits) == text
    answer = logits("17.146.-")
    column = answer[2 * 4 + 1]  # the 4 looks like a 9, and a little like a 4
    column[:] = np.log(0.001)
    column[ALPHABET.index("9")], column[ALPHABET.index("4")] = np.log(0.8), np.log(0.15)
    assert target_text(answer, ALPHABET, 1.0, "17146") == "17.146.-"
    labels = {"17146": None, "": None, "17.146.-": "17.146.-", "CHF 12,50": "12,50", "12 7": "12 7"}
    assert {label: marks_of(label, ALPHABET) for label in labels} == labels


@pytest.fixture(scope="module")
def recognizer() -> LineRecognizer:
    return load_line_recognizer("reader", "cpu")


@pytest.fixture(scope="module")
def finder() -> PageFinder:
    return load_page_finder("finder", "cpu")


class Find:
    """Finds the lines of pictures, which are written to a folder."""

    def __init__(self, folder: Path, recognizer: LineRecognizer, finder: PageFinder) -> None:
        self.folder, self.recognizer, self.finder = folder, recognizer, finder

    def __call__(self, *labelled: tuple[np.ndarray, str], rotation: int = 0) -> list[list[LabelledStrip]]:
        answers = []
        for number, (paper, text) in enumerate(labelled):
            path = self.folder / f"{number}.png"
            path.write_bytes(encoded(paper))
            answers.append(Answer(LabelledPicture(path.name, path, text), None, False, rotation))
        return find_lines_to_learn(answers, self.recognizer, self.finder)


@pytest.fixture
def find(tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder) -> Find:
    return Find(tmp_path, recognizer, finder)


def test_lines_are_the_strips_of_the_page_finder_with_their_labels(find: Find) -> None:
    """A wrong label is learned, an empty one, and one with marks, too."""
    paper, _ = written("3058", 60, margin_px=30)
    labels = ("3058", "9999", "", "3.058-", "3050")
    examples = find(*((paper, label) for label in labels))
    assert [{line.text for line in lines} for lines in examples] == [{label} for label in labels]
    lines = examples[0]
    (first,) = line_cutter("reader", "cpu")(grey_of(paper))
    assert len(lines) >= 2 and np.array_equal(lines[0].image, first)
    assert all(line.image.shape[:2] == (3, 40) and line.boxes.shape == (0, 4) for line in lines)
    (rotated,) = find((np.rot90(paper), "3058"), rotation=90)
    assert all(np.array_equal(one.image, other.image) for one, other in zip(rotated, lines, strict=True))
    picture = LabelledPicture("0.png", find.folder / "0.png", "3058")
    ((answer,), _) = answer_pictures(Reader(device="cpu", min_confidence=0.0, rotate=90), [picture])
    assert answer.is_right and answer.rotation == 90


def test_lines_that_cannot_be_learned_are_left_out(find: Find) -> None:
    paper, _ = written("305", 60, margin_px=30)
    long = "30" * (LONGEST_PX // 24)
    too_long = written(long, 60, gap=0.2, margin_px=30)[0]
    no_room, too_wide, cut_off, misread = find(
        (paper, "1" * 99), (too_long, long), (paper, "3058"), (paper, "3505")
    )
    assert no_room == too_wide == cut_off == []
    assert {line.text for line in misread} == {"3505"}  # no part of this label reads 305
    answer = Answer(LabelledPicture("a", find.folder / "a", "1"), None, False)
    with pytest.raises(PictureError):
        find_lines_to_learn([answer], find.recognizer, find.finder)


def test_a_label_is_divided_between_regions_or_not_used(find: Find) -> None:
    upper, lower = (written(text, 60, margin_px=60)[0] for text in ("305", "17"))
    width = max(upper.shape[1], lower.shape[1])
    page = np.concatenate(
        [np.pad(each, ((0, 60), (0, width - each.shape[1])), constant_values=255) for each in (upper, lower)]
    )
    known, unknown = find((page, "305 17"), (page, "888 99"))
    assert [line.text for line in known] == ["305", "305", "17", "17"]
    assert unknown == []
