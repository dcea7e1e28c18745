"""From the columns of a line network to strings. NumPy only.

Connectionist temporal classification (Graves et al., 2006): each column is a character or the blank; equal
characters side by side are one, and blanks part them. The blank is the last class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DIGITS = "0123456789"

Columns = npt.NDArray[np.float32]  # log-probabilities (T, A + 1)


def log_softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> Columns:
    """Log-probabilities of logits (T, A + 1)."""
    scaled = logits / np.float32(temperature)
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True)), np.float32)


def digit_columns(logits: npt.NDArray[np.float32], alphabet: str, temperature: float = 1.0) -> Columns:
    """Log-probabilities (T, 11) of the ten digits and of a blank that takes in all marks."""
    columns = log_softmax(logits, temperature)
    digits = [alphabet.index(digit) for digit in DIGITS]
    others = [index for index in range(columns.shape[-1]) if index not in digits]
    blank = np.logaddexp.reduce(columns[:, others], axis=-1, keepdims=True)
    return np.concatenate([columns[:, digits], blank], axis=-1)


def best_path(columns: Columns, alphabet: str = DIGITS) -> str:
    """The string of the likeliest class of each column."""
    blank = len(alphabet)
    best = columns.argmax(axis=-1)
    starts = np.append(True, best[1:] != best[:-1]) & (best != blank)
    return "".join(alphabet[index] for index in best[starts])
