"""Turn what the networks say about the lines of a page into numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.ctc import ANY_DIGITS, align
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import NumberResult
from digitcli.recognition.line_crops import MAX_LENGTH, LineCrop, RegionCrops
from digitcli.recognition.line_evidence import (
    LEAST_PROBABILITY,
    Hypotheses,
    LineEvidence,
    breaks_constraints,
    digit_shares,
    given_constraints,
    likeliest_text,
    recalibrated,
    with_unlikely_digits,
)
from digitcli.recognition.readings import Digit, Number
from digitcli.recognition.region_evidence import RegionEvidence
from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX, OTHER, SEPARATORS

# Probability that no digit is written, above which a region has no number: a blank is likelier.
EMPTY = 0.5
# The same where the weights of the confidence are known: they count it, and what the page finder says.
EMPTY_BEFORE_WEIGHTS = 0.98
# Probability that a number stands at a place, below which what is read there is passed over. Of 1,726 places
# on pages that training never sees (`finder` after 55 of its 63 epochs), this keeps 31 % of those without
# a number, and loses 0.2 % of the numbers that are read correctly and 14 % of the others, which then cannot
# be refused; 0.5 keeps 14 % and loses 25 %. The open real pictures counted too: at 0.3 doubtful numbers of
# sums and combs vanished (docs/results.md).
LEAST_PRESENCE = 0.2
# Share of a line outside of the page, above which a part of it may be missing: the finder's boxes are not
# exact. Chosen by hand.
LARGEST_CUT = 0.1
# Heights of a line from its end, within which the edge of the page may cut it off.
EDGE_REACH = 0.3

# Widest gap between two groups, in heights of a digit. With 1, 1.5, 2, 3 and without a limit, 77, 79, 79, 77
# and 77 % of 2,307 numbers in rows of boxes are answered correctly, and 43, 62, 69, 73 and 73 % of 81 numbers
# in groups, none of them wrongly, on pages composed as by `benchmarks/synthetic_pages.py lengths`.
WIDEST_GAP = 2.0

# Digits from which a row of single ones is a comb on a page of several rows: two may be a label and a mark.
# With 4, 78 in place of 79 % of those numbers in boxes are answered correctly, and 74 % if none is joined.
LEAST_BOXES = 3

# A line of a page, and the numbers that were read there.
ReadLine = tuple[RegionEvidence, list[NumberResult]]


def recognize_region(
    evidence: RegionEvidence, constraints: Constraints | None, top_k: int
) -> list[NumberResult]:
    """Find the numbers in a region, each of which must meet the constraints.

    If some do not, numbers that only spaces separate are one if that meets them, where that is likelier than
    that the line breaks the constraints; else the line is split so that all numbers meet them.
    """
    parts = evidence.parts()
    if constraints is None:
        return [_recognize(part, None, top_k) for part in parts]
    are_accepted = [_accepts(constraints, _recognize(part, None, top_k)) for part in parts]
    if all(are_accepted):
        return [_recognize(part, constraints, top_k) for part in parts]
    are_groups = constraints.sets_length and evidence.is_alone and not any(are_accepted)
    whole = recognize_whole(evidence, constraints, top_k, are_groups=are_groups) if len(parts) > 1 else None
    if whole is not None:
        return [whole]
    others = evidence.parts_that_meet(constraints)
    if not others or _likelihood(others, constraints) <= _likelihood(parts, constraints):
        return [_recognize(part, constraints, top_k) for part in parts]
    places = [part.place for part in parts]
    read = [(part, _recognize(part, constraints, top_k)) for part in others]
    return [
        dataclasses.replace(result, is_changed=result.is_changed or part.place not in places)
        for part, result in read
    ]


def recognize_whole(
    evidence: RegionEvidence, constraints: Constraints, top_k: int, *, are_groups: bool
) -> NumberResult | None:
    """Read a region as one number; None if it likelier breaks the constraints, or has an operator.

    are_groups: see `RegionEvidence.joined`.
    """
    joined = evidence.joined(are_groups=are_groups)
    if joined is None or constraints.is_single or any(map(_ends_with_operator, evidence.parts())):
        return None
    free = _recognize(joined, None, top_k)
    if free.number is None or not _accepts(constraints, free):
        return None
    return dataclasses.replace(_recognize(joined, constraints, top_k), is_changed=True)


def _likelihood(parts: Sequence[RegionEvidence], constraints: Constraints) -> float:
    """Return the product of the probabilities that each number stands there and meets the constraints."""
    return math.prod(sum(part.hypotheses(constraints).values()) for part in parts)


def _accepts(constraints: Constraints, result: NumberResult) -> bool:
    return result.number is None or constraints.accepts(result.number.text)


def _ends_with_operator(part: RegionEvidence) -> bool:
    return not part.is_last and part.raw.rstrip()[-1:] in SEPARATORS


def _recognize(evidence: RegionEvidence, constraints: Constraints | None, top_k: int) -> NumberResult:
    """Read one number; none if it is likelier that nothing is written."""
    hypotheses = evidence.hypotheses(ANY_DIGITS)
    nothing = hypotheses.get("", 0.0)
    text = likeliest_text(hypotheses, EMPTY_BEFORE_WEIGHTS if evidence.acceptance else EMPTY)
    if not text:
        return NumberResult(None, nothing, is_other=OTHER in evidence.raw)
    is_there = evidence.probability_of_number(text, min(1.0, hypotheses[text]), nothing)
    if is_there < LEAST_PRESENCE:
        return NumberResult(None, 1 - is_there, is_other=OTHER in evidence.raw)
    result = _result(evidence, hypotheses, text, nothing, top_k)
    return result if constraints is None else _constrained(evidence, constraints, hypotheses, result, top_k)


def _constrained(
    evidence: RegionEvidence,
    constraints: Constraints,
    hypotheses: Hypotheses,
    result: NumberResult,
    top_k: int,
) -> NumberResult:
    """Return the likeliest text that meets the constraints, given the result without them."""
    assert result.number is not None
    nothing, text = hypotheses.get("", 0.0), result.number.text
    is_changed = not constraints.accepts(text)
    if is_changed:
        accepted = evidence.hypotheses(constraints)
        if breaks_constraints(hypotheses, accepted, constraints):
            return dataclasses.replace(result, breaks_constraints=True)
        hypotheses = accepted
    share = max(evidence.share, LEAST_PROBABILITY)  # which constraints do not change
    given = given_constraints({each: p / share for each, p in hypotheses.items()}, constraints)
    hypotheses = {each: p * share for each, p in given.items()}
    text = max(hypotheses, key=lambda hypothesis: hypotheses[hypothesis])
    result = _result(evidence, hypotheses, text, nothing, top_k)
    return dataclasses.replace(result, is_changed=is_changed)


def _result(
    evidence: RegionEvidence, hypotheses: Hypotheses, text: str, nothing: float, top_k: int
) -> NumberResult:
    """Return a text as the answer about a region; `nothing` is the probability that no digit stands there."""
    confidence = evidence.confidence(text, min(1.0, hypotheses[text]), nothing)
    hypotheses = recalibrated(hypotheses, text, confidence)
    rivals = sorted(
        (pair for pair in hypotheses.items() if pair[0] not in ("", text)), key=lambda pair: -pair[1]
    )
    return NumberResult(
        _number(evidence, hypotheses, text, confidence, rivals[: top_k - 1], top_k),
        confidence,
        max((share for _, share in rivals), default=0.0),
        is_cut_off=_is_cut_off(evidence.crops),
        runs_out=_runs_out(evidence),
        is_faint=any(line.crop.is_faint for line in evidence.lines),
    )


def _is_cut_off(crops: RegionCrops) -> bool:
    """Tell whether a line reaches beyond the edge of the page."""
    return crops.line.box.share_outside(crops.strips[0].page_size) > LARGEST_CUT


def _runs_out(evidence: RegionEvidence) -> bool:
    """Tell whether a line is too long, or cut off by the edge of the page within a character.

    Every strip must show so, by each network that knows other characters.
    """
    crops = evidence.crops
    if crops.line.box.length > MAX_LENGTH * crops.line.box.height:
        return True
    raws = [line.raw for line in evidence.lines if OTHER in line.alphabet and line.raw]
    starts_with_other, ends_with_other = (
        bool(raws) and all(raw[place] == OTHER for raw in raws) for place in (0, -1)
    )
    if not starts_with_other and not ends_with_other:
        return False
    box, size = crops.line.box, np.array(crops.strips[0].page_size)
    reach = np.array([np.cos(box.angle), np.sin(box.angle)]) * (box.length / 2 + EDGE_REACH * box.height)
    is_outside = [
        (point <= 0) | (point >= size) for point in ((box.x, box.y) - reach, (box.x, box.y) + reach)
    ]
    starts, ends = (bool(each.any()) for each in is_outside)
    at_start = evidence.is_first and starts and starts_with_other
    return at_start or (evidence.is_last and ends and ends_with_other)


def _number(
    evidence: RegionEvidence,
    hypotheses: Hypotheses,
    text: str,
    confidence: float,
    alternatives: Sequence[tuple[str, float]],
    top_k: int,
) -> Number:
    """Return a text as a number."""
    crops = evidence.crops
    line, columns = _aligned(evidence.lines, text)
    digits = []
    for place, (digit, box) in enumerate(zip(text, _boxes(crops, line, columns, text), strict=True)):
        shares = digit_shares(hypotheses, text, place)
        if columns:
            shares = with_unlikely_digits(shares, line.columns[columns[place]])
        others = sorted((pair for pair in shares.items() if pair[0] != digit), key=lambda pair: -pair[1])
        digits.append(Digit(digit, min(1.0, shares[digit]), box, tuple(others[: top_k - 1])))
    return Number(
        tuple(digits),
        confidence=confidence,
        raw=text_with_marks(evidence.lines, text),
        row=crops.row,
        alternatives=tuple(alternatives),
        line=_picture_of(evidence),
    )


def _picture_of(evidence: RegionEvidence) -> npt.NDArray[np.uint8]:
    """Return the part of the first strip that shows the number."""
    line = evidence.lines[0]
    start, end = (COLUMN_PX * column for column in (line.first_column, line.first_column + len(line.columns)))
    return line.crop.image[0, :, start:end]


def _aligned(lines: Sequence[LineEvidence], text: str) -> tuple[LineEvidence, list[int]]:
    """Return the answer that is surest of a text, of those with boxes, and the column of each digit.

    There are no columns where none has as many columns as the text needs.
    """

    def rank(line: LineEvidence) -> tuple[bool, float]:
        return line.distances is not None, dict(line.likely_texts).get(text, -math.inf)

    for line in sorted(lines, key=rank, reverse=True):  # stable
        columns = align(line.columns, text)
        if len(columns) == len(text):
            return line, columns
    return lines[0], []


def _boxes(crops: RegionCrops, line: LineEvidence, columns: Sequence[int], text: str) -> list[Box]:
    """Return the box of each digit, which a line network predicts; else the box of the whole strip."""
    if columns and line.distances is not None:
        return [box_at(line.crop, line.distances[column], line.first_column + column) for column in columns]
    strip = crops.strips[0]
    return [strip.box_on_page(0, 0, strip.image.shape[2], strip.image.shape[1])] * len(text)


def box_at(crop: LineCrop, distances: np.ndarray, column: int) -> Box:
    """Return the box on the page of the character at a column, from its distances to the four sides."""
    to_left, to_right, top, bottom = (distances * BOX_SCALE_PX).tolist()
    x = (column + 0.5) * COLUMN_PX
    return crop.box_on_page(x - max(to_left, 1), top, x + max(to_right, 1), max(bottom, top + 1))


def text_with_marks(lines: Sequence[LineEvidence], text: str) -> str:
    """Return the text with its marks, from the first strip that shows its digits; else the digits alone."""
    for evidence in lines:
        if "".join(character for character in evidence.raw if character.isdecimal()) == text:
            return evidence.raw.replace(OTHER, "").replace(" ", "")
    return text


def join_groups(
    lines: Sequence[ReadLine],
    constraints: Constraints,
    top_k: int,
    read_as_one: Callable[[Sequence[RegionEvidence]], RegionEvidence],
) -> list[ReadLine]:
    """Return the lines of a page, some of which are joined to numbers that meet the constraints.

    The constraints have to set the number of digits: else neighbouring cells of a table would often be a
    number that meets them, too. Only numbers that break the constraints are joined, and only if that is
    possible in just one way. A page of several rows may be a table: there only single digits are joined, in
    rows without a number that meets the constraints. `read_as_one` reads several neighbouring lines as one.
    """
    if not constraints.sets_length:
        return list(lines)
    places = {id(region): place for place, (region, _) in enumerate(lines)}
    joined = [(places[id(line[0])], line) for line in lines if _is_empty(line)]
    written = [line for line in lines if not _is_empty(line)]
    is_table = len({region.crops.row for region, _ in written}) > 1
    rows_that_meet = {line[0].crops.row for line in written if _meets(line)}
    for neighbours in _neighbours_that_break(written):
        bounds = _only_partition([_text(results) for _, results in neighbours], constraints)
        for start, end in itertools.pairwise(bounds or range(len(neighbours) + 1)):
            group = neighbours[start:end]
            is_comb = _is_comb(group) and group[0][0].crops.row not in rows_that_meet
            may_be_one = end - start > 1 and (is_comb or not is_table)
            number = _joined(group, constraints, top_k, read_as_one) if may_be_one else None
            first = places[id(group[0][0])]
            joined += [(first, line) for line in (group if number is None else [number])]
    return [line for _, line in sorted(joined, key=lambda placed: placed[0])]


def _neighbours_that_break(lines: Sequence[ReadLine]) -> Iterator[list[ReadLine]]:
    """Divide the lines of a page where neighbours do not both break the constraints, or are far apart."""
    neighbours: list[ReadLine] = []
    for line in lines:
        if neighbours and not (_break(neighbours[-1]) and _break(line) and _are_near(neighbours[-1], line)):
            yield neighbours
            neighbours = []
        neighbours.append(line)
    if neighbours:
        yield neighbours


def _is_empty(line: ReadLine) -> bool:
    """Tell whether neither a number nor other writing stands there."""
    _, results = line
    return not any(result.number or result.is_other for result in results)


def _break(line: ReadLine) -> bool:
    _, results = line
    return all(result.breaks_constraints for result in results)


def _meets(line: ReadLine) -> bool:
    _, results = line
    return any(result.number is not None and not result.breaks_constraints for result in results)


def _are_near(first: ReadLine, second: ReadLine) -> bool:
    """Tell whether the second line follows the first one in a row, with a gap of `WIDEST_GAP` at most."""
    (before, _), (behind, _) = first, second
    if before.crops.row != behind.crops.row:
        return False
    left, right = before.crops.line.box, behind.crops.line.box
    gap = math.hypot(right.x - left.x, right.y - left.y) - (left.length + right.length) / 2
    return gap <= WIDEST_GAP * (left.height + right.height) / 2


def _is_comb(group: Sequence[ReadLine]) -> bool:
    return len(group) >= LEAST_BOXES and all(len(_text(results)) == 1 for _, results in group)


def _text(results: Sequence[NumberResult]) -> str:
    return "".join(result.number.text for result in results if result.number is not None)


def _only_partition(texts: Sequence[str], constraints: Constraints) -> list[int] | None:
    """Return where the only partition of texts begins and ends whose parts meet the constraints.

    None if there is no such partition, or more than one.
    """
    partitions: list[list[list[int]]] = [[[0]]]  # of the first texts: two of them at most
    for end in range(1, len(texts) + 1):
        found = [
            [*bounds, end]
            for start in range(end)
            if partitions[start] and constraints.accepts("".join(texts[start:end]))
            for bounds in partitions[start]
        ]
        partitions.append(found[:2])
    return partitions[-1][0] if len(partitions[-1]) == 1 else None


def _joined(
    group: Sequence[ReadLine],
    constraints: Constraints,
    top_k: int,
    read_as_one: Callable[[Sequence[RegionEvidence]], RegionEvidence],
) -> ReadLine | None:
    """Return several lines as one number; None if other digits are read then."""
    evidence = read_as_one([region for region, _ in group])
    result = recognize_whole(evidence, constraints, top_k, are_groups=True)
    if result is None or _text([result]) != "".join(_text(each) for _, each in group):
        return None
    return evidence, [result]


def line_around(lines: Sequence[FoundLine]) -> FoundLine:
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
