"""Tell which digits of a page form one number.

A gap lies between two digits that follow each other in a row of a page, in one line of the finder or in two.
A network sees all gaps of the page at once, since only beside the others it shows whether a row of boxes is
one number (a comb) or a row of cells. Where constraints demand it, the likeliest grouping that meets them is
taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Grey, median
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.ctc import Grammar
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.confidence import log_odds
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.line_reading import LEAST_PROBABILITY, Line
from digitcli.recognition.numbers import CONSTRAINT_DOUBT, box_at
from digitcli.recognition.readings import LIKELY
from digitcli.strip_format import OPERATORS, OTHER

# What the network sees around the middle of a gap, in heights of its digits and in pixels.
PATCH_HEIGHTS, PATCH_PX = 3.0, (24, 48)
LONGEST_GAP = 8.0  # heights of a digit; a longer one counts as this long
LEAST_CONTRAST = 12.0  # levels; a patch with less contrast keeps it
VALUES = 21  # of a gap, see `_values`
# Widest gap between two groups of a number, in heights of a digit. With 1, 1.5, 2, 3 and without a limit, 77,
# 79, 79, 77 and 77 % of 2,307 numbers in rows of boxes are answered correctly, and 43, 62, 69, 73 and 73 % of
# 81 numbers in groups, none of them wrongly, by `benchmarks/synthetic_pages.py lengths`.
WIDEST_GAP = 2.0
# Distance of two digits with a space between them, in distances of those without, from which the space
# separates numbers in the only line of a page. Chosen by hand, and not tuned: it reads 88 of 100 forms as one
# number (53 if every space counts), and 27 of 30 pairs of numbers one height of a digit apart as two.
UNEVEN = 1.5
# Digits from which a row of single ones is a comb on a page of several rows: two may be a label and a mark.
LEAST_BOXES = 3

SplitGaps = Callable[["PageGaps"], npt.NDArray[np.floating]]  # to the probability that each separates numbers
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
    gaps = find_gaps(grey, lines)
    groups = _grouped(gaps, lines, split_gaps, constraints)
    joined = _joined_lines(gaps, groups.is_split)
    if joined:
        free = [share >= LIKELY for share in groups.share]
        lines = _read_as_one(lines, joined, _joined_lines(gaps, free), read_again)
        gaps = find_gaps(grey, lines)
        groups = _grouped(gaps, lines, split_gaps, constraints, joins_lines=False)
    return [part for index, line in enumerate(lines) for part in _parts(index, line, gaps, groups)]


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
class _Groups:
    """The numbers of a page.

    is_split: whether numbers part behind each digit but the last.
    share: how likely it is that they do, whatever the constraints are.
    demanded: the numbers that only the constraints make, by their first digit and the one after their last,
        with the probability that the digits form one.
    """

    is_split: list[bool]
    share: list[float]
    demanded: dict[tuple[int, int], float]


def _grouped(
    gaps: PageGaps,
    lines: Sequence[Line],
    split_gaps: SplitGaps | None,
    constraints: Constraints | None,
    *,
    joins_lines: bool = True,
) -> _Groups:
    count = max(len(gaps.digits) - 1, 0)
    share = np.ones(count)
    if len(gaps.left):
        share[gaps.left] = split_gaps(gaps) if split_gaps else _by_spaces(gaps, is_alone=len(lines) == 1)
    operators = np.ones(count)
    operators[gaps.left] = gaps.operators
    between = [before.line != behind.line for before, behind in itertools.pairwise(gaps.digits)]
    apart = np.array(between, np.bool_) & (not joins_lines)
    operators[apart] = 1.0
    is_split, demanded = ((share >= LIKELY) | apart).tolist(), dict[tuple[int, int], float]()
    if constraints is not None:
        has_rows = len({lines[digit.line].row for digit in gaps.digits}) > 1
        ends = [place + 1 for place in range(count) if place not in set(gaps.left.tolist())]
        for start, end in itertools.pairwise([0, *ends, len(gaps.digits)]):
            inner = slice(start, max(start, end - 1))
            row = _Row(gaps, start, end, share[inner], operators[inner] >= LIKELY)
            free = is_split[inner]
            if split := row.meeting(free, constraints, has_rows=has_rows):
                is_split[inner] = split.is_split
                known = set(_numbers(free))
                for (first, last), share_of in zip(_numbers(split.is_split), split.shares, strict=True):
                    if (first, last) not in known:
                        demanded[start + first, start + last] = share_of
    return _Groups(is_split, share.tolist(), demanded)


def _numbers(is_split: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the first digit of each number of a row, and the one after its last."""
    bounds = [0, *(place + 1 for place, splits in enumerate(is_split) if splits), len(is_split) + 1]
    return list(itertools.pairwise(bounds))


def _by_spaces(gaps: PageGaps, *, is_alone: bool) -> npt.NDArray[np.floating]:
    """Return how likely gaps separate numbers by the spaces that the line networks see.

    In the only line of a page, a space does so only if it is wider than the distances of digits: the digits
    in the boxes of a form are as far from each other, whether a network sees spaces there or not.
    """
    if not is_alone:
        return gaps.separators
    distances = gaps.values[:, 1]
    even = distances[gaps.separators < LIKELY]
    least = UNEVEN * median(even) if len(even) else np.inf
    return np.where(distances >= least, gaps.separators, gaps.operators)


@dataclass(frozen=True)
class _Row:
    """The digits of a row, from `start` to `end`, and its gaps."""

    gaps: PageGaps
    start: int
    end: int
    share: npt.NDArray[np.floating]
    is_operator: npt.NDArray[np.bool_]

    def meeting(self, free: list[bool], constraints: Constraints, *, has_rows: bool) -> Split | None:
        """Split the row into numbers that meet the constraints; None if the free split does, or is likelier.

        If no number meets a number of digits, groups of them are joined so that all do, if that is possible:
        people write long numbers in groups and in boxes, so that spaces tell nothing then. On a page of
        several rows, which may be a table, only single digits are joined.
        """
        digits = "".join(digit.text for digit in self.gaps.digits[self.start : self.end])
        texts = [digits[start:end] for start, end in _numbers(free)]
        accepted = [constraints.accepts(text) for text in texts]
        if all(accepted) or constraints.is_single:
            return None
        split = likeliest_split(digits, self.share.tolist(), self.is_operator.tolist(), constraints)
        if split and (meets := _given_constraints(split.least)) >= LIKELY:
            return replace(split, shares=[meets * share for share in split.shares])
        is_comb = len(texts) >= LEAST_BOXES and all(len(text) == 1 for text in texts)
        if not constraints.sets_length or any(accepted) or (has_rows and not is_comb):
            return None
        far = self.gaps.distances[self.start : self.end - 1] > WIDEST_GAP
        unknown = np.where(far | self.is_operator, 1.0, LIKELY) * free
        split = likeliest_split(digits, unknown.tolist(), self.is_operator.tolist(), constraints)
        return split and replace(split, shares=[(1 - CONSTRAINT_DOUBT) * share for share in split.shares])


def _given_constraints(share: float) -> float:
    """Return the probability of a split, `share`, given that only it meets the constraints (Bayes' rule)."""
    meets, breaks = share * (1 - CONSTRAINT_DOUBT), (1 - share) * CONSTRAINT_DOUBT
    return meets / max(meets + breaks, LEAST_PROBABILITY)


def _joined_lines(gaps: PageGaps, is_split: Sequence[bool]) -> list[list[int]]:
    """Return the lines of which numbers go on in the next one, in groups that are joined."""
    joined: list[list[int]] = []
    for place, (before, behind) in enumerate(itertools.pairwise(gaps.digits)):
        if before.line != behind.line and not is_split[place]:
            if joined and joined[-1][-1] == before.line:
                joined[-1].append(behind.line)
            else:
                joined.append([before.line, behind.line])
    return joined


def _parts(index: int, line: Line, gaps: PageGaps, groups: _Groups) -> list[Line]:
    """Split a line into its numbers, each as likely as the least likely gap that it depends on."""
    own = [place for place, digit in enumerate(gaps.digits) if digit.line == index]
    if not own:
        return [line]
    inner = range(own[0], own[-1])
    splits = [groups.is_split[place] for place in inner]
    bounds = [own[0], *(place + 1 for place in inner if groups.is_split[place]), own[-1] + 1]
    shares = []
    for start, end in itertools.pairwise(bounds):
        places = range(max(start - 1, 0), min(end, len(groups.share)))
        certain = (groups.share[p] if groups.is_split[p] else 1 - groups.share[p] for p in places)
        shares.append(groups.demanded.get((start, end), min(certain, default=1.0)))
    numbers = zip(line.parts(splits, shares), itertools.pairwise(bounds), strict=True)
    return [
        replace(part, is_demanded=part.is_demanded or number in groups.demanded) for part, number in numbers
    ]


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


@dataclass(frozen=True)
class PlacedDigit:
    """A digit that was read: its line, its centre and size in pixels of the page, the slope of its line."""

    line: int
    text: str
    x: float
    y: float
    width: float
    height: float
    angle: float


@dataclass(frozen=True)
class PageGaps:
    """The N gaps of a page.

    digits: all digits in reading order.
    left: the index of the digit before each gap (N,); the next digit is behind it.
    places: the middle of each gap (N, 2), in typical heights of a digit.
    values: what is known of each gap (N, 21), see `_values`.
    patches: what surrounds it, uint8 (N, 2, 24, 48): the darkest and the lightest pixels; 128 is paper.
    separators, operators: how likely a space or an operator, or an operator, separates numbers there (N,), by
        the line networks; between two lines, 1 and 0.
    distances: the lengths of the gaps (N,), in heights of their digits.
    """

    digits: tuple[PlacedDigit, ...]
    left: npt.NDArray[np.int64]
    places: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    patches: npt.NDArray[np.uint8]
    separators: npt.NDArray[np.float32]
    operators: npt.NDArray[np.float32]

    @property
    def distances(self) -> npt.NDArray[np.float32]:
        """The lengths of the gaps behind all digits but the last, in heights; infinite where none is."""
        distances = np.full(max(len(self.digits) - 1, 0), np.inf, np.float32)
        distances[self.left] = self.values[:, 0]
        return distances


def find_gaps(grey: Grey, lines: Sequence[Line]) -> PageGaps:
    """Return the gaps between the digits that were read in the lines of a page, uint8 (H, W)."""
    digits = [digit for index, line in enumerate(lines) for digit in _digits_of(index, line)]
    typical = median(np.array([digit.height for digit in digits])) if digits else 1.0
    left, values, places, patches, known = [], [], [], [], []
    inside = 0
    for place, (before, behind) in enumerate(itertools.pairwise(digits)):
        first, second = lines[before.line], lines[behind.line]
        inside = inside + 1 if place and digits[place - 1].line == before.line else 0
        if first.row != second.row:
            continue
        left.append(place)
        known.append(first.gap(inside) if before.line == behind.line else (1.0, 0.0))
        between = first.reference.gaps[inside].characters if before.line == behind.line else None
        values.append(_values(before, behind, (first.found, second.found), between, known[-1], typical))
        places.append(((before.x + behind.x) / 2 / typical, (before.y + behind.y) / 2 / typical))
        patches.append(_patch(grey, before, behind))
    separators, operators = np.array(known, np.float32).reshape(-1, 2).T
    return PageGaps(
        tuple(digits),
        np.array(left, np.int64),
        np.array(places, np.float32).reshape(-1, 2),
        np.array(values, np.float32).reshape(len(left), VALUES),
        np.array(patches, np.uint8).reshape(-1, 2, *PATCH_PX),
        separators,
        operators,
    )


def _digits_of(index: int, line: Line) -> list[PlacedDigit]:
    answer, box = line.reference, line.found.box
    digits = []
    for character, start, end in answer.digits:
        if answer.distances is None:  # the network gives no boxes: the digit is as wide as its columns
            x, y = (answer.point_at(start) + answer.point_at(end)) / 2
            width, height = float(np.hypot(*(answer.point_at(end) - answer.point_at(start)))), box.height
        else:
            left, top, width, height = box_at(answer, (start + end) // 2)
            x, y, height = left + width / 2, top + height / 2, max(height, 0.5 * box.height)
        digits.append(PlacedDigit(index, character, x, y, width, height, box.angle))
    return digits


def _values(
    before: PlacedDigit,
    behind: PlacedDigit,
    found: tuple[FoundLine, FoundLine],
    between: str | None,
    known: tuple[float, float],
    typical: float,
) -> list[float]:
    """Return what is known of a gap; lengths are in mean heights of its digits.

    between: the characters in the gap; None between two lines.
    """
    height = (before.height + behind.height) / 2
    along = np.array([np.cos(before.angle), np.sin(before.angle)])
    step = np.array([behind.x - before.x, behind.y - before.y]) / height
    distance, drop = float(step @ along), float(step @ [-along[1], along[0]])
    gap = distance - (before.width + behind.width) / 2 / height
    characters = between or ""
    return [
        min(gap, LONGEST_GAP),
        min(distance, LONGEST_GAP),
        drop,
        float(np.log(behind.height / before.height)),
        before.width / height,
        behind.width / height,
        float(np.log(height / typical)),
        *((0.0, 0.0) if between is None else map(log_odds, known)),
        float(between is not None),
        float(any(each in ".," for each in characters)),
        float(any(each in "-/:" for each in characters)),
        float(any(each in OPERATORS for each in characters)),
        float(OTHER in characters),
        float(" " in characters),
        *(log_odds(line.score) for line in found),
        *(log_odds(line.other_score) for line in found),
        *(float(np.log(max(line.box.length / line.box.height, 0.1))) for line in found),
    ]


def _patch(grey: Grey, before: PlacedDigit, behind: PlacedDigit) -> npt.NDArray[np.uint8]:
    """Return the surroundings of a gap, level with its line: the darkest and the lightest pixels."""
    rows, columns = PATCH_PX
    scale = PATCH_HEIGHTS * (before.height + behind.height) / 2 / rows  # pixels of the page for each of these
    fineness = int(np.clip(np.ceil(scale), 1, 4))
    along = np.array([np.cos(before.angle), np.sin(before.angle)]) * scale / fineness
    across = np.array([-along[1], along[0]])
    size = columns * fineness, rows * fineness
    middle = np.array([(before.x + behind.x) / 2, (before.y + behind.y) / 2])
    matrix = np.column_stack([along, across, middle - along * size[0] / 2 - across * size[1] / 2 - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = np.asarray(cv2.warpAffine(grey, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
    blocks = crop.reshape(rows, fineness, columns, fineness)
    extremes = np.stack([blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))]).astype(np.float32)
    low, paper, high = np.percentile(crop, (1, 50, 99))
    contrast = max(paper - low, high - paper, LEAST_CONTRAST)
    return np.asarray(np.clip((extremes - paper) * (127 / contrast) + 128, 0, 255), np.uint8)
