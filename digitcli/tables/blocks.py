"""Tell the tables of a page apart, by the gaps between its numbers that no rules bridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.tables.plane import Floats, Integers, clusters, covered

# All lengths are in heights of a digit. The values were chosen on 32 synthetic pages with two tables and on
# 40 with one.
LEAST_RULES = (2, 3)  # of a lattice in its two directions
SAME = 0.5  # distance of the numbers of one row, and of two pieces of one rule
LEAST_COVER = 0.25  # of the table that a rule crosses
AROUND = 2.0  # the numbers of a table, where its rules lie
MOST_BRIDGES = 1  # rules between two tables, as a fold is
WIDEST_HOLE = 2.0  # in a rule that bridges a gap: rules may be broken, and a heading may go across columns
NARROWEST = 3.0  # gap without rules
LEAST_STEP = 1.25  # from a row of a table to one of another, in steps from a row to the next
FARTHER = 3.5  # than two rows or columns are apart, since blank rows do not end a table
LINED_UP_BY = 0.35  # distance of such rows
LINED_UP = 0.7  # share of the rows of the smaller one of two blocks, from which both are parts of one table


@dataclass(frozen=True)
class Block:
    """What belongs to one table of a page.

    numbers, level, upright: the indices of its numbers, and of its rules.
    """

    numbers: Integers
    level: Integers
    upright: Integers

    @property
    def rules(self) -> tuple[Integers, Integers]:
        """The level rules, and the upright ones."""
        return self.level, self.upright


@dataclass(frozen=True)
class _Lines:
    """Rules of one direction: where each lies (R,), and from where to where it goes (R, 2)."""

    at: Floats
    spans: Floats

    @classmethod
    def of(cls, chains: Sequence[Floats], axis: int) -> _Lines:
        """Return rules, each of points (P, 2), that go along an axis."""
        at = np.array([np.median(chain[:, 1 - axis]) for chain in chains])
        ends = [(chain[:, axis].min(), chain[:, axis].max()) for chain in chains]
        return cls(at, np.array(ends).reshape(-1, 2))

    def between(self, low: float, high: float, start: float, end: float) -> Sequence[Floats]:
        """Return the spans of each rule that lies between low and high, and is seen from start to end."""
        inside = (self.at >= low) & (self.at <= high) & (self.spans[:, 0] < end) & (self.spans[:, 1] > start)
        spans = self.spans[inside]
        return [spans[group] for group in clusters(self.at[inside], SAME)]


def find_blocks(boxes: Floats, level: Sequence[Floats], upright: Sequence[Floats]) -> list[Block]:
    """Return the tables of a page in reading order, each with at least one number.

    A recursive XY-cut: Nagy, Seth & Viswanathan, "A prototype document image analysis system for technical
    journals", Computer 1992. Unlike there, rules bridge gaps, and blocks beside each other whose rows line up
    are columns of one table.

    boxes: of the numbers on the plane (N, 4), x0, y0, x1 and y1.
    level, upright: the points on the plane (P, 2) of each rule.
    """
    lines = _Lines.of(level, 0), _Lines.of(upright, 1)
    parts = _cut(boxes, lines, np.arange(len(boxes)))
    outlines = np.array([_outline(boxes[part]) for part in parts])
    owners = []
    for axis, family in enumerate(lines):
        middles = np.zeros((len(family.at), 2))
        middles[:, axis], middles[:, 1 - axis] = family.spans.mean(axis=1), family.at
        away = np.maximum(outlines[:, None, :2] - middles, middles - outlines[:, None, 2:]).max(axis=2)
        owners.append(away.argmin(axis=0))  # of each rule the nearest table
    return [
        Block(part, *(np.flatnonzero(owner == index) for owner in owners)) for index, part in enumerate(parts)
    ]


def _outline(boxes: Floats) -> Floats:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _cut(boxes: Floats, lines: tuple[_Lines, _Lines], inside: Integers) -> list[Integers]:
    """Return the tables that some numbers are, from above to below and from left to right."""
    best, parts = 0.0, list[Integers]()
    for axis in (1, 0):
        order = inside[np.argsort(boxes[inside, axis], kind="stable")]
        reach = np.maximum.accumulate(boxes[order, axis + 2])
        gaps = boxes[order[1:], axis] - reach[:-1]
        for at in np.flatnonzero(gaps > best):
            before, behind, gap = order[: at + 1], order[at + 1 :], float(gaps[at])
            if _is_between_tables(boxes, lines, before, behind, axis, gap):
                best, parts = gap, [before, behind]
    return [table for part in parts for table in _cut(boxes, lines, np.sort(part))] or [inside]


def _is_between_tables(
    boxes: Floats, lines: tuple[_Lines, _Lines], before: Integers, behind: Integers, axis: int, gap: float
) -> bool:
    """Tell whether a gap along an axis parts two tables."""
    start = float(boxes[before, axis + 2].max())
    whole = _outline(boxes[np.concatenate([before, behind])])
    spans = lines[axis].between(whole[1 - axis] - 1, whole[3 - axis] + 1, start, start + gap)
    if sum(_hole(each, start, start + gap) < WIDEST_HOLE for each in spans) > MOST_BRIDGES:
        return False
    middles = [(boxes[part, :2] + boxes[part, 2:]) / 2 for part in (before, behind)]
    rows = [[part[row] for row in clusters(part[:, 1], SAME)] for part in middles]
    outlines = [_outline(boxes[part]) + AROUND * np.array([-1, -1, 1, 1]) for part in (before, behind)]
    outlines[0][axis + 2] = outlines[1][axis] = start + gap / 2
    if axis == 0 and _line_up(*([row[:, 1].mean() for row in part] for part in rows)):
        return False
    steps = [np.diff([row[:, 1].mean() for row in part]) for part in rows]
    if axis == 0:
        steps = [np.diff(np.sort(row[:, 0])) for part in rows for row in part]
    usual = float(np.median(np.concatenate(steps))) if sum(map(len, steps)) else np.inf
    if axis == 1 and gap + 1 < LEAST_STEP * usual:
        return False
    has_lattice = [_has_lattice(outline, lines) for outline in outlines]
    are_wide = all(sum(len(row) > 1 for row in part) > 1 for part in rows)
    if all(has_lattice) and (are_wide or (axis == 1 and min(map(len, rows)) > 1)):
        return True
    return are_wide and gap > NARROWEST and gap + 1 > FARTHER * usual


def _hole(spans: Floats, start: float, end: float) -> float:
    """Return the longest stretch from start to end that no span (N, 2) covers."""
    spans = spans[np.argsort(spans[:, 0])]
    reach = np.maximum.accumulate(np.concatenate([[start], spans[:, 1]]))
    return float((np.concatenate([spans[:, 0], [end]]) - reach).max())


def _has_lattice(outline: Floats, lines: tuple[_Lines, _Lines]) -> bool:
    """Tell whether rules cross most of an outline x0, y0, x1, y1 in both directions."""
    counts = []
    for axis, family in enumerate(lines):
        start, end = outline[axis], outline[axis + 2]
        spans = family.between(outline[1 - axis], outline[3 - axis], start, end)
        counts.append(sum(covered(each.clip(start, end)) >= LEAST_COVER * (end - start) for each in spans))
    return tuple(sorted(counts)) >= LEAST_RULES and min(counts) >= LEAST_RULES[0]


def _line_up(left: Sequence[float], right: Sequence[float]) -> bool:
    """Tell whether the rows of two blocks stand at the same heights."""
    few, many = sorted([np.array(left), np.array(right)], key=len)
    return bool((np.abs(few[:, None] - many).min(axis=1) < LINED_UP_BY).mean() >= LINED_UP)
