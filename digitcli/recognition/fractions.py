"""Fractions: a number of one or two digits, a bar below it, and another such number below that. No torch."""

from __future__ import annotations

import numpy as np

from digitcli.imaging.components import ConnectedComponents

_FLAT = 2.5  # times as wide as high, at least: a bar
_LENGTHS = 0.6, 3.0  # of the wider number: how long the bar is; beyond that it is a rule, or an edge
_FARTHEST = 0.9  # of a digit's height: how far off the bar it stands
_WIDEST = 2.2  # times its height: how wide a number of two digits is


def in_fractions(
    pieces: ConnectedComponents, groups: list[list[int]], numbers: list[list[int]]
) -> list[bool]:
    """Which numbers, lists of indices of groups, stand above or below the bar of a fraction.

    Where there are more than two in a column, the last bar is that of a sum.
    """
    bars = np.flatnonzero(pieces.usable & (pieces.width > _FLAT * pieces.height)).tolist()
    found = [False] * len(numbers)
    if not bars or len(numbers) < 2:
        return found
    boxes = np.array([_box(pieces, groups, number, bars) for number in numbers])
    x, y, width, height = boxes.T
    for bar in bars:
        left, top = pieces.x[bar], pieces.y[bar]
        right, bottom = left + pieces.width[bar], top + pieces.height[bar]
        shared = np.minimum(x + width, right) - np.maximum(x, left)
        column = np.flatnonzero(shared > width / 2)
        if len(column) != 2:
            continue
        upper, lower = column[np.argsort(y[column])]
        fits = width[column] <= _WIDEST * height[column]
        gaps = np.array([top - (y[upper] + height[upper]), y[lower] - bottom])
        near = np.abs(gaps) <= _FARTHEST * height[[upper, lower]]
        length = (right - left) / width[column].max()
        if fits.all() and near.all() and _LENGTHS[0] <= length <= _LENGTHS[1]:
            found[upper] = found[lower] = True
    return found


def _box(
    pieces: ConnectedComponents, groups: list[list[int]], number: list[int], bars: list[int]
) -> tuple[int, ...]:
    """x, y, width, height around a number without a bar that was taken for a part of it."""
    members = [piece for index in number for piece in groups[index]]
    return pieces.box([piece for piece in members if piece not in bars] or members)
