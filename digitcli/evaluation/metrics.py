"""Functions of logits (N, 10) and labels (N,). Accuracies and probabilities are fractions from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ECE_BINS = 15
Z_95 = 1.959963984540054  # 95 % of a normal distribution lies within so many standard deviations


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of labels that have the largest logit."""
    return int((logits.argmax(dim=-1) == labels).sum()) / len(labels)


def nll(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """The mean negative log-likelihood of the labels, in nats."""
    return float(F.cross_entropy(logits / temperature, labels))


def ece(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Expected calibration error over 15 bins that hold equally many predictions, in any order.

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017; equal-mass bins as in
    Nguyen & O'Connor, "Posterior calibration and exploratory analysis for natural language processing
    models", 2015.
    """
    confidence, predicted = (logits / temperature).softmax(dim=-1).max(dim=-1)
    return binned_error(confidence, predicted == labels)


def binned_error(confidence: Tensor, right: Tensor) -> float:
    """The ECE of confidences (N,) in answers that are `right` (N,) or not."""
    order = confidence.argsort()
    right = _shared_by_equals(right.float(), confidence)[order]
    gaps = [
        len(bin_right) * (bin_right.mean() - bin_confidence.mean()).abs()
        for bin_right, bin_confidence in zip(
            right.tensor_split(ECE_BINS), confidence[order].tensor_split(ECE_BINS), strict=True
        )
        if len(bin_right)
    ]
    return float(torch.stack(gaps).sum() / len(right))


def _shared_by_equals(right: Tensor, confidence: Tensor) -> Tensor:
    """`right` with each value the mean over all predictions of the same confidence, which no order parts."""
    _, group, sizes = confidence.round(decimals=6).unique(return_inverse=True, return_counts=True)
    means: Tensor = torch.zeros(len(sizes)).index_add_(0, group, right) / sizes
    return means.index_select(0, group)


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy of which `right` of `n` answers were seen.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927. It never leaves
    0 to 1 and holds near both ends, where digits are read.
    """
    share, weight = right / n, Z_95**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return (centre - half if right else 0.0), (centre + half if right < n else 1.0)


def confusion_counts(logits: Tensor, labels: Tensor) -> Tensor:
    """How often a digit (row) got an answer (column): int64 (10, 10)."""
    classes = logits.shape[-1]
    pairs = classes * labels + logits.argmax(dim=-1)
    return pairs.bincount(minlength=classes**2).reshape(classes, classes)


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


def class_scores(confusion: Tensor) -> list[ClassScores]:
    """The scores of each digit, from counts (10, 10) with the truth in rows and the answers in columns."""
    there, answered = confusion.sum(dim=1).tolist(), confusion.sum(dim=0).tolist()
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
