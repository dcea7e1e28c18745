"""Functions of logits (N, 10) and labels (N,), arrays or tensors of the CPU. Accuracies and probabilities are
fractions from 0 to 1. Loads no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.inference.ctc import log_softmax

ECE_BINS = 15
Z_95 = 1.959963984540054  # 95 % of a normal distribution lies within so many standard deviations


def accuracy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The share of labels that have the largest logit."""
    return float(np.mean(np.asarray(logits).argmax(axis=-1) == np.asarray(labels)))


def nll(logits: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> float:
    """The mean negative log-likelihood of the labels, in nats."""
    logs = log_softmax(np.asarray(logits), temperature)
    return -float(np.mean(np.take_along_axis(logs, np.asarray(labels)[:, None], axis=-1), dtype=np.float64))


def ece(logits: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Expected calibration error over 15 bins that hold equally many predictions, in any order.

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017; equal-mass bins as in
    Nguyen & O'Connor, "Posterior calibration and exploratory analysis for natural language processing
    models", 2015.
    """
    probabilities = np.exp(log_softmax(np.asarray(logits), temperature))
    return binned_error(probabilities.max(axis=-1), probabilities.argmax(axis=-1) == np.asarray(labels))


def binned_error(confidence: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """The ECE of confidences (N,) in answers that are `right` (N,) or not."""
    bins = equal_mass_bins(confidence, right)
    return sum(abs(float(ours.sum() - theirs.sum())) for theirs, ours in bins) / len(np.asarray(right))


def equal_mass_bins(
    confidence: npt.ArrayLike, right: npt.ArrayLike
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """The confidences and which of them are right, in 15 bins from the least sure to the surest."""
    confidence = np.asarray(confidence, np.float64)
    order = confidence.argsort(kind="stable")
    right = _shared_by_equals(np.asarray(right, np.float64), confidence)[order]
    return list(
        zip(np.array_split(confidence[order], ECE_BINS), np.array_split(right, ECE_BINS), strict=True)
    )


def _shared_by_equals(
    right: npt.NDArray[np.float64], confidence: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """`right` with each value the mean over all predictions of the same confidence, which no order parts."""
    _, group = np.unique(confidence.round(6), return_inverse=True)
    means: npt.NDArray[np.float64] = np.bincount(group, right) / np.bincount(group)
    return means[group]


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy of which `right` of `n` answers were seen.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927. It never leaves
    0 to 1 and holds near both ends, where digits are read.
    """
    share, weight = right / n, Z_95**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return (centre - half if right else 0.0), (centre + half if right < n else 1.0)


def confusion_counts(logits: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """How often a digit (row) got an answer (column): int64 (10, 10)."""
    answers = np.asarray(logits)
    classes = answers.shape[-1]
    pairs = classes * np.asarray(labels) + answers.argmax(axis=-1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """How well one digit is read; `n` are there. A ratio of nothing to nothing is None.

    `precision` is the share of the answers that are right, `recall` the share of the digits that are found,
    `f1` their harmonic mean (van Rijsbergen, "Information retrieval", 1979).
    """

    digit: int
    precision: float | None
    recall: float | None
    f1: float | None
    n: int


def class_scores(confusion: npt.NDArray[np.int64]) -> list[ClassScores]:
    """The scores of each digit, from counts (10, 10) with the truth in rows and the answers in columns."""
    there, answered = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    return [
        ClassScores(
            digit=digit,
            precision=_ratio(right, answered[digit]),
            recall=_ratio(right, there[digit]),
            f1=_ratio(2 * right, answered[digit] + there[digit]),
            n=there[digit],
        )
        for digit, right in enumerate(confusion.diagonal().tolist())
    ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
