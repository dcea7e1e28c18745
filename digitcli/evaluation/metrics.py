"""Compute metrics of logits (N, 10) and labels (N,), NumPy arrays or torch tensors on the CPU, and of lines.

Accuracies and probabilities are fractions from 0 to 1. Importing this module loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from digitcli.inference.ctc import best_path, digit_columns, log_softmax
from digitcli.strip_format import COLUMN_PX, DIGITS

if TYPE_CHECKING:
    from torch import Tensor

LineLogits = Sequence[npt.NDArray[np.float32]]  # one array (T, A + 1) for each line

ECE_BINS = 15  # as in Guo et al., 2017
Z_95 = 1.959963984540054  # 95 % of a normal distribution lie within this many standard deviations


def accuracy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the fraction of images whose label has the largest logit."""
    return float(np.mean(np.asarray(logits).argmax(axis=-1) == np.asarray(labels)))


def nll(logits: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    logs = log_softmax(np.asarray(logits), temperature)
    return -float(np.mean(np.take_along_axis(logs, np.asarray(labels)[:, None], axis=-1), dtype=np.float64))


def ece(logits: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Return the expected calibration error, see `calibration_error`."""
    probabilities = np.exp(log_softmax(np.asarray(logits), temperature))
    is_correct = probabilities.argmax(axis=-1) == np.asarray(labels)
    return calibration_error(probabilities.max(axis=-1), is_correct)


def calibration_error(confidence: npt.ArrayLike, is_correct: npt.ArrayLike) -> float:
    """Return the expected calibration error of confidences (N,) in answers that are correct (N,) or not.

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017; with bins of equally many
    answers as in Nguyen & O'Connor, "Posterior calibration and exploratory analysis for natural language
    processing models", 2015.
    """
    bins = equal_mass_bins(confidence, is_correct)
    gaps = [abs(float(correct.sum() - confidences.sum())) for confidences, correct in bins]
    return sum(gaps) / len(np.asarray(is_correct))


def equal_mass_bins(
    confidence: npt.ArrayLike, is_correct: npt.ArrayLike
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Split answers into 15 bins of rising confidence; return the confidences and the correctness of each."""
    confidence = np.asarray(confidence, np.float64)
    order = confidence.argsort(kind="stable")
    correct = _mean_over_ties(np.asarray(is_correct, np.float64), confidence)[order]
    return list(
        zip(np.array_split(confidence[order], ECE_BINS), np.array_split(correct, ECE_BINS), strict=True)
    )


def _mean_over_ties(
    is_correct: npt.NDArray[np.float64], confidence: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Average over answers of equal confidence, so that their order does not change the bins."""
    _, group = np.unique(confidence.round(6), return_inverse=True)
    means: npt.NDArray[np.float64] = np.bincount(group, is_correct) / np.bincount(group)
    return means[group]


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of an accuracy, from `correct` answers among `n`.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927. The interval never
    leaves 0 to 1 and holds near both ends, where the accuracies of digit models are.
    """
    share, weight = correct / n, Z_95**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half_width = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return (centre - half_width if correct else 0.0), (centre + half_width if correct < n else 1.0)


def confusion_counts(logits: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the number of images of each digit (row) that received each answer (column), (10, 10)."""
    answers = np.asarray(logits)
    classes = answers.shape[-1]
    pairs = classes * np.asarray(labels) + answers.argmax(axis=-1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """The scores of one digit; a score is None where it would be zero divided by zero.

    precision: the fraction of the answers with this digit that are correct.
    recall: the fraction of the images of this digit that are recognized.
    f1: the harmonic mean of both (van Rijsbergen, "Information retrieval", 1979).
    n: the number of images of this digit.
    """

    digit: int
    precision: float | None
    recall: float | None
    f1: float | None
    n: int


def class_scores(confusion: npt.NDArray[np.int64]) -> list[ClassScores]:
    """Return the scores of each digit from counts (10, 10) with labels in rows and answers in columns."""
    labelled, answered = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    return [
        ClassScores(
            digit=digit,
            precision=_ratio(correct, answered[digit]),
            recall=_ratio(correct, labelled[digit]),
            f1=_ratio(2 * correct, answered[digit] + labelled[digit]),
            n=labelled[digit],
        )
        for digit, correct in enumerate(confusion.diagonal().tolist())
    ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def read_digits(logits: LineLogits, alphabet: str) -> list[str]:
    """Return the digits of each line by the best path; other characters are left out."""
    return [best_path(digit_columns(line, alphabet)) for line in logits]


def exact_match(logits: LineLogits, labels: Sequence[str], alphabet: str) -> float:
    """Return the fraction of lines whose digits are all correct."""
    texts = read_digits(logits, alphabet)
    return sum(text == label for text, label in zip(texts, labels, strict=True)) / len(labels)


def character_error_rate(texts: Sequence[str], labels: Sequence[str]) -> float | None:
    """Return the edits that turn texts into their labels, divided by the length of the labels.

    The result is None if all labels are empty.
    """
    edits = sum(edit_distance(text, label) for text, label in zip(texts, labels, strict=True))
    length = sum(map(len, labels))
    return edits / length if length else None


def print_accuracy(
    prints: Sequence[npt.NDArray[np.float32] | None],
    boxes: Sequence[npt.NDArray[np.float32]],
    labels: Sequence[npt.NDArray[np.float32]],
) -> float | None:
    """Return the fraction of characters that are rightly told to be printed or written by hand.

    prints: for each line the logits (T, 1) of print, of which that of the column in the middle of a character
        counts; None if the network does not tell it.
    boxes: (n, 4) of each line, x0 y0 x1 y1 in pixels.
    labels: (n,), 1 for print and 0 for handwriting. NaN is not counted; without any other the result is None.
    """
    right: list[bool] = []
    for logits, places, printed in zip(prints, boxes, labels, strict=True):
        if logits is None:
            return None
        columns = np.clip((places[:, 0] + places[:, 2]) / 2 // COLUMN_PX, 0, len(logits) - 1).astype(int)
        known = ~np.isnan(printed)
        right += ((logits[columns, 0] > 0) == (printed > 0.5))[known].tolist()
    return sum(right) / len(right) if right else None


def edit_distance(text: str, label: str) -> int:
    """Return the fewest insertions, deletions and replacements between two strings (Levenshtein, 1966)."""
    row = list(range(len(label) + 1))
    for row_number, character in enumerate(text, start=1):
        diagonal, row[0] = row[0], row_number
        for column, expected in enumerate(label, start=1):
            distance = min(row[column] + 1, row[column - 1] + 1, diagonal + (character != expected))
            diagonal, row[column] = row[column], distance
    return row[-1]


def line_nll(logits: LineLogits, labels: Sequence[str], alphabet: str, temperature: float = 1.0) -> Tensor:
    """Return the negative log-likelihood of the digits of each line (N,), in nats.

    Characters other than digits count as the blank.
    """
    import torch  # only training and the evaluation of lines need this function

    columns = [torch.from_numpy(digit_columns(line, alphabet, temperature)) for line in logits]
    return torch.nn.functional.ctc_loss(
        torch.nn.utils.rnn.pad_sequence(columns),
        torch.tensor([int(digit) for label in labels for digit in label], dtype=torch.long),
        torch.tensor([len(line) for line in columns]),
        torch.tensor([len(label) for label in labels]),
        blank=len(DIGITS),
        reduction="none",
    )


def line_ece(logits: LineLogits, labels: Sequence[str], alphabet: str, temperature: float = 1.0) -> float:
    """Return the expected calibration error of the probability of each line's text."""
    texts = read_digits(logits, alphabet)
    confidence = (-line_nll(logits, texts, alphabet, temperature)).exp()
    is_correct = [text == label for text, label in zip(texts, labels, strict=True)]
    return calibration_error(confidence, is_correct)
