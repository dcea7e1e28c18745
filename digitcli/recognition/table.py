"""Tell in which row and column of a page each number stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from digitcli.recognition.grouping import group_lines
from digitcli.recognition.results import Number


def place_numbers(numbers: Sequence[Number]) -> tuple[Number, ...]:
    """Return the numbers of a page with their rows and columns, both from 0 on.

    A number keeps the row in which it was found, but rows without numbers do not count.
    """
    if not numbers:
        return ()
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


def find_columns(boxes: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the column of each box (N, 4) of x, y, width, height, for boxes that stand in these rows (N,).

    The page is cut at right angles to its rows, at the widest gaps first, as in the X-Y cut (Nagy & Seth,
    "Hierarchical representation of optically scanned documents", 1984), but only where a cut parts boxes that
    stand in the same row: no row has two boxes in a column.
    """
    angle = np.arctan(_slope(boxes, rows))
    middles = _middles(boxes) @ [np.cos(angle), np.sin(angle)]
    order = np.argsort(middles, kind="stable")
    left, right = ((middles + side * boxes[:, 2] / 2)[order] for side in (-1, 1))
    gaps = np.minimum.accumulate(left[::-1])[::-1][1:] - np.maximum.accumulate(right)[:-1]
    columns = np.zeros(len(boxes), np.int64)  # in the order of the middles
    for gap in np.argsort(-gaps, kind="stable"):
        start, end = np.searchsorted(columns, [columns[gap], columns[gap] + 1])
        before, after = rows[order[start : gap + 1]], rows[order[gap + 1 : end]]
        if np.isin(before, after).any():
            columns[gap + 1 :] += 1
    return columns[np.argsort(order)]


def _middles(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return x and y of the middle of each box, (N, 2)."""
    return np.asarray(boxes[:, :2] + boxes[:, 2:] / 2, np.float64)


def _slope(boxes: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]) -> float:
    """Return by how many pixels the rows fall for each pixel to the right, by least squares."""
    middles = _middles(boxes)
    means = np.array([middles[rows == row].mean(axis=0) for row in rows])
    x, y = (middles - means).T
    spread = float(x @ x)
    return float(x @ y) / spread if spread else 0.0
