"""How likely which string is in a region, over all networks that looked at it and all views they had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.inference.ctc import ANY_DIGITS, DIGITS, Grammar, beam_search, digit_columns, log_softmax
from digitcli.inference.runtime import LineOutput
from digitcli.recognition.constraints import Asked

SEARCHED = 12  # strings are followed while a line is decoded
TRIED, TRIED_IF_ASKED = 1e-4, 1e-5  # the least probability of a digit for that: what is asked may be unlikely
DIGIT_WEIGHT = 0.3  # of the digit networks about shapes that stand apart; the rest is that of line networks
DOUBT = 0.05  # the probability that a number is not as asked for, however likely it looked before
_LEAST = 1e-12  # probability of a digit
_NEVER = -1e9  # the logarithm of no probability at all

Strings = dict[str, float]  # with their probabilities


@dataclass(frozen=True)
class LineEvidence:
    """What a line network saw in a view of a region: log-probabilities (T, 11), and marks too (T, A + 1)."""

    columns: np.ndarray
    with_marks: np.ndarray
    alphabet: str
    distances: np.ndarray | None

    @classmethod
    def of(cls, answer: LineOutput, alphabet: str, temperature: float) -> LineEvidence:
        """From a network's answer, calibrated."""
        return cls(
            digit_columns(answer.logits, alphabet, temperature),
            log_softmax(answer.logits, temperature),
            alphabet,
            answer.distances,
        )


def likely_strings(
    lines: Sequence[LineEvidence],
    digits: np.ndarray | None,
    grammar: Grammar,
    said: float | None = None,
    doubt: float = 0.0,
) -> tuple[Strings, float]:
    """The likeliest strings that a grammar allows, and what of the lines' probability the digits may share.

    Digit networks, `digits` (N, 10), take digits for granted: they have their say in which ones there are,
    but not in whether there are any, nor in whether a lone shape is one digit. Where the grammar leaves
    strings out, `said` is the share that was found with all of them. With the probability `doubt` there is
    nothing to read, whatever was found.
    """
    found, said = _of_both(lines, digits, grammar, said)
    if doubt:
        empty = found.get("", 0.0)
        found = {text: probability * (1 - doubt) for text, probability in found.items()}
        if grammar.accepts(""):
            found[""] = 1 - (1 - empty) * (1 - doubt)
    return found, said


def doubt_of(digits: np.ndarray) -> float:
    """How likely a lone shape is no digit, from probabilities (1, 10) that are even for what is none.

    They are a mixture of those of a digit and of even ones, and the least of them shows how much of these.
    """
    return float(min(1.0, digits.shape[1] * digits.min()))


def _of_both(
    lines: Sequence[LineEvidence], digits: np.ndarray | None, grammar: Grammar, said: float | None
) -> tuple[Strings, float]:
    found = _of_lines(lines, grammar) if lines else {}
    if digits is None:
        return found or {"": 0.0}, 0.0
    theirs = beam_search(_as_columns(digits), grammar, SEARCHED, _LEAST / 2)
    if not lines:
        return {text: math.exp(log_probability) for text, log_probability in theirs} or {"": 0.0}, 1.0
    shared = [text for text in found if text and (len(digits) > 1 or len(text) == 1)]
    said = sum(found[text] for text in shared) if said is None else said
    for text in shared:
        found[text] *= 1 - DIGIT_WEIGHT
    for text, log_probability in theirs:
        found[text] = found.get(text, 0.0) + DIGIT_WEIGHT * said * math.exp(log_probability)
    return found or {"": 0.0}, said


def _of_lines(lines: Sequence[LineEvidence], grammar: Grammar) -> Strings:
    """The mean over all views of a line, where a view that shows nothing does not count against another."""
    found: Strings = {}
    tried = TRIED if grammar is ANY_DIGITS else TRIED_IF_ASKED
    for evidence in lines:
        for text, log_probability in beam_search(evidence.columns, grammar, SEARCHED, tried):
            found[text] = found.get(text, 0.0) + math.exp(log_probability)
    empty = [math.exp(float(evidence.columns[:, -1].sum())) for evidence in lines]
    written = len(lines) - sum(empty)
    found = {text: share * (1 - min(empty)) / max(written, 1e-9) for text, share in found.items() if text}
    return found | ({"": min(empty)} if grammar.accepts("") else {})


def _as_columns(digits: np.ndarray) -> np.ndarray:
    """Probabilities (N, 10) of digits side by side as columns (2 N - 1, 11), blanks between them."""
    columns = np.full((2 * len(digits) - 1, len(DIGITS) + 1), _NEVER)
    columns[::2, :-1] = np.log(np.maximum(digits, _LEAST))
    columns[1::2, -1] = 0
    return columns


def likeliest(strings: Strings, surely_empty: float = 0.5) -> str:
    """The likeliest string; nothing only where that is more likely than `surely_empty`."""
    written = [text for text in strings if text]
    if not written or strings.get("", 0.0) > surely_empty:
        return ""
    return max(written, key=lambda text: strings[text])


def given(strings: Strings, asked: Asked) -> Strings:
    """Strings that are as asked for, with their probabilities given that, but for some doubt about it."""
    meeting = {text: probability for text, probability in strings.items() if asked.accepts(text)}
    total = sum(meeting.values())
    return {text: probability / (total + DOUBT * (1 - total)) for text, probability in meeting.items()}


def shares_at(strings: Strings, best: str, place: int) -> dict[str, float]:
    """The probability of each digit at a place, over the strings that are as long as the best one."""
    shares: dict[str, float] = {}
    for text, probability in strings.items():
        if len(text) == len(best):
            shares[text[place]] = shares.get(text[place], 0.0) + probability
    return shares
