"""Tell which digits of a page form one number.

A network sees all gaps of a page at once, since only beside the others a gap shows whether a row of boxes is
one number (a comb) or a row of cells. Its probabilities and those of the line networks are pooled. Where
constraints demand it, the likeliest grouping that meets them is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Grey, median
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.ctc import Grammar
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.confidence import from_log_odds, log_odds
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.gaps import Gap, PlacedDigit, digits_of, gaps_between, network_input
from digitcli.recognition.line_reading import LEAST_PROBABILITY, Line
from digitcli.recognition.numbers import CONSTRAINT_DOUBT
from digitcli.recognition.readings import LIKELY

# Widest gap between two groups of a number, in heights of a digit. With 1, 1.5, 2, 3 and without a limit, 77,
# 79, 79, 77 and 77 % of 2,307 numbers in rows of boxes are answered correctly, and 43, 62, 69, 73 and 73 % of
# 81 numbers in groups, none of them wrongly, by `benchmarks/synthetic_pages.py lengths`.
WIDEST_GROUP_GAP = 2.0
# Distance of two digits with a space between them, in distances of those without, from which the space
# separates numbers in the only line of a page. Chosen by hand, and not tuned: it reads 88 of 100 forms as one
# number (53 if every space counts), and 27 of 30 pairs of numbers one height of a digit apart as two.
UNEVEN = 1.5
# Weight of the line networks in the mean log-odds of a gap. On 17,072 gaps of synthetic pages by held-out
# writers, 2.0 % are decided wrongly with 0, 2.2 % with 0.3, 2.5 % with 0.5, 5.0 % with 1. On pages of other
# generators, where the network for gaps is less at home, more weight is better.
LINE_WEIGHT = 0.3
# Digits from which a row of single ones is a comb on a page of several rows: two may be a label and a mark.
LEAST_BOXES = 3

# Takes the gaps of a page, and returns the probability that each separates two numbers: `GapSplitter`.
SplitGaps = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]
ReadAgain = Callable[[Sequence[tuple[int, FoundLine]]], list[Line]]


def group_digits(
    grey: Grey,
    lines: Sequence[Line],
    split_gaps: SplitGaps | None,
    constraints: Constraints | None,
    read_again: ReadAgain,
) -> list[Line]:
    """Return the numbers of a page, uint8 (H, W), as parts of its lines.

    Lines that the finder cut within a number are joined and read again. Without a network the spaces that the
    line networks see tell which digits form a number.
    """
    page = _group(grey, lines, split_gaps, constraints)
    joined = page.lines_to_join(page.is_split)
    if joined:
        free = page.lines_to_join([share >= LIKELY for share in page.share])
        lines = _read_as_one(lines, joined, free, read_again)
        page = _group(grey, lines, split_gaps, constraints, joins_lines=False)
    return [part for index, line in enumerate(lines) for part in page.parts(index, line)]


def _read_as_one(
    lines: Sequence[Line],
    joined: Sequence[Sequence[int]],
    free: Sequence[Sequence[int]],
    read_again: ReadAgain,
) -> list[Line]:
    """Return the lines of a page, some groups of which are read again as one line each.

    free: the groups without constraints. Where only these join lines, the digits have to stay the same.
    """
    rows = [lines[group[0]].row for group in joined]
    around = [_line_around([lines[index].found for index in group]) for group in joined]
    read = {index: [line] for index, line in enumerate(lines)}
    for group, line in zip(joined, read_again(list(zip(rows, around, strict=True))), strict=True):
        is_demanded = group not in free
        if not is_demanded or _digits([line]) == _digits([lines[index] for index in group]):
            read |= {index: [] for index in group}
            read[group[0]] = [replace(line, is_demanded=is_demanded)]
    found = [line for index in range(len(lines)) for line in read[index]]
    return [replace(line, is_alone=len(found) == 1) for line in found]


def _digits(lines: Sequence[Line]) -> str:
    return "".join(character for line in lines for character, _, _ in line.reference.digits)


@dataclass(frozen=True)
class _Grouping:
    """The digits of a page, and the numbers that they form.

    share: how likely it is that numbers part behind each digit but the last, whatever the constraints are.
    is_split: whether they do.
    demanded: the numbers that only the constraints make, by their first digit and the one after their last,
        with the probability that the digits form one.
    """

    digits: Sequence[PlacedDigit]
    share: Sequence[float]
    is_split: Sequence[bool]
    demanded: dict[tuple[int, int], float]

    def lines_to_join(self, is_split: Sequence[bool]) -> list[list[int]]:
        """Return the lines of which numbers go on in the next one, in groups."""
        joined: list[list[int]] = []
        for splits, (before, behind) in zip(is_split, itertools.pairwise(self.digits), strict=True):
            if before.line != behind.line and not splits:
                if joined and joined[-1][-1] == before.line:
                    joined[-1].append(behind.line)
                else:
                    joined.append([before.line, behind.line])
        return joined

    def parts(self, index: int, line: Line) -> list[Line]:
        """Split a line into its numbers, each as likely as the least likely gap that it depends on."""
        own = [place for place, digit in enumerate(self.digits) if digit.line == index]
        if not own:
            return [line]
        splits = list(self.is_split[own[0] : own[-1]])
        numbers = [(own[0] + start, own[0] + end) for start, end in _numbers(splits)]
        certain = [
            share if splits_here else 1 - share
            for share, splits_here in zip(self.share, self.is_split, strict=True)
        ]
        shares = [
            self.demanded.get((start, end), min(certain[max(start - 1, 0) : end], default=1.0))
            for start, end in numbers
        ]
        return [
            replace(part, is_demanded=part.is_demanded or number in self.demanded)
            for part, number in zip(line.parts(splits, shares), numbers, strict=True)
        ]


def _group(
    grey: Grey,
    lines: Sequence[Line],
    split_gaps: SplitGaps | None,
    constraints: Constraints | None,
    *,
    joins_lines: bool = True,
) -> _Grouping:
    digits = digits_of(lines)
    gaps = gaps_between(digits, lines)
    known = [gap for gap in gaps if gap is not None]
    shares = _by_spaces(known, is_alone=len(lines) == 1)
    if known and split_gaps is not None:
        seen = split_gaps(network_input(grey, digits, gaps, lines)).tolist()
        shares = [_pool(share, gap.separator) for share, gap in zip(seen, known, strict=True)]
    following = iter(shares)
    share = [1.0 if gap is None else next(following) for gap in gaps]
    may_join = [
        gap is not None and (joins_lines or before.line == behind.line)
        for gap, (before, behind) in zip(gaps, itertools.pairwise(digits), strict=True)
    ]
    is_split = [each >= LIKELY or not may for each, may in zip(share, may_join, strict=True)]
    demanded: dict[tuple[int, int], float] = {}
    if constraints is not None:
        rows = _numbers([gap is None for gap in gaps]) if digits else []
        for start, end in rows:
            inner = slice(start, end - 1)
            row = _Row(
                "".join(each.text for each in digits[start:end]), gaps[inner], share[inner], may_join[inner]
            )
            free = is_split[inner]
            if split := row.meeting(free, constraints, has_rows=len(rows) > 1):
                is_split[inner] = split.is_split
                made = zip(_numbers(split.is_split), split.shares, strict=True)
                demanded |= {
                    (start + first, start + last): share_of
                    for (first, last), share_of in made
                    if (first, last) not in _numbers(free)
                }
    return _Grouping(digits, share, is_split, demanded)


def _numbers(is_split: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the first digit of each number of a row, and the one after its last."""
    bounds = [0, *(place + 1 for place, splits in enumerate(is_split) if splits), len(is_split) + 1]
    return list(itertools.pairwise(bounds))


def _pool(share: float, separator: float) -> float:
    """Return the logarithmic pool of two probabilities, see Genest & Zidek, Statistical Science 1, 1986."""
    return from_log_odds((1 - LINE_WEIGHT) * log_odds(share) + LINE_WEIGHT * log_odds(separator))


def _by_spaces(gaps: Sequence[Gap], *, is_alone: bool) -> list[float]:
    """Return how likely gaps separate numbers by the spaces that the line networks see.

    In the only line of a page, a space does so only if it is wider than the distances of digits: the digits
    in the boxes of a form are as far from each other, whether a network sees spaces there or not.
    """
    even = np.array([gap.distance for gap in gaps if gap.separator < LIKELY])
    least = 0.0 if not is_alone else UNEVEN * median(even) if len(even) else np.inf
    return [gap.separator if gap.distance >= least else gap.operator for gap in gaps]


@dataclass(frozen=True)
class _Row:
    """The digits of a row and the gaps between them, which may join numbers or not."""

    digits: str
    gaps: Sequence[Gap | None]
    share: Sequence[float]
    may_join: Sequence[bool]

    def meeting(self, free: Sequence[bool], constraints: Constraints, *, has_rows: bool) -> Split | None:
        """Split the row into numbers that meet the constraints; None if the free split does, or is likelier.

        If no number meets a number of digits, groups of them are joined so that all do, if that is possible:
        people write long numbers in groups and in boxes, so that spaces tell nothing then. On a page of
        several rows, which may be a table, only single digits are joined.
        """
        texts = [self.digits[start:end] for start, end in _numbers(free)]
        accepted = [constraints.accepts(text) for text in texts]
        if all(accepted) or constraints.is_single:
            return None
        is_operator = [
            not may or gap is None or gap.operator >= LIKELY
            for gap, may in zip(self.gaps, self.may_join, strict=True)
        ]
        split = likeliest_split(self.digits, self.share, is_operator, constraints)
        if split and (meets := _given_constraints(split.least)) >= LIKELY:
            return replace(split, shares=[meets * share for share in split.shares])
        is_comb = len(texts) >= LEAST_BOXES and all(len(text) == 1 for text in texts)
        if not constraints.sets_length or any(accepted) or (has_rows and not is_comb):
            return None
        is_far = [gap is None or gap.length > WIDEST_GROUP_GAP for gap in self.gaps]
        unknown = [
            0.0 if not splits else 1.0 if far or operator else LIKELY
            for splits, far, operator in zip(free, is_far, is_operator, strict=True)
        ]
        split = likeliest_split(self.digits, unknown, is_operator, constraints)
        return split and replace(split, shares=[(1 - CONSTRAINT_DOUBT) * share for share in split.shares])


def _given_constraints(share: float) -> float:
    """Return the probability of a split, `share`, given that only it meets the constraints (Bayes' rule)."""
    meets, breaks = share * (1 - CONSTRAINT_DOUBT), (1 - share) * CONSTRAINT_DOUBT
    return meets / max(meets + breaks, LEAST_PROBABILITY)


def _line_around(lines: Sequence[FoundLine]) -> FoundLine:
    """Return the line that covers several neighbouring ones, and is no surer than any of them."""
    boxes = [line.box for line in lines]
    angle = float(np.average([box.angle for box in boxes], weights=[box.length for box in boxes]))
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = np.concatenate([box.corners(box.length, box.height) for box in boxes]) @ axes.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    (x, y), (length, height) = axes.T @ ((low + high) / 2), high - low
    return FoundLine(
        LineBox(float(x), float(y), float(length), float(height), angle),
        min(line.score for line in lines),
        max(line.other_score for line in lines),
        max(line.level_px for line in lines),
    )


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
