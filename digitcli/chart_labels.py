"""Where the labels of dots go in a chart: near, covering as little as possible. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DOT_PX, LABEL_PX, CHARACTER_PX = 3, 12, 6  # radius of a dot, height of a label, width of its characters
REACHES_PX = np.arange(DOT_PX + 2, 200, 7)  # from a dot to where its label is tried
DEGREES = (0, 180, 45, 315, 135, 225, 90, 270, 22, 338, 158, 202, 67, 292, 113, 247)  # 0 to the right
COVERED_PX, CROSSED_PX = 200, 40  # so much farther a label goes rather than covering something, or its line
ROUNDS = 4
SHARES = np.linspace(0, 1, 12)[:, None]  # where a line is looked at

Numbers = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels


@dataclass(frozen=True)
class Placed:
    """Where a label is; `line_to` is where a line from its dot ends if it stands apart."""

    box: Box
    line_to: tuple[float, float] | None


def place_labels(dots: Sequence[tuple[float, float]], labels: Sequence[str], bounds: Box) -> list[Placed]:
    """Each where the others leave room for it, several times over; all inside the bounds."""
    around = [np.array([x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX]) for x, y in dots]
    boxes: dict[int, Numbers] = {}
    lines: dict[int, Numbers] = {}
    for number in range(ROUNDS * len(dots)):
        index = number % len(dots)
        solid = np.array(around + [box for other, box in boxes.items() if other != index])
        crossing = [line for other, line in lines.items() if other != index]
        points = np.concatenate([np.empty((0, 2)), *crossing])
        width = float(CHARACTER_PX * len(labels[index]))
        boxes[index], line = _best(np.array(dots[index]), width, solid, points, bounds)
        lines.pop(index, None)
        if line is not None:
            lines[index] = line
    return [_placed(boxes[index], lines.get(index)) for index in range(len(dots))]


def _best(
    dot: Numbers, width: float, solid: Numbers, points: Numbers, bounds: Box
) -> tuple[Numbers, Numbers | None]:
    """The best of all boxes that are tried, and points along the line to it if it stands apart.

    `solid` are boxes, `points` points on lines, which it should not cover.
    """
    reach, degrees = (grid.ravel() for grid in np.meshgrid(REACHES_PX, DEGREES, indexing="ij"))
    right, down = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    left = dot[0] + right * reach - width * (1 - right) / 2
    upper = dot[1] + down * (reach + LABEL_PX / 2) - LABEL_PX / 2
    left = np.clip(left, bounds[0], bounds[2] - width)
    upper = np.clip(upper, bounds[1], bounds[3] - LABEL_PX)
    boxes = np.stack([left, upper, left + width, upper + LABEL_PX], axis=-1)  # C, 4
    to = np.clip(dot, boxes[:, :2], boxes[:, 2:]) - dot  # C, 2
    begin = np.minimum(1, (DOT_PX + 1) / np.maximum(np.hypot(*to.T), 1e-9))[:, None, None]
    lines = dot + to[:, None] * (begin + SHARES * (1 - begin))  # C, S, 2
    apart = reach > REACHES_PX[0]
    cost = reach + COVERED_PX * (_overlaps(boxes, solid).sum(1) + _holds(boxes, points).any(1))
    cost += CROSSED_PX * apart * _holds(solid, lines).any(-1).sum(0)
    best = int(cost.argmin())
    return boxes[best], lines[best] if apart[best] else None


def _overlaps(some: Numbers, others: Numbers) -> npt.NDArray[np.bool_]:
    """Which boxes (A, 4) overlap which others (B, 4): (A, B)."""
    one, other = some[:, None], others[None]
    overlaps: npt.NDArray[np.bool_] = np.all(
        (one[..., :2] < other[..., 2:]) & (other[..., :2] < one[..., 2:]), axis=-1
    )
    return overlaps


def _holds(boxes: Numbers, points: Numbers) -> npt.NDArray[np.bool_]:
    """Which boxes (A, 4) hold which points (..., 2): (A, ...)."""
    corners = boxes.reshape(len(boxes), *[1] * (points.ndim - 1), 4)
    holds: npt.NDArray[np.bool_] = np.all((corners[..., :2] < points) & (points < corners[..., 2:]), axis=-1)
    return holds


def _placed(box: Numbers, line: Numbers | None) -> Placed:
    left, upper, right, lower = box.tolist()
    return Placed((left, upper, right, lower), None if line is None else (line[-1, 0], line[-1, 1]))
