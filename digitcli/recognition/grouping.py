"""Group boxes on a page into lines, and lines of digits into numbers.

Boxes are arrays (N, 4) of x, y, width, height. A line or a number is a list of indices of boxes.
"""

from __future__ import annotations

import numpy as np

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
