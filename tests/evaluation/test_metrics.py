from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from digitcli.evaluation.metrics import (
    ClassScores,
    accuracy,
    character_error_rate,
    class_scores,
    confusion_counts,
    ece,
    edit_distance,
    exact_match,
    line_ece,
    line_nll,
    nll,
    read_digits,
    wilson_interval,
)


def test_accuracy_is_the_fraction_of_correct_answers() -> None:
    logits = torch.eye(10)
    assert accuracy(logits, torch.arange(10)) == 1.0
    assert accuracy(logits, torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0])) == 0.9


def test_the_nll_of_uniform_logits_is_the_logarithm_of_ten() -> None:
    assert nll(torch.zeros(5, 10), torch.arange(5)) == pytest.approx(math.log(10))


def test_ece_is_zero_for_calibrated_confidence() -> None:
    logits = torch.tensor([[math.log(3), 0.0]]).repeat(1500, 1)  # sure to three quarters
    labels = (torch.arange(1500) % 4 == 0).long()  # right in three of four
    assert ece(logits, labels) == pytest.approx(0.0, abs=1e-6)


def test_ece_does_not_depend_on_the_order_of_the_digits() -> None:
    logits = torch.tensor([[math.log(3), 0.0]]).repeat(1500, 1)
    labels = (torch.arange(1500) % 4 == 0).long().sort().values  # as folders of pictures come
    assert ece(logits, labels) == pytest.approx(0.0, abs=1e-6)


def test_ece_is_one_for_certain_wrong_answers() -> None:
    logits = torch.tensor([[100.0, 0.0]]).repeat(30, 1)
    assert ece(logits, torch.ones(30, dtype=torch.long)) == pytest.approx(1.0)


def test_ece_by_an_independent_formula() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(300, 10), torch.randint(0, 10, (300,))
    confidence, predicted = logits.softmax(-1).max(-1)
    rows = sorted(zip(confidence.tolist(), (predicted == labels).tolist(), strict=True))
    bins = [rows[start : start + 20] for start in range(0, 300, 20)]
    expected = (
        sum(abs(sum(right for _, right in rows) - sum(sure for sure, _ in rows)) for rows in bins) / 300
    )
    assert ece(logits, labels) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (9, 10, 0.59585, 0.98212),  # the roots of (p - 0.9)^2 = 3.841459 p (1 - p) / 10
        (10, 10, 0.72247, 1.0),  # 1 / (1 + 3.841459 / 10)
        (0, 10, 0.0, 0.27753),
        (81, 263, 0.2553, 0.3662),  # Newcombe, "Two-sided confidence intervals", 1998, table I
    ],
)
def test_the_wilson_interval(right: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=5e-5)


def test_the_wilson_interval_includes_its_accuracy() -> None:
    for n in range(1, 2000):
        assert wilson_interval(n, n)[1] == 1.0 and wilson_interval(0, n)[0] == 0.0


def test_confusion_has_labels_in_rows_and_answers_in_columns() -> None:
    answers = torch.tensor([3, 3, 5, 5])
    confusion = confusion_counts(torch.eye(10)[answers], torch.tensor([3, 3, 3, 5]))
    assert confusion.shape == (10, 10) and int(confusion.sum()) == 4
    assert (int(confusion[3, 3]), int(confusion[3, 5]), int(confusion[5, 5])) == (2, 1, 1)


def test_class_scores_by_hand() -> None:
    confusion = torch.zeros(10, 10, dtype=torch.long)
    confusion[3, 3], confusion[3, 5], confusion[5, 5], confusion[7, 3] = 2, 1, 1, 4
    scores = class_scores(confusion)
    assert scores[3] == ClassScores(3, precision=2 / 6, recall=2 / 3, f1=4 / 9, n=3)
    assert scores[5] == ClassScores(5, precision=1 / 2, recall=1.0, f1=2 / 3, n=1)
    assert scores[7] == ClassScores(7, precision=None, recall=0.0, f1=0.0, n=4)
    assert scores[0] == ClassScores(0, precision=None, recall=None, f1=None, n=0)


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
