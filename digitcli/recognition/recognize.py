"""Stage 3 of the reading pipeline, recognize: run the networks and turn their outputs into numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from digitcli.imaging.components import Box
from digitcli.imaging.grayscale import median
from digitcli.imaging.normalization import BOX_SCALE_PX, COLUMN_PX
from digitcli.inference.ctc import ANY_DIGITS, DIGITS, align
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.crops import DIGIT_SIZES_PX, LineCrop, RegionCrops
from digitcli.recognition.grouping import wide_gaps
from digitcli.recognition.hypotheses import (
    OPERATORS,
    Hypotheses,
    LineEvidence,
    digit_shares,
    find_hypotheses,
    given_constraints,
    likeliest_text,
    probability_of_no_digit,
)
from digitcli.recognition.results import Digit, Number
from digitcli.strip_format import OTHER

if TYPE_CHECKING:  # that module loads this one
    from digitcli.recognition.models import RecognitionModels

# All values were chosen by hand, by looking at pictures and the answers to them.

# Least probability of all texts that meet the constraints; with less, the number on the page breaks them.
LEAST_LIKELY = 1e-6
# Probability that nothing is written, above which the only region of a page counts as empty.
EMPTY_ALONE = 0.9
# The same for one of several regions.
EMPTY_AMONG_OTHERS = 0.5


@dataclass(frozen=True)
class RegionEvidence:
    """The answers of the networks about a region.

    crops: the region and its crops.
    lines: the answers of each line network to each line crop.
    digits: the probabilities (N, 10) of the digits for each component, the mean over its crops; None where no
        digit network read it.
    can_reject: whether the digit networks can reject what is no digit, see `probability_of_no_digit`.
    """

    crops: RegionCrops
    lines: tuple[LineEvidence, ...] = ()
    digits: np.ndarray | None = None
    can_reject: bool = False


@dataclass(frozen=True)
class RegionResult:
    """The numbers of a region; there are none if the networks read nothing.

    confidence: the probability that all numbers are right.
    rival_confidence: the probability of the second likeliest text.
    has_ink: whether the region has ink that may be writing.
    is_cut_off: whether a lone component touches the edge of the page, where a part of it may be missing.
    runs_out: see `Region`.
    is_in_fraction: see `Region`.
    is_changed: whether the constraints changed the text.
    breaks_constraints: whether no likely text meets the constraints.
    """

    numbers: tuple[Number, ...]
    confidence: float
    rival_confidence: float = 0.0
    has_ink: bool = True
    is_cut_off: bool = False
    runs_out: bool = False
    is_in_fraction: bool = False
    is_changed: bool = False
    breaks_constraints: bool = False


def run_networks(regions: Sequence[RegionCrops], models: RecognitionModels) -> list[RegionEvidence]:
    """Run all networks on the crops of regions, which may be from several pages."""
    lines, digits = _run_line_models(regions, models), _run_classifier(regions, models)
    return [
        RegionEvidence(crops, tuple(lines[index]), digits[index], models.can_reject)
        for index, crops in enumerate(regions)
    ]


def _run_line_models(regions: Sequence[RegionCrops], models: RecognitionModels) -> list[list[LineEvidence]]:
    images = [crop.image for crops in regions for crop in crops.lines]
    evidence: list[list[LineEvidence]] = [[] for _ in regions]
    for model in models.line_models:
        answers = iter(model.outputs(images))
        for crops, region_evidence in zip(regions, evidence, strict=True):
            region_evidence += [
                LineEvidence.of(crop, next(answers), model.header.alphabet, model.header.temperature)
                for crop in crops.lines
            ]
    return evidence


def _run_classifier(regions: Sequence[RegionCrops], models: RecognitionModels) -> list[np.ndarray | None]:
    counts = [len(crops.digits) for crops in regions]
    if models.classifier is None or not sum(counts):
        return [None] * len(regions)
    images = np.concatenate([crops.digits for crops in regions])  # N, 2, 28, 28
    probabilities = models.classifier.probabilities(images.reshape(-1, 28, 28))  # 2 N, 10
    means = probabilities.reshape(-1, len(DIGIT_SIZES_PX), probabilities.shape[-1]).mean(axis=1)
    parts = np.split(means, np.cumsum(counts)[:-1])
    return [part if len(part) else None for part in parts]


def recognize_page(
    regions: Sequence[RegionEvidence], constraints: Constraints | None, top_k: int
) -> tuple[RegionResult, ...]:
    """Find the numbers in the regions of a page; digits and numbers have `top_k` candidates."""
    empty_threshold = EMPTY_ALONE if len(regions) == 1 else EMPTY_AMONG_OTHERS
    return tuple(recognize_region(region, constraints, top_k, empty_threshold) for region in regions)


def recognize_region(
    evidence: RegionEvidence,
    constraints: Constraints | None,
    top_k: int,
    empty_threshold: float = EMPTY_AMONG_OTHERS,
) -> RegionResult:
    """Find the numbers in a region; none if the probability that nothing is written is above the threshold.

    The constraints hold for each number of the region.
    """
    lines, digits = evidence.lines, evidence.digits
    is_lone = digits is not None and len(digits) == 1
    doubt = probability_of_no_digit(digits) if evidence.can_reject and digits is not None and is_lone else 0.0
    hypotheses, shared = find_hypotheses(lines, digits, ANY_DIGITS, doubt=doubt)
    text = likeliest_text(hypotheses, empty_threshold)
    if not text:
        region = evidence.crops.region
        has_ink = bool(region.components)
        return RegionResult((), hypotheses.get("", 0.0), has_ink=has_ink)
    result = _result(evidence, hypotheses, text, top_k, may_split=True, free=constraints is None)
    if constraints is None:
        return result
    is_split = len(result.numbers) > 1 and not constraints.is_single
    if is_split and all(constraints.accepts(number.text) for number in result.numbers):
        return result
    is_changed = not constraints.accepts(text)
    if is_changed:
        hypotheses, _ = find_hypotheses(lines, digits, constraints, shared, doubt)
        if sum(hypotheses.values()) < LEAST_LIKELY:
            return dataclasses.replace(result, breaks_constraints=True)
    hypotheses = given_constraints(hypotheses, constraints)
    text = max(hypotheses, key=lambda hypothesis: hypotheses[hypothesis])
    result = _result(evidence, hypotheses, text, top_k, may_split=False, free=False)
    return dataclasses.replace(result, is_changed=is_changed)


def _result(
    evidence: RegionEvidence, hypotheses: Hypotheses, text: str, top_k: int, *, may_split: bool, free: bool
) -> RegionResult:
    """Return a text as the result of a region; `free` says that no constraints changed the hypotheses."""
    region = evidence.crops.region
    if free and evidence.digits is not None and not evidence.lines:
        shares = [dict(zip(DIGITS, row, strict=True)) for row in evidence.digits.tolist()]
    else:
        shares = [digit_shares(hypotheses, text, place) for place in range(len(text))]
    number = _number(evidence, hypotheses, text, shares, top_k)
    numbers = _split(number, at_gaps=region.is_whole_picture) if may_split else [number]
    return RegionResult(
        tuple(numbers),
        number.confidence,
        max((share for hypothesis, share in hypotheses.items() if hypothesis != text), default=0.0),
        is_cut_off=len(region.components) == 1 and region.components[0].is_cut_off,
        runs_out=region.runs_out,
        is_in_fraction=region.is_in_fraction,
    )


def _number(
    evidence: RegionEvidence,
    hypotheses: Hypotheses,
    text: str,
    shares: Sequence[dict[str, float]],
    top_k: int,
) -> Number:
    """Return a text as a number; `shares` are the probabilities of the digits at each place."""
    rivals = sorted(
        (rival for rival in hypotheses if rival not in ("", text)), key=lambda rival: -hypotheses[rival]
    )
    crops = evidence.crops
    has_crop_each = len(crops.digits) == len(text)
    digits = []
    for place, (digit, box, share) in enumerate(zip(text, _boxes(evidence, text), shares, strict=True)):
        others = sorted((pair for pair in share.items() if pair[0] != digit), key=lambda pair: -pair[1])
        image = crops.digits[place, 0] if has_crop_each else None
        digits.append(Digit(digit, min(1.0, share[digit]), box, tuple(others[: top_k - 1]), image))
    return Number(
        tuple(digits),
        confidence=min(1.0, hypotheses[text]),
        raw=text_with_marks(evidence.lines, text),
        alternatives=tuple((rival, hypotheses[rival]) for rival in rivals[: top_k - 1]),
        line=crops.lines[0].image if crops.lines else None,
    )


def text_with_marks(lines: Sequence[LineEvidence], text: str) -> str:
    """Return the text with its marks, from the first crop that shows its digits; else the digits alone."""
    for evidence in lines:
        if "".join(character for character in evidence.raw if character.isdecimal()) == text:
            return evidence.raw.replace(OTHER, "").strip()
    return text


def _boxes(evidence: RegionEvidence, text: str) -> list[Box]:
    """Return the box of each digit: the box of its component, or the box that a line network predicts.

    A whole picture may have as many components as digits by chance, specks and points among them.
    """
    region = evidence.crops.region
    if len(region.components) == len(text) and not region.is_whole_picture:
        return [component.box for component in region.components]
    for line in evidence.lines:
        columns = align(line.columns, text)
        if line.distances is not None and len(columns) == len(text):
            return [box_at(line.crop, line.distances[column], column) for column in columns]
    return [_box_around(evidence.crops)] * len(text)


def box_at(crop: LineCrop, distances: np.ndarray, column: int) -> Box:
    """Return the box on the page of the character at a column, from its distances to the four sides."""
    to_left, to_right, top, bottom = (distances * BOX_SCALE_PX).tolist()
    x = (column + 0.5) * COLUMN_PX
    return crop.box_on_page(x - max(to_left, 1), top, x + max(to_right, 1), max(bottom, top + 1))


def _box_around(crops: RegionCrops) -> Box:
    """Return the box around all components, or the whole page where there are none."""
    boxes = [component.box for component in crops.region.components]
    if not boxes:
        return (0, 0, *crops.lines[0].page_size)
    x, y = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return x, y, right - x, bottom - y


def _split(number: Number, *, at_gaps: bool) -> list[Number]:
    """Split a line into numbers at operators.

    `at_gaps` splits it also where a gap between digits is wide for their height and has no mark in it.
    """
    boxes = np.array([digit.box for digit in number.digits])
    gaps = boxes[1:, 0] - (boxes[:-1, 0] + boxes[:-1, 2])
    if not len(gaps):
        return [number]
    places = [place for place, character in enumerate(number.raw) if character.isdecimal()]
    marks = [number.raw[left + 1 : right] for left, right in itertools.pairwise(places)]
    is_cut = np.array([bool(OPERATORS.intersection(between)) for between in marks])
    if at_gaps:
        is_cut |= wide_gaps(gaps, median(boxes[:, 3])) & (np.diff(places) == 1)
    cuts = [0, *(np.flatnonzero(is_cut) + 1).tolist(), len(boxes)]
    if len(cuts) == 2:
        return [number]
    return [_part(number, start, end) for start, end in itertools.pairwise(cuts)]


def _part(number: Number, start: int, end: int) -> Number:
    """Return the digits from `start` to before `end` and the marks that follow them as a number."""
    digits = number.digits[start:end]
    starts = [place for place, character in enumerate(number.raw) if character.isdecimal()]
    first, last = 0 if start == 0 else starts[start], starts[end] if end < len(starts) else len(number.raw)
    return dataclasses.replace(
        number,
        digits=digits,
        confidence=max(number.confidence, math.prod(digit.confidence for digit in digits)),
        raw=number.raw[first:last].strip(),
        alternatives=(),
    )
