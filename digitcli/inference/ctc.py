"""Decode the columns of a line network into strings. NumPy only.

Connectionist temporal classification (CTC; Graves et al., 2006): each column is a character or the blank.
Equal characters in neighbouring columns are one character, and a blank separates them. The blank is the last
class.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Hashable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from digitcli.strip_format import DIGITS

# Prefixes over all groups; without a limit, a line of noise takes minutes.
MAX_BEAMS = 300
# Prefixes in each group (chosen by hand: the likely texts of a line are few).
BEAM_WIDTH = 12
# Probability of a digit in a column from which a prefix is extended by it (chosen by hand: a constraint may
# need an unlikely digit).
MIN_PROBABILITY = 1e-5
# Probability of the likeliest prefix below which all are multiplied, long before they are too small to tell.
RESCALED_BELOW = 1e-100

Columns = npt.NDArray[np.float32]  # log-probabilities (T, A + 1)


def log_softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> Columns:
    """Return the log-probabilities of logits (..., classes) after division by a temperature."""
    scaled = logits / np.float32(temperature)
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True)), np.float32)


def digit_columns(logits: npt.NDArray[np.float32], alphabet: str, temperature: float = 1.0) -> Columns:
    """Return log-probabilities (T, 11) of the ten digits, and of a blank that includes all other classes."""
    return without_marks(log_softmax(logits, temperature), alphabet)


def without_marks(columns: Columns, alphabet: str) -> Columns:
    """Return log-probabilities of an alphabet and the blank, (T, A + 1), as those of `digit_columns`."""
    digits, others = _digits_and_others(alphabet)
    blank = np.logaddexp.reduce(columns[:, others], axis=-1, keepdims=True)
    return np.concatenate([columns[:, digits], blank], axis=-1)


@functools.cache
def _digits_and_others(alphabet: str) -> tuple[list[int], list[int]]:
    digits = [alphabet.index(digit) for digit in DIGITS]
    return digits, [index for index in range(len(alphabet) + 1) if index not in digits]


def best_path(columns: Columns, alphabet: str = DIGITS) -> str:
    """Return the string of the most probable class of each column."""
    return "".join(character for character, _, _ in best_path_places(columns, alphabet))


def best_path_places(columns: Columns, alphabet: str = DIGITS) -> list[tuple[str, int, int]]:
    """Return the characters of the best path, each with its first column and the one after its last."""
    blank = len(alphabet)
    best = columns.argmax(axis=-1)
    starts = [0, *(1 + np.flatnonzero(best[1:] != best[:-1])).tolist(), len(best)]
    return [
        (alphabet[best[start]], start, end)
        for start, end in itertools.pairwise(starts)
        if best[start] != blank
    ]


def best_path_of(
    columns: Columns, digits: str, alphabet: str, min_probability: float = MIN_PROBABILITY
) -> str:
    """Return the characters of the likeliest path that has exactly these digits, and any other characters.

    The Viterbi algorithm (1967), over the number of digits passed and the class of the last column. Other
    characters than digits are tried in columns where they have `min_probability`. The result is the digits
    alone if there are too few columns for them.
    """
    blank, least = len(alphabet), math.log(min_probability)
    indices = [alphabet.index(digit) for digit in digits]
    marks = [index for index, character in enumerate(alphabet) if not character.isdecimal()]
    paths = {(0, blank): (0.0, "")}  # (digits passed, last class) -> log-probability, text
    for column in columns.tolist():
        extended: dict[tuple[int, int], tuple[float, str]] = {}
        likely_marks = [mark for mark in marks if column[mark] >= least]
        for (passed, last), (score, text) in paths.items():
            steps = [(passed, blank, text)]
            steps += [
                (passed, mark, text if mark == last else text + alphabet[mark]) for mark in likely_marks
            ]
            if passed and last == indices[passed - 1]:
                steps.append((passed, last, text))
            if passed < len(digits) and last != indices[passed]:
                steps.append((passed + 1, indices[passed], text + digits[passed]))
            for count, index, longer in steps:
                known = extended.get((count, index))
                if known is None or score + column[index] > known[0]:
                    extended[count, index] = score + column[index], longer
        paths = extended
    complete = [path for (passed, _), path in paths.items() if passed == len(digits)]
    return max(complete)[1] if complete else digits


class Grammar(Protocol):
    """The strings that a beam search may return."""

    def may_begin(self, text: str) -> bool:
        """Return whether an allowed string can begin with this prefix."""

    def accepts(self, text: str) -> bool:
        """Return whether this string is allowed."""

    def group(self, text: str) -> Hashable:
        """Return the group of a prefix. Prefixes compete for the beam within their group only."""


class AnyDigits:
    """A grammar that allows every string of digits."""

    def may_begin(self, text: str) -> bool:
        """Return True."""
        return True

    def accepts(self, text: str) -> bool:
        """Return True."""
        return True

    def group(self, text: str) -> Hashable:
        """Return the only group."""
        return None


ANY_DIGITS = AnyDigits()


# The probabilities of the alignments of a prefix that end with a blank, and with its last digit.
_Beam = tuple[float, float]


def beam_search(
    columns: Columns,
    grammar: Grammar = ANY_DIGITS,
    width: int = BEAM_WIDTH,
    min_probability: float = MIN_PROBABILITY,
) -> list[tuple[str, float]]:
    """Return the most probable strings that a grammar allows with their log-probabilities, the best first.

    This is the prefix search of Graves et al., 2006, over columns (T, 11) of `digit_columns`, where
    neighbouring columns without a likely digit count as one blank. It keeps `width` prefixes of each group,
    and `MAX_BEAMS` in all.
    """
    beams: dict[str, _Beam] = {"": (1.0, 0.0)}
    log_scale = 0.0  # to be added to the logarithms of the beams
    for column in _merge_blanks(np.exp(columns, dtype=np.float64), min_probability).tolist():
        digits = [index for index in range(10) if column[index] >= min_probability]
        beams = _extend(beams, column, digits, grammar)
        if len(beams) > width:
            beams = _prune(beams, width, grammar)
        largest = max((blank + digit for blank, digit in beams.values()), default=0.0)
        if 0 < largest < RESCALED_BELOW:
            beams = {text: (blank / largest, digit / largest) for text, (blank, digit) in beams.items()}
            log_scale += math.log(largest)
    results = [
        (text, math.log(blank + digit) + log_scale)
        for text, (blank, digit) in beams.items()
        if blank + digit and grammar.accepts(text)
    ]
    return sorted(results, key=lambda result: -result[1])


def _merge_blanks(columns: npt.NDArray[np.float64], min_probability: float) -> npt.NDArray[np.float64]:
    """Return probabilities (T, 11) in which neighbouring columns without a likely digit are one blank."""
    is_blank = columns[:, :-1].max(axis=1) < min_probability
    starts = np.flatnonzero(~(is_blank & np.append(False, is_blank[:-1])))
    merged = np.where(is_blank[starts, None], 0.0, columns[starts])
    merged[:, -1] = np.multiply.reduceat(columns[:, -1], starts)
    return merged


def _extend(
    beams: dict[str, _Beam], column: list[float], digits: list[int], grammar: Grammar
) -> dict[str, _Beam]:
    """Return the prefixes after one more column, which may add one of `digits`."""
    extended = {
        text: ((blank + digit) * column[-1], digit * column[int(text[-1])] if text else 0.0)
        for text, (blank, digit) in beams.items()
    }
    for index in digits:
        character = DIGITS[index]
        for text, (blank, digit) in beams.items():
            start = blank if text[-1:] == character else blank + digit
            longer = text + character
            known = extended.get(longer)
            if start == 0 or (known is None and not grammar.may_begin(longer)):
                continue
            before, ended = known or (0.0, 0.0)
            extended[longer] = (before, ended + start * column[index])
    return extended


def _prune(beams: dict[str, _Beam], width: int, grammar: Grammar) -> dict[str, _Beam]:
    """Keep the most probable prefixes of each group, and of all groups together."""
    counts: Counter[Hashable] = Counter()
    kept: dict[str, _Beam] = {}
    for text, beam in sorted(beams.items(), key=lambda item: -item[1][0] - item[1][1]):
        if len(kept) == MAX_BEAMS:
            break
        group = grammar.group(text)
        counts[group] += 1
        if counts[group] <= width:
            kept[text] = beam
    return kept


def log_probability(columns: Columns, text: str) -> float:
    """Return the log-probability of a string of digits, summed over all its alignments.

    The forward algorithm of Graves et al., 2006.
    """
    states = np.array(_states(text))
    skipping = np.full(len(states), -np.inf)  # 0 where the blank between two different digits may be skipped
    skipping[3::2][states[3::2] != states[1:-2:2]] = 0
    scores = np.full(2 + len(states), -np.inf)  # two impossible states come first
    scores[2] = 0  # before the first column, so that a path begins with the blank or the first digit
    for emissions in columns[:, states].astype(np.float64):
        scores[2:] = np.logaddexp.reduce([scores[2:], scores[1:-1], scores[:-2] + skipping]) + emissions
    return float(np.logaddexp.reduce(scores[-2:]))


def align(columns: Columns, text: str) -> list[int]:
    """Return for each digit the column of its highest probability in the best alignment (Viterbi, 1967)."""
    states = _states(text)
    may_skip = [
        place > 2 and place % 2 == 1 and states[place - 2] != state for place, state in enumerate(states)
    ]
    emissions = columns[:, states].tolist()
    scores = [0.0, *[-math.inf] * (len(states) - 1)]
    steps_to: list[list[int]] = []  # how many states before each state its best path was, for each column
    for emission in emissions:
        before, scores, steps = scores, [], []
        for place, value in enumerate(emission):
            best, step = before[place], 0
            if place and before[place - 1] > best:
                best, step = before[place - 1], 1
            if may_skip[place] and before[place - 2] > best:
                best, step = before[place - 2], 2
            scores.append(best + value)
            steps.append(step)
        steps_to.append(steps)
    state = len(states) - (2 if text and scores[-2] > scores[-1] else 1)
    best_column: dict[int, int] = {}
    for time in range(len(columns) - 1, -1, -1):
        known = best_column.get(state)
        if known is None or emissions[time][state] > emissions[known][state]:
            best_column[state] = time
        state -= steps_to[time][state]
    return [best_column[2 * index + 1] for index in range(len(text)) if 2 * index + 1 in best_column]


def divide(columns: Columns, text: str) -> list[tuple[int, int]]:
    """Return the columns that belong to each digit of a text: its first column and the one after its last.

    `columns` are those of `digit_columns`. The digits are where `align` finds them. Two of them are divided
    behind the column between them in which a blank is likeliest.
    """
    peaks = align(columns, text)
    cuts = [left + int(columns[left:right, -1].argmax()) + 1 for left, right in itertools.pairwise(peaks)]
    return list(itertools.pairwise([0, *cuts, len(columns)])) if peaks else []


def _states(text: str) -> list[int]:
    """Return the classes of an alignment: a blank, and then each digit and a blank."""
    states = [len(DIGITS)]
    for digit in text:
        states += [int(digit), len(DIGITS)]
    return states
