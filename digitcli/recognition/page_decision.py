"""How sure it is that a number is right, and that one stands there; how a line is split; what a page shows.

The probabilities are logistic functions of what the networks say: Platt, "Probabilistic outputs for support
vector machines and comparisons to regularized likelihood methods", 1999. `scripts/calibrate.py pages` fits
the weights on synthetic pages, and the checkpoint of `page_reader` holds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box, Grey
from digitcli.inference.ctc import Grammar
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import (
    Decision,
    NumberResult,
    all_right,
    choose_one,
    decide_number,
    decision_of,
)
from digitcli.recognition.line_crops import RegionCrops
from digitcli.recognition.readings import Number

# The logarithm of the odds is limited to this, so that no probability is 0 or 1.
LARGEST_LOG_ODDS = 12.0
# Heights of a line for each of its digits: the median of composed numbers that were read correctly.
TYPICAL_PITCH = 0.89
FEATURES = ("reading", "surest", "nothing", "finder", "other", "digits", "pitch", "bias")
# What tells whether a number stands there, whatever its digits are.
PRESENCE_FEATURES = ("reading", "nothing", "finder", "other", "pitch", "bias")
# Begins the names of the weights for the only number of a page. It is often one that somebody cut out.
ALONE = "alone_"

# Lengths are in heights of the lower of two numbers, if nothing else is said. The values were chosen on 260
# composed fractions and on 200 synthetic pages with two or three numbers in a column.
MOST_DIGITS = 3  # of a part: longer numbers above each other are a sum
INK = 0.5  # of the contrast of the digits, from which a pixel belongs to a bar
SHORTEST_BAR = 0.9  # length, in widths of the wider number
LONGEST_OVERHANG = 1.5  # by which a bar may be longer than the wider number; longer ones are rules
THICKEST_BAR = 0.3
LARGEST_BREAK = 0.15  # in a bar
LARGEST_GAP = 0.9  # between a number and the bar, in heights of the number
NEAREST = 0.12  # a bar reaches so far into the boxes of the digits, which are not exact
SURROUNDINGS = 0.8  # above and below the numbers, in which a rule shows that they stand in a table

# Probability of other writing from which a page without numbers is not blank: it is likelier than not.
OTHER_WRITING = 0.5


def features(
    probability: float, surest: float, nothing: float, digits: int, crops: RegionCrops, length: float
) -> dict[str, float]:
    """Return the values that the weights multiply, for a text with a probability.

    `length` is that of the number, in heights of its line.

    reading: the log-odds of the text, by the mean over all networks and strips.
    surest: the same by the network and the strip that are surest of it.
    nothing: the log-odds that no digit stands there, by the reader.
    finder: the log-odds that a number stands there, by the page finder.
    other: the log-odds that other writing stands there, by the page finder.
    digits: the logarithm of the number of digits.
    pitch: how far the length for each digit is from the typical one, as a logarithm: a digit may be missing,
        or other writing may belong to the line.
    bias: 1.
    """
    line = crops.line
    return {
        "reading": log_odds(probability),
        "surest": log_odds(surest),
        "nothing": log_odds(nothing),
        "finder": log_odds(line.score),
        "other": log_odds(line.other_score),
        "digits": math.log(digits),
        "pitch": abs(math.log(length / digits / TYPICAL_PITCH)),
        "bias": 1.0,
    }


def weights_for(weights: Mapping[str, float], *, is_alone: bool) -> dict[str, float]:
    """Return the weights for the only number of a page, if there are any, or those for others."""
    alone = {name.removeprefix(ALONE): weight for name, weight in weights.items() if name.startswith(ALONE)}
    if is_alone and alone:
        return alone
    return {name: weight for name, weight in weights.items() if not name.startswith(ALONE)}


def logistic(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the probability that weights give to features."""
    return from_log_odds(sum(weight * values[name] for name, weight in weights.items()))


def from_log_odds(value: float) -> float:
    """Return the probability that has a logarithm of the odds, at most `LARGEST_LOG_ODDS` in size."""
    return 1 / (1 + math.exp(-max(-LARGEST_LOG_ODDS, min(LARGEST_LOG_ODDS, value))))


def log_odds(probability: float) -> float:
    """Return the logarithm of the odds, at most `LARGEST_LOG_ODDS` in size."""
    if probability <= 0 or probability >= 1:
        return math.copysign(LARGEST_LOG_ODDS, probability - 0.5)
    return max(-LARGEST_LOG_ODDS, min(LARGEST_LOG_ODDS, math.log(probability / (1 - probability))))


@dataclass(frozen=True)
class Split:
    """The likeliest split of a line into numbers that a grammar allows.

    is_split: whether each gap between two digits separates numbers.
    shares: the probability that each number stands there, given that the grammar allows all numbers.
    least: the smallest probability, over all gaps, that the gap is as this split has it.
    """

    is_split: list[bool]
    shares: list[float]
    least: float


def likeliest_split(
    digits: str, separators: Sequence[float], is_operator: Sequence[bool], grammar: Grammar
) -> Split | None:
    """Split n digits into numbers that a grammar allows; None if no such split is possible.

    separators: how likely each of the n - 1 gaps separates two numbers.
    is_operator: whether an operator stands there, which always does.

    The probabilities of the numbers come from the sums over the splits before and behind each (the
    forward-backward algorithm; Rabiner, "A tutorial on hidden Markov models", 1989).
    """
    count = len(digits)
    spans: dict[tuple[int, int], float] = {}  # of a number: its probability, given that one starts there
    before, behind = [1.0, *[0.0] * count], [*[0.0] * count, 1.0]
    best = [(1.0, 0), *[(0.0, 0)] * count]
    for start in range(count):
        joined = 1.0
        for end in range(start + 1, count + 1):
            if not before[start] or not grammar.may_begin(digits[start:end]):
                break
            if grammar.accepts(digits[start:end]):
                share = joined * (separators[end - 1] if end < count else 1.0)
                spans[start, end] = share
                before[end] += before[start] * share
                best[end] = max(best[end], (best[start][0] * share, start))
            if end < count and is_operator[end - 1]:
                break
            joined *= 1 - separators[end - 1] if end < count else 1.0
    if not digits or not best[count][0]:
        return None
    for (start, end), share in reversed(spans.items()):
        behind[start] += share * behind[end]
    bounds = [count]
    while bounds[0]:
        bounds.insert(0, best[bounds[0]][1])
    shares = [
        before[start] * spans[start, end] * behind[end] / before[count]
        for start, end in zip(bounds, bounds[1:], strict=False)
    ]
    is_split = [place in bounds for place in range(1, count)]
    demands = [share if splits else 1 - share for share, splits in zip(separators, is_split, strict=True)]
    return Split(is_split, shares, min(demands, default=1.0))


def shows_fraction(grey: Grey, numbers: Sequence[Number]) -> bool:
    """Tell whether a page, uint8 (H, W), shows nothing but one number above a fraction bar, and one below.

    The boxes of the numbers lie on the page. Another rule above or below them is that of a table.
    """
    if len(numbers) != 2 or any(len(number.text) > MOST_DIGITS for number in numbers):
        return False
    upper, lower = sorted((number.box for number in numbers), key=lambda box: box[1])
    height, widths = min(upper[3], lower[3]), (upper[2], lower[2])
    top, bottom = upper[1] + upper[3], lower[1]
    shared = min(upper[0] + upper[2], lower[0] + lower[2]) - max(upper[0], lower[0])
    if shared < min(widths) / 2:
        return False
    paper, contrast = _contrast_of(grey, (upper, lower))

    def has_bar(first: float, last: float, span: Box, longest: float) -> bool:
        rows = slice(max(0, int(first)), max(0, int(np.ceil(last))))
        marks = (grey[rows].astype(np.float32) - paper) / contrast > INK
        return _has_bar(marks, (span[0], span[0] + span[2]), height, longest)

    around, wider = SURROUNDINGS * height, max(upper, lower, key=lambda box: box[2])
    middle, reach = (top + bottom) / 2, max((bottom - top) / 2, NEAREST * height)
    first = max(middle - reach, bottom - LARGEST_GAP * lower[3])
    last = min(middle + reach, top + LARGEST_GAP * upper[3])
    is_between = has_bar(first, last, wider, max(widths) + LONGEST_OVERHANG * height)
    in_table = is_between and (
        has_bar(upper[1] - around, upper[1], upper, np.inf)
        or has_bar(lower[1] + lower[3], lower[1] + lower[3] + around, lower, np.inf)
    )
    return is_between and not in_table


def _contrast_of(grey: Grey, boxes: Sequence[Box]) -> tuple[float, float]:
    """Return the grey of the paper of some digits, and that of their ink less that of the paper."""
    parts = [grey[max(0, int(y)) : int(y + h), max(0, int(x)) : int(x + w)].ravel() for x, y, w, h in boxes]
    paper, dark, light = np.quantile(np.concatenate(parts), (0.5, 0.05, 0.95))
    return float(paper), float(max(dark - paper, light - paper, key=abs)) or 1.0


def _has_bar(marks: npt.NDArray[np.bool_], span: tuple[float, float], height: float, longest: float) -> bool:
    """Tell whether a thin bar crosses the middle of a span of columns and is nearly as long, or longer."""
    columns = np.flatnonzero(marks.any(axis=0))
    if not len(columns):
        return False
    ends = np.flatnonzero(np.diff(columns) > max(2, LARGEST_BREAK * height))
    for first, last in zip(columns[np.r_[0, ends + 1]], columns[np.r_[ends, -1]], strict=True):
        length, thickness = last - first + 1, marks[:, first : last + 1].sum(axis=0).mean()
        is_long = SHORTEST_BAR * (span[1] - span[0]) <= length <= longest
        if first <= sum(span) / 2 <= last and is_long and thickness <= THICKEST_BAR * height:
            return True
    return False


def decide_page(
    results: Sequence[NumberResult],
    other_writing: float,
    constraints: Constraints | None,
) -> Decision:
    """Decide on a page: each number is read, or refused for another reason than its confidence.

    A page without numbers is refused if something else is written on it: where a number might stand, or by
    `other_writing`, the probability of writing elsewhere. It is blank if that is likelier, and refused as
    hard to read if many places may each show a number.
    """
    written = [result for result in results if result.number is not None]
    if not written and any(result.is_other for result in results):
        surest = max(result.confidence for result in results if result.is_other)
        return Decision("refused", "not_a_digit", "", max(other_writing, surest))
    if not written and other_writing >= OTHER_WRITING:
        return Decision("refused", "not_a_digit", "", other_writing)
    if not written:
        empty = (1 - other_writing) * all_right(results)
        return Decision("blank", "blank", "", empty).without_number(empty)
    if constraints is not None and constraints.is_single and len(written) > 1:
        written = [choose_one(written)]
    return decision_of([decide_number(result) for result in written], written, all_right(written))
