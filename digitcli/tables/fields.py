"""Tell a field of boxes, one digit in each, which is one number, from narrow cells with a number each.

Both look alike box by box. What tells them apart is how all fields below each other are filled, and where
their rules end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
import numpy.typing as npt

from digitcli.recognition.confidence import from_log_odds
from digitcli.tables.plane import Floats, Integers, PlacedDigits, clusters

# All lengths are in heights of a digit.
NARROWEST_BOX, WIDEST_BOX = 0.8, 3.0
EVEN = 1.4  # the widest box of a field, in widths of its narrowest
SAME_SIDE = 0.4  # distance of the sides of two neighbouring boxes, and of boxes below each other
BEYOND = 0.4  # by which the side of a box may end before its top or its bottom
SEVERAL = 0.2  # share of the rows with two digits in one box, above which it is no box
# Fields have a frame of their own, or a heading that spans their boxes: the rules between their boxes begin
# lower than those at their sides, or all of them go less than so far beyond the row. This was chosen by hand
# to count as nine to one, either way.
LOWER, OWN, ODDS = 0.4, 1.6, 9.0
# Shares of the gaps between two digits in neighbouring boxes that the layout network joins, in fields and in
# cells, of 48 synthetic tables.
JOINED = (0.15, 0.03)
MISSED = 0.05  # share of the rows of a field with a digit that was not read, or one too many


@dataclass(frozen=True)
class Field:
    """A row of boxes that holds one number.

    row: of the page.
    sides: the places of the sides of its boxes (n + 1,) on the plane.
    digits: the indices of its digits from left to right.
    certainty: the probability that they form one number.
    """

    row: int
    sides: Floats
    digits: Integers
    certainty: float


@dataclass(frozen=True)
class _Boxes:
    """Narrow and even boxes beside each other in a row.

    sides: the places of their sides (n + 1,).
    spans: from where to where the rules there go (n + 1, 2).
    """

    row: int
    middle: float
    sides: Floats
    spans: Floats

    def fits(self, other: _Boxes) -> bool:
        """Tell whether others stand below these."""
        return len(self.sides) == len(other.sides) and bool(
            np.abs(self.sides - other.sides).max() < SAME_SIDE
        )

    @property
    def is_framed(self) -> bool:
        """Whether the rules are those of a field, see `ODDS`."""
        inner, outer = self.spans[1:-1], self.spans[[0, -1]]
        is_long = np.median(np.ptp(inner, axis=1)) > np.ptp(outer, axis=1).max() / 2  # and no stroke
        beyond = np.maximum(self.middle - self.spans[:, 0], self.spans[:, 1] - self.middle)
        is_lower = inner[:, 0].min() > outer[:, 0].max() + LOWER
        return bool((is_lower and is_long) or np.median(beyond) < OWN)


def find_fields(
    digits: PlacedDigits, rows: Integers, level: Sequence[Floats], upright: Sequence[Floats]
) -> list[Field]:
    """Return the fields of boxes of a page.

    rows: of each digit (D,).
    level, upright: the points u and v (P, 2) of each rule.
    """
    groups: list[list[_Boxes]] = []
    for row in np.unique(rows).tolist():
        middle = float(np.median(digits.places[rows == row, 1]))
        for boxes in _boxes_of(row, middle, level, upright):
            group = next((group for group in groups if group[-1].fits(boxes)), [])
            group.append(boxes)
            groups += [group] if len(group) == 1 else []
    fields = []
    for group in groups:
        held = [(boxes, inside) for boxes in group if len(inside := _inside(digits, rows, boxes))]
        odds = _log_odds(digits, held)
        if odds > 0:
            certainty = from_log_odds(odds)
            fields += [Field(boxes.row, boxes.sides, inside, certainty) for boxes, inside in held]
    return fields


def _boxes_of(row: int, middle: float, level: Sequence[Floats], upright: Sequence[Floats]) -> list[_Boxes]:
    """Return the rows of narrow boxes that rules make around the middle of a row."""
    crossing = [chain for chain in upright if chain[0, 1] < middle < chain[-1, 1]]
    found = []
    for chain in crossing:
        at = float(np.interp(middle, chain[:, 1], chain[:, 0]))
        heights = [
            np.interp(at, each[:, 0], each[:, 1])
            for each in level
            if each[0, 0] - BEYOND < at < each[-1, 0] + BEYOND
        ]
        top = max((height for height in heights if height < middle), default=middle - OWN / 2)
        bottom = min((height for height in heights if height > middle), default=middle + OWN / 2)
        if chain[0, 1] < top + BEYOND and chain[-1, 1] > bottom - BEYOND:  # no stroke of a digit
            found.append((at, float(chain[0, 1]), float(chain[-1, 1])))
    all_sides = np.array(found).reshape(-1, 3)
    groups = [all_sides[group] for group in clusters(all_sides[:, 0], SAME_SIDE)]
    table = np.array([(each[:, 0].mean(), each[:, 1].min(), each[:, 2].max()) for each in groups]).reshape(
        -1, 3
    )
    boxes, start = [], 0
    while start + 2 < len(table):
        end = start + 1
        while end + 1 < len(table) and _are_even(np.diff(table[start : end + 2, 0])):
            end += 1
        if end > start + 1:
            boxes.append(_Boxes(row, middle, table[start : end + 1, 0], table[start : end + 1, 1:]))
        start = end
    return boxes


def _are_even(widths: Floats) -> bool:
    least = widths.min()
    return bool(least >= NARROWEST_BOX and widths.max() <= min(WIDEST_BOX, EVEN * least))


def _inside(digits: PlacedDigits, rows: Integers, boxes: _Boxes) -> Integers:
    places = digits.places[:, 0]
    inside = np.flatnonzero((rows == boxes.row) & (places > boxes.sides[0]) & (places < boxes.sides[-1]))
    return np.asarray(inside[np.argsort(places[inside], kind="stable")], np.int64)


def _log_odds(digits: PlacedDigits, held: Sequence[tuple[_Boxes, Integers]]) -> float:
    """Return the log-odds that boxes below each other are fields."""
    if not held:
        return -np.inf
    boxes = [np.searchsorted(each.sides, digits.places[inside, 0]) - 1 for each, inside in held]
    numbers = [digits.number[inside] for _, inside in held]
    is_framed = np.mean([each.is_framed for each, _ in held]) > 0.5
    return log_odds_of_field(boxes, numbers, len(held[0][0].sides) - 1, is_framed=bool(is_framed))


def log_odds_of_field(
    boxes: Sequence[Integers], numbers: Sequence[Integers], count: int, *, is_framed: bool
) -> float:
    """Return the log-odds that so many places beside each other hold one number in each row, not one each.

    boxes, numbers: of each row, in which place each digit stands, and to which number it was read.
    is_framed: whether a frame or a heading holds the places together.
    """
    counts = np.zeros((len(boxes), count), np.int64)
    joined = apart = 0
    for row, (places, owners) in enumerate(zip(boxes, numbers, strict=True)):
        np.add.at(counts[row], places, 1)
        is_next = np.diff(places) == 1
        is_joined = np.diff(owners) == 0
        joined, apart = joined + (is_next & is_joined).sum(), apart + (is_next & ~is_joined).sum()
    if (counts > 1).any(axis=1).mean() > SEVERAL:
        return -np.inf
    return (
        evidence_of_filling(counts > 0)
        + joined * log(JOINED[0] / JOINED[1])
        + apart * log((1 - JOINED[0]) / (1 - JOINED[1]))
        + (log(ODDS) if is_framed else -log(ODDS))
    )


def evidence_of_filling(is_filled: npt.NDArray[np.bool_]) -> float:
    """Return the logarithm of the Bayes factor of one number in each row (R, n) against n of them.

    A number fills all boxes, in all rows; or it has any length and begins at the left, or ends at the right,
    in all rows or as it happens. Cells are filled independently, with a probability that may be any.
    """
    rows, boxes = is_filled.shape
    filled, empty = int(is_filled.sum()), int((~is_filled).sum())
    cells = lgamma(filled + 1) + lgamma(empty + 1) - lgamma(filled + empty + 2)
    sides = []
    for side in (is_filled, is_filled[:, ::-1]):
        length = np.where(side.all(axis=1), boxes, side.argmin(axis=1))
        fits = (length > 0) & (length == side.sum(axis=1))
        sides.append(np.where(fits, log((1 - MISSED) / boxes), log(MISSED) - boxes * log(2)))
    either = np.logaddexp(sides[0], sides[1]) - log(2)
    whole = -np.inf if empty else rows * log(1 - MISSED)
    kinds = [sides[0].sum(), sides[1].sum(), either.sum(), whole]
    return float(np.logaddexp.reduce(kinds) - log(len(kinds)) - cells)
