"""Crops that show only a part of their label are told from whole ones, on composed lines with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.adaptation.cut_lines import shows_part_only
from digitcli.data.dataset import Digits
from digitcli.inference.ctc import digit_columns
from digitcli.inference.predictor import load_line_recognizer
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.training.synthetic_lines import compose

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
