"""A label becomes the texts of regions, with the marks that a network reads."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.adaptation.targets import divide_label, marks_of, target_text
from digitcli.synthesis.lines import ALPHABET


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
