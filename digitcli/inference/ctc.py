"""From the columns of a line network to strings. NumPy only.

Connectionist temporal classification (Graves et al., 2006): each column is a character or the blank; equal
characters side by side are one, and blanks part them. The blank is the last class.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

DIGITS = "0123456789"

_MOST = 300  # beginnings are kept, however many groups there are: what looks like nothing would take minutes

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


class Grammar(Protocol):
    """Which strings are allowed."""

    def may_begin(self, text: str) -> bool:
        """Whether an allowed string can begin so."""

    def accepts(self, text: str) -> bool:
        """Whether a string is allowed."""

    def group(self, text: str) -> Hashable:
        """Beginnings of different groups do not compete, so that one which fits in the end is kept."""


class AnyDigits:
    """Every string is allowed."""

    def may_begin(self, text: str) -> bool:
        """Always."""
        return True

    def accepts(self, text: str) -> bool:
        """Always."""
        return True

    def group(self, text: str) -> Hashable:
        """There is one."""
        return None


ANY_DIGITS = AnyDigits()


@dataclass
class _Beam:
    """Log-probabilities that a beginning ends with a blank or with its last digit."""

    blank: float = -math.inf
    digit: float = -math.inf

    @property
    def total(self) -> float:
        return add_logs(self.blank, self.digit)


def beam_search(
    columns: Columns, grammar: Grammar = ANY_DIGITS, width: int = 12, share: float = 1e-5
) -> list[tuple[str, float]]:
    """The likeliest strings that a grammar allows, with their log-probabilities, best first.

    Prefix search (Graves et al., 2006). `width` beginnings are kept of each group, 300 in all; a digit
    is tried where its probability is at least `share`. Columns (T, 11) are over `DIGITS` and the blank.
    """
    beams = {"": _Beam(blank=0.0)}
    least = math.log(share)
    for column in columns.tolist():
        beams = _after(beams, column, [index for index in range(10) if column[index] >= least], grammar)
        if len(beams) > width:
            beams = _best(beams, width, grammar)
    ends = [(text, beam.total) for text, beam in beams.items() if grammar.accepts(text)]
    return sorted(ends, key=lambda end: -end[1])


def _after(
    beams: dict[str, _Beam], column: list[float], digits: list[int], grammar: Grammar
) -> dict[str, _Beam]:
    """The beginnings after one more column, in which these digits are tried."""
    following: dict[str, _Beam] = {}
    for text, beam in beams.items():
        total = beam.total
        kept = following.setdefault(text, _Beam())
        kept.blank = add_logs(kept.blank, total + column[-1])
        if text:
            kept.digit = add_logs(kept.digit, beam.digit + column[int(text[-1])])
        for index in digits:
            start = beam.blank if text and DIGITS[index] == text[-1] else total
            longer = text + DIGITS[index]
            if start == -math.inf or (longer not in following and not grammar.may_begin(longer)):
                continue
            grown = following.setdefault(longer, _Beam())
            grown.digit = add_logs(grown.digit, start + column[index])
    return following


def _best(beams: dict[str, _Beam], width: int, grammar: Grammar) -> dict[str, _Beam]:
    """The likeliest of each group, and of all groups."""
    counts: Counter[Hashable] = Counter()
    kept: dict[str, _Beam] = {}
    for text, beam in sorted(beams.items(), key=lambda item: -item[1].total):
        if len(kept) == _MOST:
            break
        group = grammar.group(text)
        counts[group] += 1
        if counts[group] <= width:
            kept[text] = beam
    return kept


def add_logs(first: float, second: float) -> float:
    """The logarithm of the sum of two numbers given by theirs."""
    if first < second:
        first, second = second, first
    return first if second == -math.inf else first + math.log1p(math.exp(second - first))


def log_probability(columns: Columns, text: str) -> float:
    """The log-probability of a string of digits, summed over all its alignments."""
    return float(np.logaddexp.reduce(_forward(columns, text, np.logaddexp)[-1][-2:]))


def align(columns: Columns, text: str) -> list[int]:
    """The column at which each digit of a string is surest, in the likeliest alignment (Viterbi, 1967)."""
    scores = _forward(columns, text, np.maximum)
    states = _states(text)
    state = len(states) - 1
    if text and scores[-1, -2] > scores[-1, -1]:
        state -= 1
    surest: dict[int, int] = {}
    for time in range(len(columns) - 1, -1, -1):
        if state % 2:
            best = surest.get(state)
            if best is None or columns[time, states[state]] > columns[best, states[state]]:
                surest[state] = time
        if time:
            before = [scores[time - 1, state]]
            if state >= 1:
                before.append(scores[time - 1, state - 1])
            if state >= 2 and state % 2 and states[state] != states[state - 2]:
                before.append(scores[time - 1, state - 2])
            state -= int(np.argmax(before))
    return [surest[2 * place + 1] for place in range(len(text)) if 2 * place + 1 in surest]


def _states(text: str) -> list[int]:
    """Classes of the alignment: a blank, then each digit and a blank."""
    states = [len(DIGITS)]
    for digit in text:
        states += [int(digit), len(DIGITS)]
    return states


def _forward(columns: Columns, text: str, join: np.ufunc) -> npt.NDArray[np.float64]:
    """Log-probabilities (T, S) of being in each state after each column."""
    states = np.array(_states(text))
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full((len(columns), len(states)), -np.inf)
    emitted = columns[:, states].astype(np.float64)
    scores[0, :2] = emitted[0, :2]
    for time in range(1, len(columns)):
        stayed = scores[time - 1]
        moved = np.append(-np.inf, stayed[:-1])
        jumped = np.where(skips, np.concatenate([[-np.inf, -np.inf], stayed[:-2]])[: len(states)], -np.inf)
        scores[time] = join(join(stayed, moved), jumped) + emitted[time]
    return scores
