"""Figures of lines agree with what can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from digitcli.evaluation.line_metrics import (
    character_error_rate,
    edit_distance,
    exact_match,
    line_ece,
    line_nll,
    read_digits,
)

ALPHABET = "0123456789."


def answer(text: str, sure: float = 0.9) -> np.ndarray:
    """Logits in which a text is spelt with blanks between."""
    rows = []
    for character in text:
        row = np.full(12, (1 - sure) / 11)
        row[ALPHABET.index(character)] = sure
        blank = np.full(12, 1e-6)
        blank[-1] = 1
        rows += [row, blank]
    return np.log(np.array(rows or [[1e-6] * 11 + [1.0]], np.float32))


@pytest.mark.parametrize(
    ("found", "text", "edits"),
    [
        ("", "", 0),
        ("12", "12", 0),
        ("", "12", 2),
        ("123", "", 3),
        ("12", "13", 1),
        ("1223", "123", 1),
        ("321", "123", 2),
    ],
)
def test_edit_distances(found: str, text: str, edits: int) -> None:
    assert edit_distance(found, text) == edits


def test_character_errors_are_divided_by_the_length_of_the_labels() -> None:
    assert character_error_rate(["12", "4"], ["13", "45"]) == 2 / 4
    assert character_error_rate(["1"], [""]) is None


def test_only_digits_count() -> None:
    answers = [answer("1.2"), answer("33"), answer("")]
    assert read_digits(answers, ALPHABET) == ["12", "33", ""]
    assert exact_match(answers, ["12", "3", ""], ALPHABET) == 2 / 3


def test_the_likelihood_of_a_line_is_the_one_of_its_digits() -> None:
    (loss,) = line_nll([answer("12", sure=0.8)], ["12"], ALPHABET)
    assert float(loss) == pytest.approx(-2 * math.log(0.8), abs=0.01)


def test_the_likelihood_does_not_depend_on_the_other_lines() -> None:
    answers, texts = [answer("1"), answer("12345", 0.7), answer("")], ["1", "12345", ""]
    together = line_nll(answers, texts, ALPHABET)
    alone = [float(line_nll([one], [text], ALPHABET)[0]) for one, text in zip(answers, texts, strict=True)]
    torch.testing.assert_close(together, torch.tensor(alone), atol=1e-5, rtol=1e-4)


def test_calibrated_confidence_has_no_error() -> None:
    answers = [answer("1", sure=0.75)] * 100
    assert line_ece(answers, ["1"] * 75 + ["2"] * 25, ALPHABET) == pytest.approx(0, abs=0.01)
    assert line_ece(answers, ["2"] * 100, ALPHABET) == pytest.approx(0.75, abs=0.01)
