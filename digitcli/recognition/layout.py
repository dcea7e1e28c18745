"""Tell in which line, row and column of a page each number stands.

Boxes are arrays (N, 4) of x, y, width, height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from digitcli.recognition.readings import Number

# Share of the lower box's rows that a box must share with the last box of a line to continue the line.
LINE_OVERLAP = 0.4
# How far columns may lean from the right angle to the rows, as in a photograph that is not taken from
# straight above, in heights to the side (11 degrees), and the step of the search. Chosen by hand.
STEEPEST_LEAN = 0.2
LEAN_STEP = 0.01

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
    columns = find_columns(boxes, rows)
    return tuple(
        replace(number, row=int(row), column=int(column))
        for number, row, column in zip(numbers, rows, columns, strict=True)
    )


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


def find_columns(boxes: Floats, rows: Integers) -> Integers:
    """Return the column of each box (N, 4) of x, y, width, height, for boxes that stand in these rows (N,).

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

    Columns have the direction in which the projection of the boxes has the most energy (Postl, "Detection of
    linear oblique structures and skew scan in digitized documents", 1986).
    """
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    angle = np.arctan(_slope(middles, rows))
    along = middles @ [np.cos(angle), np.sin(angle)]
    down = middles @ [-np.sin(angle), np.cos(angle)]
    leans = np.arange(0, STEEPEST_LEAN + LEAN_STEP / 2, LEAN_STEP)
    candidates = [along + lean * down for lean in np.ravel(np.stack([leans, -leans], axis=1))]
    return max(candidates, key=lambda places: _energy(places, boxes[:, 2]))  # the first, if there are several


def _slope(middles: Floats, rows: Integers) -> float:
    """Return by how many pixels the rows fall for each pixel to the right, by least squares."""
    means = np.array([middles[rows == row].mean(axis=0) for row in rows])
    x, y = (middles - means).T
    spread = float(x @ x)
    return float(x @ y) / spread if spread else 0.0


def _energy(places: Floats, widths: Floats) -> float:
    """Return the integral of the squared number of boxes (N,) at each place."""
    left, right = (np.sort(places + side * widths / 2) for side in (-1, 1))
    edges = np.sort(np.concatenate([left, right]))
    return float(np.diff(edges) @ _crossed(left, right, edges[:-1]) ** 2)


def _crossed(left: Floats, right: Floats, places: Floats) -> Integers:
    """Return how many boxes with these sorted edges there are at each place."""
    return np.asarray(np.searchsorted(left, places, "right") - np.searchsorted(right, places, "right"))
