"""The metrics by hand and by independent formulas, and the temperatures and thresholds that follow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from digitcli.evaluation.calibration import (
    coverage,
    fit_temperature,
    reliability,
    risk_table,
    threshold_for_error,
)
from digitcli.evaluation.metrics import (
    ClassScores,
    accuracy,
    calibration_error,
    character_error_rate,
    class_scores,
    confusion_counts,
    ece,
    edit_distance,
    exact_match,
    line_ece,
    line_nll,
    nll,
    print_accuracy,
    read_digits,
    wilson_interval,
)

ALPHABET = "0123456789."


def test_accuracy_and_nll() -> None:
    assert accuracy(torch.eye(10), torch.arange(10)) == 1.0
    assert accuracy(torch.eye(10), torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0])) == 0.9
    assert nll(torch.zeros(5, 10), torch.arange(5)) == pytest.approx(math.log(10))


def test_the_ece_by_hand_and_by_an_independent_formula() -> None:
    logits = torch.tensor([[math.log(3), 0.0]]).repeat(1500, 1)  # sure to three quarters
    labels = (torch.arange(1500) % 4 == 0).long()  # correct in three of four
    assert ece(logits, labels) == pytest.approx(0.0, abs=1e-6)
    assert ece(logits, labels.sort().values) == pytest.approx(0.0, abs=1e-6)  # as folders of pictures come
    wrong = torch.tensor([[100.0, 0.0]]).repeat(30, 1)
    assert ece(wrong, torch.ones(30, dtype=torch.long)) == pytest.approx(1.0)
    torch.manual_seed(0)
    logits, labels = torch.randn(300, 10), torch.randint(0, 10, (300,))
    confidence, predicted = logits.softmax(-1).max(-1)
    rows = sorted(zip(confidence.tolist(), (predicted == labels).tolist(), strict=True))
    bins = [rows[start : start + 20] for start in range(0, 300, 20)]
    gaps = [abs(sum(correct for _, correct in rows) - sum(sure for sure, _ in rows)) for rows in bins]
    assert ece(logits, labels) == pytest.approx(sum(gaps) / 300, abs=1e-5)
    diagram = reliability(confidence, predicted == labels)
    assert [one.n for one in diagram] == [20] * 15
    error = sum(one.n * abs(one.confidence - one.accuracy) for one in diagram) / 300
    assert error == pytest.approx(calibration_error(confidence, predicted == labels))
    assert [one.confidence for one in diagram] == sorted(one.confidence for one in diagram)
    assert [one.n for one in reliability([0.9, 0.8], [True, False])] == [1, 1]  # empty bins are left out


def test_the_wilson_interval() -> None:
    for correct, n, interval in (
        (9, 10, (0.59585, 0.98212)),  # the roots of (p - 0.9)^2 = 3.841459 p (1 - p) / 10
        (10, 10, (0.72247, 1.0)),  # 1 / (1 + 3.841459 / 10)
        (0, 10, (0.0, 0.27753)),
        (81, 263, (0.2553, 0.3662)),  # Newcombe, "Two-sided confidence intervals", 1998, table I
    ):
        assert wilson_interval(correct, n) == pytest.approx(interval, abs=5e-5)
    for n in range(1, 2000):
        assert wilson_interval(n, n)[1] == 1.0 and wilson_interval(0, n)[0] == 0.0


def test_confusion_and_class_scores_by_hand() -> None:
    answers, labels = [3, 3, 5, 5, 3, 3, 3, 3], [3, 3, 3, 5, 7, 7, 7, 7]
    confusion = confusion_counts(torch.eye(10)[torch.tensor(answers)], torch.tensor(labels))
    assert confusion.shape == (10, 10) and int(confusion.sum()) == 8
    assert (confusion[3, 3], confusion[3, 5], confusion[5, 5], confusion[7, 3]) == (2, 1, 1, 4)
    scores = class_scores(confusion)
    assert scores[3] == ClassScores(3, precision=2 / 6, recall=2 / 3, f1=4 / 9, n=3)
    assert scores[5] == ClassScores(5, precision=1 / 2, recall=1.0, f1=2 / 3, n=1)
    assert scores[7] == ClassScores(7, precision=None, recall=0.0, f1=0.0, n=4)
    assert scores[0] == ClassScores(0, precision=None, recall=None, f1=None, n=0)


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


def test_edits_and_errors_of_lines() -> None:
    for read, text, edits in (
        ("", "", 0), ("12", "12", 0), ("", "12", 2), ("123", "", 3), ("12", "13", 1), ("1223", "123", 1),
        ("321", "123", 2),
    ):  # fmt: skip
        assert edit_distance(read, text) == edits, (read, text)
    assert character_error_rate(["12", "4"], ["13", "45"]) == 2 / 4
    assert character_error_rate(["1"], [""]) is None
    answers = [answer("1.2"), answer("33"), answer("")]
    assert read_digits(answers, ALPHABET) == ["12", "33", ""]  # only digits count
    assert exact_match(answers, ["12", "3", ""], ALPHABET) == 2 / 3


def test_print_is_judged_where_it_is_known_by_the_column_in_the_middle_of_a_character() -> None:
    boxes = np.array([[0, 0, 8, 40], [8, 0, 16, 40], [16, 0, 24, 40]], np.float32)  # columns 1, 3 and 5
    logits = np.array([-9, 2, -9, 1, 9, -3], np.float32)[:, None]
    known, partly = np.array([1, 0, 0], np.float32), np.array([1, np.nan, np.nan], np.float32)
    assert print_accuracy([logits], [boxes], [known]) == 2 / 3
    assert print_accuracy([logits] * 2, [boxes] * 2, [known, partly]) == 3 / 4
    assert print_accuracy([logits], [boxes], [np.full(3, np.nan, np.float32)]) is None
    assert print_accuracy([None], [boxes], [known]) is None


def test_the_likelihood_of_a_line_is_the_one_of_its_digits_whatever_lines_are_beside_it() -> None:
    (loss,) = line_nll([answer("12", sure=0.8)], ["12"], ALPHABET)
    assert float(loss) == pytest.approx(-2 * math.log(0.8), abs=0.01)
    answers, texts = [answer("1"), answer("12345", 0.7), answer("")], ["1", "12345", ""]
    together = line_nll(answers, texts, ALPHABET)
    alone = [float(line_nll([one], [text], ALPHABET)[0]) for one, text in zip(answers, texts, strict=True)]
    torch.testing.assert_close(together, torch.tensor(alone), atol=1e-5, rtol=1e-4)
    answers = [answer("1", sure=0.75)] * 100
    assert line_ece(answers, ["1"] * 75 + ["2"] * 25, ALPHABET) == pytest.approx(0, abs=0.01)
    assert line_ece(answers, ["2"] * 100, ALPHABET) == pytest.approx(0.75, abs=0.01)


def test_the_temperature_undoes_a_scaling_and_never_raises_the_nll() -> None:
    torch.manual_seed(0)
    honest = 3 * torch.randn(20_000, 10)
    labels = torch.multinomial(honest.softmax(-1), 1).squeeze(1)
    for scale in (0.3, 1.0, 4.0):
        assert fit_temperature(honest * scale, labels) == pytest.approx(scale, rel=0.03)
    logits, labels = torch.randn(500, 10), torch.randint(0, 10, (500,))
    assert nll(logits, labels, fit_temperature(logits, labels)) <= nll(logits, labels) + 1e-6
    for n in (1, 10, 60):  # a few correct answers do not raise the confidence
        labels = torch.randint(0, 10, (n,))
        logits = 0.1 * torch.randn(n, 10) + 0.5 * torch.nn.functional.one_hot(labels, 10)
        assert (logits.argmax(-1) == labels).all() and fit_temperature(logits, labels) == 1.0


def test_the_most_confident_answers_by_hand() -> None:
    confidence, is_correct = np.linspace(1, 0.5, 200), np.arange(200) != 199
    points = {one.coverage: one for one in coverage(confidence, is_correct)}
    assert points[1.0].accuracy == 199 / 200
    assert points[0.995].accuracy == 1.0
    assert points[0.995].confidence == pytest.approx(confidence[198])
    assert points[0.9].confidence == pytest.approx(confidence[179])


def test_thresholds_of_a_risk_table_keep_the_error() -> None:
    random = np.random.default_rng(0)
    confidences = random.random(5000)
    is_correct = random.random(5000) < confidences
    table = risk_table(confidences.tolist(), is_correct.tolist())
    assert list(table) and [table[error] for error in table] == sorted(table.values(), reverse=True)
    for error, confidence in table.items():
        answered = confidences >= confidence
        assert 1 - is_correct[answered].mean() <= float(error)
        assert 0 < answered.mean() < 1
    # Answers of equal confidence share a threshold, and one of them must be allowed to be wrong.
    assert risk_table([0.9] * 4, [True, True, True, False]) == {}
    assert risk_table([0.9] * 10 + [0.8] * 10, [True] * 20) == {"0.05": 0.8, "0.1": 0.8}
    errors = ("0.01", "0.02", "0.03", "0.05", "0.1")
    assert risk_table([0.9] * 199, [True] * 199) == dict.fromkeys(errors, 0.9)
    table = {"0.01": 0.97, "0.05": 0.9}
    limits = (0.001, 0.01, 0.04, 0.5)
    assert [threshold_for_error(error, table) for error in limits] == [1.0, 0.97, 0.97, 0.9]
    assert threshold_for_error(0.02, {}) == pytest.approx(0.98)


def test_answers_count_by_their_weights_in_a_risk_table() -> None:
    confidences, is_correct = [0.9] * 50 + [0.8] * 50, [True] * 50 + [True] * 45 + [False] * 5
    assert risk_table(confidences, is_correct)["0.05"] == 0.8  # 5 of 100 are wrong
    weights = [0.1] * 50 + [1.0] * 50
    assert risk_table(confidences, is_correct, weights)["0.05"] == 0.9  # 5 of 55
    assert risk_table(confidences, is_correct, [2.0] * 100) == risk_table(confidences, is_correct)
