"""Tell the tables of a page apart: lattices that do not touch, and blocks of numbers far from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.tables.plane import Floats, Integers, clusters
from digitcli.tables.rules import cross

# All lengths are in heights of a digit; they were chosen by hand, and not on any data yet.
LEAST_RULES = 3  # of a lattice in each direction; a field of boxes in a frame of its own has two level ones
SAME = 0.5  # distance of the numbers of one row, and of two pieces of one rule
LONG = 3.0  # a rule that keeps what is at both of its ends together; strokes of letters are shorter
# Blank rows do not end a table, so that a cut without rules needs more: 3.5 distances of two rows or columns.
FARTHER = 3.5
NARROWEST = 3.0  # cut without rules, for which single rows far from each other are no reason
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
class _Items:
    """What a cut may not go through.

    boxes: x0, y0, x1 and y1 on the plane (N, 4).
    numbers: whether each is a number (N,), and no component of rules.
    lattices: whether each is a lattice (N,).
    """

    boxes: Floats
    numbers: npt.NDArray[np.bool_]
    lattices: npt.NDArray[np.bool_]


def find_blocks(boxes: Floats, level: Sequence[Floats], upright: Sequence[Floats]) -> list[Block]:
    """Return the tables of a page in reading order, each with at least one number.

    Rules that touch each other are one item, and so is a number. A recursive XY-cut parts the items: Nagy,
    Seth & Viswanathan, "A prototype document image analysis system for technical journals", Computer 1992.
    Unlike there, blocks beside each other whose rows line up are columns of one table.

    boxes: of the numbers on the plane (N, 4), x0, y0, x1 and y1.
    level, upright: the points on the plane (P, 2) of each rule.
    """
    chains, kinds = [*level, *upright], np.repeat([0, 1], [len(level), len(upright)])
    owners = _components(level, upright)
    groups = [np.flatnonzero(owners == each) for each in range(owners.max(initial=-1) + 1)]
    extents = [_extent(np.concatenate([chains[each] for each in group])) for group in groups]
    is_lattice = [_is_lattice([chains[each] for each in group], kinds[group]) for group in groups]
    is_long = [max(extent[2:] - extent[:2]) > LONG for extent in extents]
    kept = [index for index, each in enumerate(is_long) if each]
    items = _Items(
        np.concatenate([boxes, *(extents[index][None] for index in kept)]),
        np.arange(len(boxes) + len(kept)) < len(boxes),
        np.array([False] * len(boxes) + [is_lattice[index] for index in kept]),
    )
    parts = _cut(items, np.arange(len(items.boxes)))
    outlines = np.array([_outline(items.boxes[part]) for part in parts])
    middles = np.array([chain.mean(axis=0) for chain in chains]).reshape(-1, 2)
    away = np.maximum(outlines[:, None, :2] - middles, middles - outlines[:, None, 2:]).max(axis=2)
    nearest = away.argmin(axis=0)  # of each rule
    return [
        Block(
            part[part < len(boxes)],
            np.flatnonzero((nearest == index)[: len(level)]),
            np.flatnonzero((nearest == index)[len(level) :]),
        )
        for index, part in enumerate(parts)
    ]


def _components(level: Sequence[Floats], upright: Sequence[Floats]) -> Integers:
    """Return the connected component of each rule, the level ones first."""
    owners = np.arange(len(level) + len(upright))
    for row, column in np.ndindex(len(level), len(upright)):
        one, other = owners[row], owners[len(level) + column]
        if one != other and cross(level[row], upright[column], 1.0):
            owners[owners == max(one, other)] = min(one, other)
    return np.asarray(np.unique(owners, return_inverse=True)[1], np.int64)


def _extent(points: Floats) -> Floats:
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _outline(boxes: Floats) -> Floats:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _is_lattice(chains: Sequence[Floats], kinds: Integers) -> bool:
    places = np.array([np.median(chain[:, 1 - kind]) for chain, kind in zip(chains, kinds, strict=True)])
    return all(len(clusters(places[kinds == kind], SAME)) >= LEAST_RULES for kind in (0, 1))


def _cut(items: _Items, inside: Integers) -> list[Integers]:
    """Return the tables that some items are, from above to below and from left to right."""
    best, parts = 0.0, list[Integers]()
    for axis in (1, 0):
        order = inside[np.argsort(items.boxes[inside, axis], kind="stable")]
        reach = np.maximum.accumulate(items.boxes[order, axis + 2])
        gaps = items.boxes[order[1:], axis] - reach[:-1]
        for at in np.flatnonzero(gaps > best):
            before, behind = order[: at + 1], order[at + 1 :]
            if _is_between_tables(items, before, behind, axis, float(gaps[at])):
                best, parts = float(gaps[at]), [before, behind]
    return [table for part in parts for table in _cut(items, np.sort(part))] or [inside]


def _is_between_tables(items: _Items, before: Integers, behind: Integers, axis: int, gap: float) -> bool:
    """Tell whether a gap between two groups of items parts two tables."""
    boxes = [items.boxes[part[items.numbers[part]]] for part in (before, behind)]
    if not all(len(part) for part in boxes):
        return False
    middles = [(part[:, :2] + part[:, 2:]) / 2 for part in boxes]
    rows = [[part[row] for row in clusters(part[:, 1], SAME)] for part in middles]
    if axis == 0 and _line_up(*([row[:, 1].mean() for row in part] for part in rows)):
        return False
    has_lattice = [bool(items.lattices[part].any()) for part in (before, behind)]
    if all(has_lattice):
        return True
    are_tables = [
        lattice or sum(len(row) > 1 for row in part) > 1
        for lattice, part in zip(has_lattice, rows, strict=True)
    ]
    steps = [np.diff([row[:, 1].mean() for row in part]) for part in rows]
    if axis == 0:
        steps = [np.diff(np.sort(row[:, 0])) for part in rows for row in part]
    usual = float(np.median(np.concatenate(steps))) if sum(map(len, steps)) else np.inf
    return all(are_tables) and gap > NARROWEST and gap + 1 > FARTHER * usual


def _line_up(left: Sequence[float], right: Sequence[float]) -> bool:
    """Tell whether the rows of two blocks stand at the same heights."""
    few, many = sorted([np.array(left), np.array(right)], key=len)
    return bool((np.abs(few[:, None] - many).min(axis=1) < SAME).mean() >= LINED_UP)
