"""Functions of what a line network answers, logits (T, A + 1) a line, and of the digits that are there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from digitcli.evaluation.metrics import binned_error
from digitcli.inference.ctc import DIGITS, best_path, digit_columns

Answers = Sequence[npt.NDArray[np.float32]]


def read_digits(answers: Answers, alphabet: str) -> list[str]:
    """The digits of each line, by the best path."""
    return [best_path(digit_columns(logits, alphabet)) for logits in answers]


def exact_match(answers: Answers, texts: Sequence[str], alphabet: str) -> float:
    """The share of lines whose digits are all read right."""
    found = read_digits(answers, alphabet)
    return sum(ours == text for ours, text in zip(found, texts, strict=True)) / len(texts)


def character_error_rate(found: Sequence[str], texts: Sequence[str]) -> float | None:
    """Edits that make what was found what is there, a digit that is there; None where there are none."""
    edits = sum(edit_distance(ours, text) for ours, text in zip(found, texts, strict=True))
    length = sum(map(len, texts))
    return edits / length if length else None


def edit_distance(found: str, text: str) -> int:
    """The fewest insertions, deletions and replacements from one to the other (Levenshtein, 1966)."""
    row = list(range(len(text) + 1))
    for number, ours in enumerate(found, start=1):
        before, row[0] = row[0], number
        for place, theirs in enumerate(text, start=1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (ours != theirs)),
            )
    return row[-1]


def line_nll(answers: Answers, texts: Sequence[str], alphabet: str, temperature: float = 1.0) -> Tensor:
    """The negative log-likelihood of each line's digits (N,), in nats; marks count as the blank."""
    columns = [torch.from_numpy(digit_columns(logits, alphabet, temperature)) for logits in answers]
    return F.ctc_loss(
        torch.nn.utils.rnn.pad_sequence(columns),
        torch.tensor([int(digit) for text in texts for digit in text], dtype=torch.long),
        torch.tensor([len(line) for line in columns]),
        torch.tensor([len(text) for text in texts]),
        blank=len(DIGITS),
        reduction="none",
    )


def line_ece(answers: Answers, texts: Sequence[str], alphabet: str, temperature: float = 1.0) -> float:
    """Expected calibration error of the probabilities of the strings that are read, see `metrics.ece`."""
    found = read_digits(answers, alphabet)
    confidence = (-line_nll(answers, found, alphabet, temperature)).exp()
    right = [ours == text for ours, text in zip(found, texts, strict=True)]
    return binned_error(confidence, right)
