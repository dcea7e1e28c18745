"""From what networks answer about a region of a page to the numbers in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.architectures.reader import BOX_SCALE_PX, COLUMN_PX
from digitcli.decoding import (
    ANY_DIGITS,
    DIGITS,
    Grammar,
    align,
    beam_search,
    best_path,
    digit_columns,
    log_softmax,
)
from digitcli.inference import LineAnswer
from digitcli.pictures.shapes import Box
from digitcli.reading.asked import Asked
from digitcli.reading.page import Region, Shape
from digitcli.reading.results import Digit, Number

SEARCHED = 12  # strings are followed while a line is decoded
DIGIT_WEIGHT = 0.5  # of the digit networks about shapes that stand apart; the rest is that of line networks
NUMBER_GAP = 1.1  # of a digit's height: wider gaps part two numbers,
UNUSUAL_GAP = 2.0  # if they are this many times as wide as the usual one
_LEAST = 1e-12  # probability of a digit
_NEVER = -1e9  # the logarithm of no probability at all
_UNLIKELY = 0.01  # what was asked for has at least this probability, or the picture says something else

Strings = dict[str, float]  # with their probabilities


@dataclass(frozen=True)
class LineEvidence:
    """What a line network saw in a view of a region: log-probabilities (T, 11), and marks too (T, A + 1)."""

    columns: np.ndarray
    with_marks: np.ndarray
    alphabet: str
    distances: np.ndarray

    @classmethod
    def of(cls, answer: LineAnswer, alphabet: str, temperature: float) -> LineEvidence:
        """From a network's answer, calibrated."""
        return cls(
            digit_columns(answer.logits, alphabet, temperature),
            log_softmax(answer.logits, temperature),
            alphabet,
            answer.distances,
        )


@dataclass(frozen=True)
class Found:
    """What a region says: its numbers, none where nothing is to be read, and how sure that is.

    `rival` is the probability of the next likely string, `cut_off` where a lone shape runs out of the page,
    `changed` where what was asked for made another string of it, `unmet` where nothing met it.
    """

    numbers: tuple[Number, ...]
    confidence: float
    rival: float = 0.0
    cut_off: bool = False
    changed: bool = False
    unmet: bool = False


def read_region(
    region: Region,
    lines: Sequence[tuple[int, LineEvidence]],
    digits: np.ndarray | None,
    asked: Asked | None,
    top_k: int,
) -> Found:
    """What is written in a region.

    `lines` are the numbers of its views and what was seen in them; `digits` (N, 10) are the probabilities of
    its shapes, where all of them stand apart.
    """
    strings = _strings([evidence for _, evidence in lines], digits, ANY_DIGITS)
    best = _best(strings)
    if not best or asked is None or asked.accepts(best):
        changed, unmet = False, False
        if asked is not None and best:
            strings = _given(strings, asked)
    else:
        meeting = _strings([evidence for _, evidence in lines], digits, asked)
        if sum(meeting.values()) < _UNLIKELY:
            changed, unmet = False, True
        else:
            strings, changed, unmet = _given(meeting, asked), True, False
            best = _best(strings)
    if not best:
        return Found((), strings[best])
    placed = _boxes(region, lines, best)
    exact = digits if asked is None and not lines else None
    shares = [_shares(strings, best, place, exact) for place in range(len(best))]
    number = _number(region, lines, strings, best, placed, shares, top_k)
    parts = _parted(number) if region.whole else [number]
    rival = max((probability for text, probability in strings.items() if text != best), default=0.0)
    cut_off = len(region.shapes) == 1 and region.shapes[0].cut_off
    return Found(tuple(parts), number.confidence, rival, cut_off, changed, unmet)


def _strings(lines: Sequence[LineEvidence], digits: np.ndarray | None, grammar: Grammar) -> Strings:
    """The likeliest strings, over all networks and views.

    Digit networks take digits for granted: they have their say in which ones there are, but not in whether
    there are any, nor in whether a lone shape is one digit.
    """
    found = _of_lines(lines, grammar) if lines else {}
    if digits is None:
        return found or {"": 0.0}
    theirs = beam_search(_as_columns(digits), grammar, SEARCHED, _LEAST / 2)
    if not lines:
        return {text: math.exp(log_probability) for text, log_probability in theirs} or {"": 0.0}
    said = [text for text in found if text and (len(digits) > 1 or len(text) == 1)]
    share = DIGIT_WEIGHT * sum(found[text] for text in said)
    for text in said:
        found[text] *= 1 - DIGIT_WEIGHT
    for text, log_probability in theirs:
        found[text] = found.get(text, 0.0) + share * math.exp(log_probability)
    return found or {"": 0.0}


def _of_lines(lines: Sequence[LineEvidence], grammar: Grammar) -> Strings:
    """The mean over all views of a line, where a view that shows nothing does not count against another."""
    found: Strings = {}
    for evidence in lines:
        for text, log_probability in beam_search(evidence.columns, grammar, SEARCHED):
            found[text] = found.get(text, 0.0) + math.exp(log_probability)
    empty = [math.exp(float(evidence.columns[:, -1].sum())) for evidence in lines]
    written = len(lines) - sum(empty)
    found = {text: share * (1 - min(empty)) / max(written, 1e-9) for text, share in found.items() if text}
    return found | ({"": min(empty)} if grammar.accepts("") else {})


def _best(strings: Strings) -> str:
    """The likeliest string; nothing only where that is likelier than all else together."""
    written = [text for text in strings if text]
    if not written or strings.get("", 0.0) > 0.5:
        return ""
    return max(written, key=lambda text: strings[text])


def _as_columns(digits: np.ndarray) -> np.ndarray:
    """Probabilities (N, 10) of digits side by side as columns (2 N - 1, 11), blanks between them."""
    columns = np.full((2 * len(digits) - 1, len(DIGITS) + 1), _NEVER)
    columns[::2, :-1] = np.log(np.maximum(digits, _LEAST))
    columns[1::2, -1] = 0
    return columns


def _given(strings: Strings, asked: Asked) -> Strings:
    """Strings that are as asked for, with their probabilities given that one of them is right."""
    meeting = {text: probability for text, probability in strings.items() if asked.accepts(text)}
    total = sum(meeting.values())
    return {text: probability / total for text, probability in meeting.items()} if total else {"": 0.0}


def _number(
    region: Region,
    lines: Sequence[tuple[int, LineEvidence]],
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
        raw=_raw([evidence for _, evidence in lines], best),
        alternatives=tuple((text, strings[text]) for text in rivals[: top_k - 1]),
        line=region.views[0].image if region.views else None,
    )


def _shares(strings: Strings, best: str, place: int, exact: np.ndarray | None) -> dict[str, float]:
    """The probability of each digit at a place: what is known exactly of separate digits, (N, 10), or the
    sum over the strings that are as long as the best one.
    """
    if exact is not None:
        return dict(zip(DIGITS, exact[place].tolist(), strict=True))
    shares: dict[str, float] = {}
    for text, probability in strings.items():
        if len(text) == len(best):
            shares[text[place]] = shares.get(text[place], 0.0) + probability
    return shares


def _raw(lines: Sequence[LineEvidence], best: str) -> str:
    """The string with its marks, from the first view that shows its digits; without any the digits alone."""
    for evidence in lines:
        raw = best_path(evidence.with_marks, evidence.alphabet)
        if "".join(character for character in raw if character.isdecimal()) == best:
            return raw
    return best


def _boxes(region: Region, lines: Sequence[tuple[int, LineEvidence]], best: str) -> list[Box]:
    """Where each digit of a string is: its shape, or what a line network says.

    A line that is a whole picture may have as many shapes as digits by chance, specks and points among them.
    """
    if len(region.shapes) == len(best) and not region.whole:
        return [shape.box for shape in region.shapes]
    boxes: list[Box] = []
    for view, evidence in lines:
        places = align(evidence.columns, best)
        if len(places) == len(best):
            boxes = [_box(region, view, evidence.distances[place], place) for place in places]
            break
    return boxes or [_around(region.shapes)] * len(best)


def _box(region: Region, view: int, distances: np.ndarray, column: int) -> Box:
    """The box at a column of a view, on the page."""
    to_left, to_right, top, bottom = (distances * BOX_SCALE_PX).tolist()
    x = (column + 0.5) * COLUMN_PX
    return region.views[view].box_on_page(
        x - max(to_left, 1), top, x + max(to_right, 1), max(bottom, top + 1)
    )


def _around(shapes: Sequence[Shape]) -> Box:
    x, y = min(shape.box[0] for shape in shapes), min(shape.box[1] for shape in shapes)
    right = max(shape.box[0] + shape.box[2] for shape in shapes)
    bottom = max(shape.box[1] + shape.box[3] for shape in shapes)
    return x, y, right - x, bottom - y


def _parted(number: Number) -> list[Number]:
    """A line cut into numbers where the gap between two digits is wide for their height."""
    boxes = np.array([digit.box for digit in number.digits])
    gaps = boxes[1:, 0] - (boxes[:-1, 0] + boxes[:-1, 2])
    if not len(gaps):
        return [number]
    least = max(NUMBER_GAP * float(np.median(boxes[:, 3])), UNUSUAL_GAP * float(np.median(gaps)))
    cuts = [0, *(np.flatnonzero(gaps > least) + 1).tolist(), len(boxes)]
    if len(cuts) == 2 or number.raw != number.text:
        return [number]
    parts = [number.digits[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    return [
        dataclasses.replace(
            number,
            digits=part,
            confidence=max(number.confidence, math.prod(digit.confidence for digit in part)),
            raw="".join(digit.digit for digit in part),
            alternatives=(),
        )
        for part in parts
    ]
