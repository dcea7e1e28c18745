"""Group the boxes of digits on a page: into lines, lines into numbers, numbers into fractions.

Boxes are arrays (N, 4) of x, y, width, height. A line or a number is a list of indices of boxes.
"""

from __future__ import annotations

import numpy as np

from digitcli.imaging.digits import ConnectedComponents
from digitcli.imaging.grayscale import median

# All values were chosen by hand, by looking at pictures and the answers to them.

# Share of the lower box's rows that a box must share with the last box of a line to continue the line.
LINE_OVERLAP = 0.4
# Least gap between two numbers in digit heights, if the gaps of the line differ enough.
NUMBER_GAP = 1.1
# The gaps differ enough if a gap is this many times as wide as the lower quartile of the gaps of its line.
UNUSUAL_GAP = 2.0
# Least gap between two numbers in digit heights, if the line has only one gap.
LONE_GAP = 2.0
# A gap of this many digit heights separates two numbers, even if all gaps of the line are wide.
WIDEST_GAP = 4.0
# Least width in digit heights that every digit counts as: the paper beside a slim 1 is no gap between
# numbers.
LEAST_WIDTH = 0.5
# A fraction bar is at least this many times as wide as high.
BAR_ASPECT = 2.5
# A fraction bar is at least this long, in widths of the wider number.
SHORTEST_BAR = 0.6
# A fraction bar is at most this long, in widths of the wider number; a longer one is a rule or an edge.
LONGEST_BAR = 3.0
# Greatest gap between a number and the fraction bar, in heights of the number.
BAR_GAP = 0.9
# Greatest width of a number in a fraction, in heights of the number: it has at most two digits.
WIDEST_IN_FRACTION = 2.2


def group_lines(boxes: np.ndarray) -> list[list[int]]:
    """Group boxes into lines from top to bottom, each line from left to right.

    A box continues the line whose last box shares most rows with it, so lines may slope.
    """
    if len(boxes) == 1:
        return [[0]]
    lines: list[list[int]] = []
    last_boxes = np.zeros_like(boxes)
    for index in np.argsort(boxes[:, 0], kind="stable"):
        shared = _shared_rows(last_boxes[: len(lines)], boxes[index])
        lower = np.minimum(last_boxes[: len(lines), 3], boxes[index, 3])
        shared[shared <= LINE_OVERLAP * lower] = 0
        line = int(np.argmax(shared)) if shared.any() else len(lines)
        if line == len(lines):
            lines.append([])
        lines[line].append(int(index))
        last_boxes[line] = boxes[index]
    return sorted(lines, key=lambda line: float(np.mean(boxes[line, 1] + boxes[line, 3] / 2)))


def _shared_rows(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the number of rows that each of the boxes shares with `box`, (N,)."""
    ends = np.minimum(boxes[:, 1] + boxes[:, 3], box[1] + box[3])
    shared: np.ndarray = np.maximum(ends - np.maximum(boxes[:, 1], box[1]), 0)
    return shared


def split_at_gaps(boxes: np.ndarray, line: list[int]) -> list[list[int]]:
    """Split a line into numbers where the gap between two digits is wide for their height."""
    if len(line) == 1:
        return [line]
    x, _, width, height = boxes[line].T
    typical_height = median(height)
    reach = np.maximum(width, LEAST_WIDTH * typical_height) / 2
    gaps = np.diff(x + width / 2) - reach[1:] - reach[:-1]
    numbers = [[line[0]]]
    for index, is_wide in zip(line[1:], wide_gaps(gaps, typical_height), strict=True):
        if is_wide:
            numbers.append([])
        numbers[-1].append(index)
    return numbers


def wide_gaps(gaps: np.ndarray, height: float) -> np.ndarray:
    """Tell which gaps (N,) between digits of this height separate two numbers: bool (N,)."""
    least = LONE_GAP * height
    if len(gaps) > 1:
        narrow = float(np.quantile(gaps, 0.25, method="lower"))
        least = min(max(NUMBER_GAP * height, UNUSUAL_GAP * narrow), WIDEST_GAP * height)
    wide: np.ndarray = gaps > least
    return wide


def find_fractions(
    connected: ConnectedComponents, groups: list[list[int]], numbers: list[list[int]]
) -> list[bool]:
    """Tell which numbers stand above or below a fraction bar, with one other number on its other side.

    `groups` are the connected components of each digit, `numbers` the digits of each number. With more than
    two numbers in a column, the bar is the line below a sum.
    """
    bars = np.flatnonzero(connected.usable & (connected.width > BAR_ASPECT * connected.height)).tolist()
    in_fraction = [False] * len(numbers)
    if not bars or len(numbers) < 2:
        return in_fraction
    boxes = np.array([_box_without_bars(connected, groups, number, bars) for number in numbers])
    x, y, width, height = boxes.T
    for bar in bars:
        left, top = connected.x[bar], connected.y[bar]
        right, bottom = left + connected.width[bar], top + connected.height[bar]
        shared_columns = np.minimum(x + width, right) - np.maximum(x, left)
        column = np.flatnonzero(shared_columns > width / 2)
        if len(column) != 2:
            continue
        upper, lower = column[np.argsort(y[column])]
        fits = width[column] <= WIDEST_IN_FRACTION * height[column]
        gaps = np.array([top - (y[upper] + height[upper]), y[lower] - bottom])
        is_near = np.abs(gaps) <= BAR_GAP * height[[upper, lower]]
        length = (right - left) / width[column].max()
        if fits.all() and is_near.all() and SHORTEST_BAR <= length <= LONGEST_BAR:
            in_fraction[upper] = in_fraction[lower] = True
    return in_fraction


def _box_without_bars(
    connected: ConnectedComponents, groups: list[list[int]], number: list[int], bars: list[int]
) -> tuple[int, ...]:
    """Return the box around a number without a bar that was taken for a part of it."""
    members = [component for index in number for component in groups[index]]
    return connected.box([component for component in members if component not in bars] or members)
