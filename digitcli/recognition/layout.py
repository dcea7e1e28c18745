"""Tell in which line, row and column of a page each number stands, and a fraction from two numbers.

Boxes are arrays (N, 4) of x, y, width, height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box, Grey
from digitcli.recognition.readings import Number

# Share of the lower box's rows that a box must share with the last box of a line to continue the line.
LINE_OVERLAP = 0.4
# How far columns may lean from the right angle to the rows, as in a photograph that is not taken from
# straight above, in heights to the side (11 degrees), and the step of the search. Chosen by hand.
STEEPEST_LEAN = 0.2
LEAN_STEP = 0.01

# Of fractions. Lengths are in heights of the lower of two numbers, if nothing else is said. The values were
# chosen on 260 synthetic fractions and on 200 synthetic pages with two or three numbers in a column.
MOST_DIGITS = 3  # of a part: longer numbers above each other are a sum
INK = 0.5  # of the contrast of the digits, from which a pixel belongs to a bar
SHORTEST_BAR = 0.9  # length, in widths of the wider number
LONGEST_OVERHANG = 1.5  # by which a bar may be longer than the wider number; longer ones are rules
THICKEST_BAR = 0.3
LARGEST_BREAK = 0.15  # in a bar
LARGEST_GAP = 0.9  # between a number and the bar, in heights of the number
NEAREST = 0.12  # a bar reaches so far into the boxes of the digits, which are not exact
SURROUNDINGS = 0.8  # above and below the numbers, in which a rule shows that they stand in a table

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def place_numbers(numbers: Sequence[Number]) -> tuple[Number, ...]:
    """Return the numbers of a page with their rows and columns, both from 0 on.

    A number keeps the row in which it was found, but rows without numbers do not count.
    """
    if len(numbers) <= 1:  # most pictures hold one number, and hundreds of them are read in a second
        return tuple(replace(number, row=0, column=0) for number in numbers)
    boxes = np.array([number.box for number in numbers], np.float64)
    rows = np.array([-1 if number.row is None else number.row for number in numbers])
    if (rows < 0).any():
        for row, indices in enumerate(group_lines(boxes)):
            rows[indices] = row
    rows = np.unique(rows, return_inverse=True)[1]
    places = zip(numbers, rows.tolist(), find_columns(boxes, rows).tolist(), strict=True)
    return tuple(replace(number, row=row, column=column) for number, row, column in places)


def group_lines(boxes: np.ndarray) -> list[list[int]]:
    """Group boxes into lines from top to bottom, each line from left to right.

    A box continues the line whose last box shares most rows with it, so lines may slope.
    """
    if len(boxes) == 1:
        return [[0]]
    lines: list[list[int]] = []
    last_boxes = np.zeros_like(boxes)
    for index in np.argsort(boxes[:, 0], kind="stable"):
        lasts, box = last_boxes[: len(lines)], boxes[index]
        ends = np.minimum(lasts[:, 1] + lasts[:, 3], box[1] + box[3])
        shared = np.maximum(ends - np.maximum(lasts[:, 1], box[1]), 0)  # rows, (number of lines,)
        shared[shared <= LINE_OVERLAP * np.minimum(lasts[:, 3], box[3])] = 0
        line = int(np.argmax(shared)) if shared.any() else len(lines)
        if line == len(lines):
            lines.append([])
        lines[line].append(int(index))
        last_boxes[line] = box
    return sorted(lines, key=lambda line: float(np.mean(boxes[line, 1] + boxes[line, 3] / 2)))


def find_columns(boxes: Floats, rows: Integers) -> Integers:
    """Return the column of each box (N, 4), for boxes that stand in these rows (N,).

    The page is cut between columns, as in the X-Y cut (Nagy & Seth, "Hierarchical representation of optically
    scanned documents", 1984): first where a cut crosses the fewest boxes, then where the gap is widest. A cut
    is made if more rows have boxes on both sides of it than it crosses boxes, so that a box that is too wide,
    or in two parts, changes no other.
    """
    if len(np.unique(rows)) == len(rows):
        return np.zeros(len(rows), np.int64)
    places = _across(boxes, rows)
    left, right = (np.sort(places + side * boxes[:, 2] / 2) for side in (-1, 1))
    edges = np.unique(np.concatenate([left, right, places]))
    cuts, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    crossed = _crossed(left, right, cuts)
    order = np.argsort(places, kind="stable")
    columns = np.zeros(len(boxes), np.int64)  # in this order
    for cut in np.lexsort((-widths, crossed)):
        middle = int(np.searchsorted(places[order], cuts[cut]))
        if middle in (0, len(boxes)) or columns[middle - 1] != columns[middle]:
            continue
        start, end = np.searchsorted(columns, [columns[middle], columns[middle] + 1])
        parted = np.intersect1d(rows[order[start:middle]], rows[order[middle:end]])
        if len(parted) > crossed[cut]:
            columns[middle:] += 1
    return columns[np.argsort(order)]


def _across(boxes: Floats, rows: Integers) -> Floats:
    """Return where each box stands from left to right (N,), whatever the tilt of the page, in pixels.

    The tilt is the slope of the rows by least squares. Columns have the direction in which the projection of
    the boxes has the most energy (Postl, "Detection of linear oblique structures and skew scan in digitized
    documents", 1986).
    """
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    x, y = (middles - [middles[rows == row].mean(axis=0) for row in rows]).T
    spread = float(x @ x)
    angle = np.arctan(float(x @ y) / spread if spread else 0.0)
    along = middles @ [np.cos(angle), np.sin(angle)]
    down = middles @ [-np.sin(angle), np.cos(angle)]
    leans = np.arange(0, STEEPEST_LEAN + LEAN_STEP / 2, LEAN_STEP)
    candidates = [along + lean * down for lean in np.ravel(np.stack([leans, -leans], axis=1))]
    return max(candidates, key=lambda places: _energy(places, boxes[:, 2]))  # the first, if there are several


def _energy(places: Floats, widths: Floats) -> float:
    """Return the integral of the squared number of boxes (N,) at each place."""
    left, right = (np.sort(places + side * widths / 2) for side in (-1, 1))
    edges = np.sort(np.concatenate([left, right]))
    return float(np.diff(edges) @ _crossed(left, right, edges[:-1]) ** 2)


def _crossed(left: Floats, right: Floats, places: Floats) -> Integers:
    """Return how many boxes with these sorted edges there are at each place."""
    return np.asarray(np.searchsorted(left, places, "right") - np.searchsorted(right, places, "right"))


def shows_fraction(grey: Grey, numbers: Sequence[Number]) -> bool:
    """Tell whether a page, uint8 (H, W), shows nothing but one number above a fraction bar, and one below.

    The boxes of the numbers lie on the page. Another rule above or below them is that of a table.
    """
    if len(numbers) != 2 or any(len(number.text) > MOST_DIGITS for number in numbers):
        return False
    upper, lower = sorted((number.box for number in numbers), key=lambda box: box[1])
    height, widths = min(upper[3], lower[3]), (upper[2], lower[2])
    top, bottom = upper[1] + upper[3], lower[1]
    if min(upper[0] + upper[2], lower[0] + lower[2]) - max(upper[0], lower[0]) < min(widths) / 2:
        return False
    parts = [grey[max(0, y) : y + h, max(0, x) : x + w].ravel() for x, y, w, h in (upper, lower)]
    paper, dark, light = map(float, np.quantile(np.concatenate(parts), (0.5, 0.05, 0.95)))
    contrast = max(dark - paper, light - paper, key=abs) or 1.0  # of the ink

    def has_bar(first: float, last: float, span: Box, longest: float) -> bool:
        rows = slice(max(0, int(first)), max(0, int(np.ceil(last))))
        marks = (grey[rows].astype(np.float32) - paper) / contrast > INK
        return _has_bar(marks, span, height, longest)

    around, wider = SURROUNDINGS * height, max(upper, lower, key=lambda box: box[2])
    middle, reach = (top + bottom) / 2, max((bottom - top) / 2, NEAREST * height)
    first = max(middle - reach, bottom - LARGEST_GAP * lower[3])
    last = min(middle + reach, top + LARGEST_GAP * upper[3])
    foot = lower[1] + lower[3]
    return has_bar(first, last, wider, max(widths) + LONGEST_OVERHANG * height) and not (
        has_bar(upper[1] - around, upper[1], upper, np.inf) or has_bar(foot, foot + around, lower, np.inf)
    )


def _has_bar(marks: npt.NDArray[np.bool_], span: Box, height: float, longest: float) -> bool:
    """Tell whether a thin bar crosses the middle of a box's columns and is nearly as long, or longer."""
    columns = np.flatnonzero(marks.any(axis=0))
    breaks = np.flatnonzero(np.diff(columns) > max(2, LARGEST_BREAK * height)) + 1
    for part in np.split(columns, breaks) if len(columns) else ():
        first, last = int(part[0]), int(part[-1])
        crosses = first <= span[0] + span[2] / 2 <= last
        thickness = marks[:, first : last + 1].sum(axis=0).mean()
        is_long = SHORTEST_BAR * span[2] <= last - first + 1 <= longest
        if crosses and is_long and thickness <= THICKEST_BAR * height:
            return True
    return False
