"""The lines of labelled pictures, and the texts that a network learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.adaptation.calibrate import answer_pictures
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
from digitcli.recognition.line_crops import line_cutter
from digitcli.recognition.reader import Reader
from digitcli.synthesis.lines import ALPHABET, Line, LineSynthesizer
from digitcli.training.synthetic_lines import compose
from tests.support.pictures import encoded, grey_of, written

Example = tuple[np.ndarray, str]


@pytest.fixture(scope="module")
def lines(digits: Digits) -> list[Line]:
    composed = compose(LineSynthesizer(digits), np.random.default_rng(1), 120)
    return [line for line in composed if len(line.digits) > 1][:60]


def cut(line: Line) -> Example:
    """Return a line without its last digit, and the label of all digits."""
    *_, before, last = (
        box for box, character in zip(line.boxes, line.text, strict=True) if character.isdecimal()
    )
    return line.image[:, : max(8, round((before[2] + last[0]) / 2))], line.digits


def count_partial(examples: list[Example]) -> int:
    recognizer = load_line_recognizer("reader", "cpu")
    alphabet, temperature = recognizer.header.alphabet, recognizer.header.temperature
    answers = recognizer.outputs([image for image, _ in examples])
    return sum(
        shows_part_only(image, answer, digit_columns(answer.logits, alphabet, temperature), digits)
        for (image, digits), answer in zip(examples, answers, strict=True)
    )


def test_most_lines_without_their_last_digit_are_found_and_hardly_a_whole_one(lines: list[Line]) -> None:
    assert count_partial([cut(line) for line in lines]) >= 0.75 * len(lines)
    assert count_partial([(line.image, line.digits) for line in lines]) <= 1


def test_a_digit_that_is_there_but_not_read_leaves_ink(lines: list[Line]) -> None:
    shown = [cut(line)[0] for line in lines]
    blots = [np.pad(image, ((0, 0), (0, 20))) for image in shown]
    for image in blots:
        image[10:30, -16:-4] = 255
    examples = [(image, line.digits) for image, line in zip(blots, lines, strict=True)]
    assert count_partial(examples) <= 0.2 * len(lines)


def test_wrong_labels_are_not_taken_for_cut_lines(lines: list[Line]) -> None:
    others = str.maketrans("0123456789", "1234567890")
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


@pytest.mark.parametrize(
    ("label", "readings", "parts"),
    [
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
    ],
)
def test_a_label_is_divided_only_where_it_can_be_told(
    label: str, readings: list[str], parts: tuple[str, ...] | None
) -> None:
    assert divide_label(label, readings) == parts


@pytest.mark.parametrize(
    ("shown", "digits", "text"),
    [
        ("17.146.-", "17146", "17.146.-"),
        ("17.146", "17146", "17.146"),
        ("1 7", "17", "17"),
        ("0.5-", "", ""),
        ("17.146.-", "28999", "28999"),  # what the network reads says nothing about this label
    ],
)
def test_targets_keep_the_marks_that_are_written(shown: str, digits: str, text: str) -> None:
    assert target_text(logits(shown), ALPHABET, 1.0, digits) == text


def test_a_digit_that_is_misread_is_corrected_and_the_marks_stay() -> None:
    answer = logits("17.146.-")
    column = answer[2 * 4 + 1]  # the 4 looks like a 9, and a little like a 4
    column[:] = np.log(0.001)
    column[ALPHABET.index("9")], column[ALPHABET.index("4")] = np.log(0.8), np.log(0.15)
    assert target_text(answer, ALPHABET, 1.0, "17146") == "17.146.-"


@pytest.mark.parametrize(
    ("label", "text"),
    [("17146", None), ("", None), ("17.146.-", "17.146.-"), ("CHF 12,50", "12,50"), ("12 7", None)],
)
def test_a_label_with_marks_counts_as_it_is(label: str, text: str | None) -> None:
    assert marks_of(label, ALPHABET) == text


@pytest.fixture(scope="module")
def recognizer() -> LineRecognizer:
    return load_line_recognizer("reader", "cpu")


@pytest.fixture(scope="module")
def finder() -> PageFinder:
    return load_page_finder("finder", "cpu")


def picture(folder: Path, paper: np.ndarray, text: str) -> LabelledPicture:
    path = folder / f"{len(list(folder.iterdir()))}.png"
    path.write_bytes(encoded(paper))
    return LabelledPicture(path.name, path, text)


def test_lines_are_the_ink_of_the_strips_of_the_page_finder(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    one = picture(tmp_path, paper, "3058")
    (example,) = find_lines_to_learn([one], {}, recognizer, finder)
    assert example.picture == one and len(example.lines) >= 2
    assert {line.text for line in example.lines} == {"3058"}
    (first,) = line_cutter("reader", "cpu")(grey_of(paper))
    assert np.array_equal(example.lines[0].image, first)
    assert all(line.image.shape[0] == 40 and line.boxes.shape == (0, 4) for line in example.lines)


def test_a_wrong_label_is_learned_and_an_empty_one_too(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    pictures = [picture(tmp_path, paper, text) for text in ("9999", "", "3.058-")]
    examples = find_lines_to_learn(pictures, {}, recognizer, finder)
    assert [{line.text for line in example.lines} for example in examples] == [{"9999"}, {""}, {"3.058-"}]


def test_lines_without_room_for_their_text_or_too_long_are_left_out(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("305", 60, margin_px=30)
    long, _ = written("30" * (LONGEST_PX // 24), 60, gap=0.2, margin_px=30)
    pictures = [picture(tmp_path, paper, "1" * 99), picture(tmp_path, long, "30" * (LONGEST_PX // 24))]
    assert [example.lines for example in find_lines_to_learn(pictures, {}, recognizer, finder)] == [(), ()]


def test_a_label_is_divided_between_regions_or_not_used(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    upper, lower = (written(text, 60, margin_px=60)[0] for text in ("305", "17"))
    width = max(upper.shape[1], lower.shape[1])
    page = np.concatenate(
        [np.pad(each, ((0, 60), (0, width - each.shape[1])), constant_values=255) for each in (upper, lower)]
    )
    pictures = [picture(tmp_path, page, text) for text in ("305 17", "888 99")]
    known, unknown = find_lines_to_learn(pictures, {}, recognizer, finder)
    assert [line.text for line in known.lines] == ["305", "305", "17", "17"]
    assert unknown.lines == ()


def test_the_label_is_learned_where_the_network_reads_something_else(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    (labelled,) = find_lines_to_learn([picture(tmp_path, paper, "3050")], {}, recognizer, finder)
    assert {line.text for line in labelled.lines} == {"3050"}


def test_a_picture_that_cannot_be_opened_is_an_error(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    with pytest.raises(PictureError):
        find_lines_to_learn([LabelledPicture("a", tmp_path / "a", "1")], {}, recognizer, finder)


def test_a_picture_that_lies_on_its_side_is_learned_upright(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("3058", 60, margin_px=30)
    upright, turned = picture(tmp_path, paper, "3058"), picture(tmp_path, np.rot90(paper), "3058")
    (expected,) = find_lines_to_learn([upright], {}, recognizer, finder)
    (learned,) = find_lines_to_learn([turned], {turned.file: 90}, recognizer, finder)
    assert len(learned.lines) == len(expected.lines)
    pairs = zip(learned.lines, expected.lines, strict=True)
    assert all(np.array_equal(one.image, other.image) for one, other in pairs)
    ((answer,), _) = answer_pictures(
        Reader(device="cpu", min_confidence=0.0, rotate=90), [turned], lambda event: None
    )
    assert answer.is_right and answer.rotation == 90


def test_a_region_without_a_part_of_its_number_is_left_out(
    tmp_path: Path, recognizer: LineRecognizer, finder: PageFinder
) -> None:
    paper, _ = written("305", 60, margin_px=30)
    pictures = [picture(tmp_path, paper, text) for text in ("3058", "3505")]
    cut, wrong = find_lines_to_learn(pictures, {}, recognizer, finder)
    assert cut.lines == ()
    assert {line.text for line in wrong.lines} == {"3505"}  # no part of this label reads 305
