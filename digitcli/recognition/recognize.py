"""From what networks answer about a region of a page to the numbers in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.imaging.components import Box
from digitcli.imaging.line_ink import BOX_SCALE_PX, COLUMN_PX
from digitcli.imaging.quantiles import median
from digitcli.inference.ctc import ANY_DIGITS, DIGITS, align, best_path
from digitcli.recognition.constraints import Asked
from digitcli.recognition.hypotheses import (
    LineEvidence,
    Strings,
    doubt_of,
    given,
    likeliest,
    likely_strings,
    shares_at,
)
from digitcli.recognition.results import Digit, Number
from digitcli.recognition.segmentation import Region, wide_gaps

_UNLIKELY = 1e-6  # what was asked for is at least this likely, or the picture says something else

Lines = Sequence[tuple[int, LineEvidence]]  # the number of a view, and what was seen in it


@dataclass(frozen=True)
class Found:
    """What a region says: its numbers, none where nothing is to be read, and how sure that is.

    `rival` is the probability of the next likely string, `cut_off` where a lone shape runs out of the page,
    `changed` where what was asked for made another string of it, `unmet` where nothing met it, `inked` where
    there is something that might be writing, `in_fraction` where it is a part of one, `runs_out` where a
    digit may be missing.
    """

    numbers: tuple[Number, ...]
    confidence: float
    rival: float = 0.0
    cut_off: bool = False
    changed: bool = False
    unmet: bool = False
    inked: bool = True
    in_fraction: bool = False
    runs_out: bool = False


def read_region(
    region: Region,
    lines: Lines,
    digits: np.ndarray | None,
    asked: Asked | None,
    top_k: int,
    surely_empty: float = 0.5,
    doubts: bool = False,
) -> Found:
    """What is written in a region: nothing where that is more likely than `surely_empty`.

    `lines` are what line networks saw in its views; `digits` (N, 10) are the probabilities of its shapes,
    where all of them stand apart, and `doubts` whether those tell what is no digit, see `doubt_of`. What is
    `asked` holds for each number of a region.
    """
    seen = [evidence for _, evidence in lines]
    doubt = doubt_of(digits) if doubts and digits is not None and len(digits) == 1 else 0.0
    strings, said = likely_strings(seen, digits, ANY_DIGITS, doubt=doubt)
    best = likeliest(strings, surely_empty)
    if not best:
        return Found((), strings.get("", 0.0), inked=bool(region.shapes))
    exact = digits if asked is None and not lines else None
    found = _found(region, lines, strings, best, exact, top_k)
    if asked is None:
        return found
    several = len(found.numbers) > 1 and not asked.single
    if several and all(asked.accepts(number.text) for number in found.numbers):
        return found
    changed = not asked.accepts(best)
    if changed:
        strings, _ = likely_strings(seen, digits, asked, said, doubt)
        if sum(strings.values()) < _UNLIKELY:
            return dataclasses.replace(found, unmet=True)
    strings = given(strings, asked)
    best = max(strings, key=lambda text: strings[text])
    return dataclasses.replace(_found(region, lines, strings, best, None, top_k, one=True), changed=changed)


def _found(
    region: Region,
    lines: Lines,
    strings: Strings,
    best: str,
    exact: np.ndarray | None,
    top_k: int,
    one: bool = False,
) -> Found:
    """A string as numbers, or as `one`; `exact` (N, 10) are the probabilities of its digits where known."""
    boxes = _boxes(region, lines, best)
    if exact is None:
        shares = [shares_at(strings, best, place) for place in range(len(best))]
    else:
        shares = [dict(zip(DIGITS, row, strict=True)) for row in exact.tolist()]
    number = _number(region, lines, strings, best, boxes, shares, top_k)
    parts = _parted(number) if region.whole and not one else [number]
    rival = max((probability for text, probability in strings.items() if text != best), default=0.0)
    cut_off = len(region.shapes) == 1 and region.shapes[0].cut_off
    known = {"in_fraction": region.in_fraction, "runs_out": region.runs_out}
    return Found(tuple(parts), number.confidence, rival, cut_off, **known)


def _number(
    region: Region,
    lines: Lines,
    strings: Strings,
    best: str,
    boxes: Sequence[Box],
    shares: Sequence[dict[str, float]],
    top_k: int,
) -> Number:
    rivals = sorted((text for text in strings if text and text != best), key=lambda text: -strings[text])
    images = [shape.views[0] if len(shape.views) else None for shape in region.shapes]
    seen = images if len(images) == len(best) else [None] * len(best)
    digits = []
    for digit, box, image, share in zip(best, boxes, seen, shares, strict=True):
        others = sorted((other for other in share.items() if other[0] != digit), key=lambda other: -other[1])
        digits.append(Digit(digit, min(1.0, share[digit]), box, tuple(others[: top_k - 1]), image))
    return Number(
        tuple(digits),
        confidence=min(1.0, strings[best]),
        raw=_raw(lines, best),
        alternatives=tuple((text, strings[text]) for text in rivals[: top_k - 1]),
        line=region.views[0].image if region.views else None,
    )


def _raw(lines: Lines, best: str) -> str:
    """The string with its marks, from the first view that shows its digits; without any the digits alone."""
    for _, evidence in lines:
        raw = best_path(evidence.with_marks, evidence.alphabet)
        if "".join(character for character in raw if character.isdecimal()) == best:
            return raw
    return best


def _boxes(region: Region, lines: Lines, best: str) -> list[Box]:
    """Where each digit of a string is: its shape, or what a line network says.

    A line that is a whole picture may have as many shapes as digits by chance, specks and points among them.
    """
    if len(region.shapes) == len(best) and not region.whole:
        return [shape.box for shape in region.shapes]
    boxes: list[Box] = []
    for view, evidence in lines:
        places = align(evidence.columns, best)
        if evidence.distances is not None and len(places) == len(best):
            boxes = [_box(region, view, evidence.distances[place], place) for place in places]
            break
    return boxes or [_around(region)] * len(best)


def _box(region: Region, view: int, distances: np.ndarray, column: int) -> Box:
    """The box at a column of a view, on the page."""
    to_left, to_right, top, bottom = (distances * BOX_SCALE_PX).tolist()
    x = (column + 0.5) * COLUMN_PX
    return region.views[view].box_on_page(
        x - max(to_left, 1), top, x + max(to_right, 1), max(bottom, top + 1)
    )


def _around(region: Region) -> Box:
    shapes = region.shapes
    if not shapes:
        return (0, 0, *region.views[0].page_size)
    x, y = min(shape.box[0] for shape in shapes), min(shape.box[1] for shape in shapes)
    right = max(shape.box[0] + shape.box[2] for shape in shapes)
    bottom = max(shape.box[1] + shape.box[3] for shape in shapes)
    return x, y, right - x, bottom - y


def _parted(number: Number) -> list[Number]:
    """A line cut into numbers where a gap between digits is wide for their height and has no mark in it."""
    boxes = np.array([digit.box for digit in number.digits])
    gaps = boxes[1:, 0] - (boxes[:-1, 0] + boxes[:-1, 2])
    if not len(gaps):
        return [number]
    wide = wide_gaps(gaps, median(boxes[:, 3]))
    places = [place for place, character in enumerate(number.raw) if character.isdecimal()]
    cuts = [0, *(np.flatnonzero(wide & (np.diff(places) == 1)) + 1).tolist(), len(boxes)]
    if len(cuts) == 2:
        return [number]
    return [
        dataclasses.replace(
            number,
            digits=number.digits[start:end],
            confidence=max(
                number.confidence, math.prod(digit.confidence for digit in number.digits[start:end])
            ),
            raw=_part(number.raw, start, end),
            alternatives=(),
        )
        for start, end in zip(cuts, cuts[1:], strict=False)
    ]


def _part(raw: str, start: int, end: int) -> str:
    """Of a text with marks that from one digit on up to another, and the marks that follow."""
    starts = [place for place, character in enumerate(raw) if character.isdecimal()]
    first = 0 if start == 0 else starts[start]
    return raw[first : starts[end] if end < len(starts) else len(raw)]
