"""Compute metrics of the logits (T, A + 1) of lines and of the digits that are written in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from digitcli.evaluation.metrics import calibration_error
from digitcli.inference.ctc import DIGITS, best_path, digit_columns

LineLogits = Sequence[npt.NDArray[np.float32]]  # one array (T, A + 1) for each line


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
    columns = [torch.from_numpy(digit_columns(line, alphabet, temperature)) for line in logits]
    return F.ctc_loss(
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
