"""Turn what the networks say about the regions of a page into numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box
from digitcli.inference.ctc import ANY_DIGITS, align
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.hypotheses import (
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
from digitcli.recognition.number_result import NumberResult
from digitcli.recognition.pages.crops import MAX_LENGTH, LineCrop, RegionCrops
from digitcli.recognition.pages.evidence import RegionEvidence
from digitcli.recognition.results import Digit, Number
from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX, OTHER, SEPARATORS

# Probability that no digit is written, above which a region has no number: a blank is likelier.
EMPTY = 0.5
# The same where the weights of the confidence are known: they count it, and what the page finder says.
EMPTY_BEFORE_WEIGHTS = 0.98
# Probability that a number stands at a place, below which what is read there is passed over. Of 1,726 places
# on pages that training never sees (`finder` after 55 of its 63 epochs), this keeps 31 % of those without
# a number, and loses 0.2 % of the numbers that are read rightly and 14 % of the others, which then cannot be
# refused; 0.5 keeps 14 % and loses 25 %. The open real pictures counted too: at 0.3 doubtful numbers of sums
# and combs vanished (docs/results.md).
LEAST_PRESENCE = 0.2
# Share of a line outside of the page, above which a part of it may be missing: the finder's boxes are not
# exact. Chosen by hand.
LARGEST_CUT = 0.1
# Heights of a line from its end, within which the edge of the page may cut it off.
EDGE_REACH = 0.3


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
