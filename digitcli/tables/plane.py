"""Straighten a page, also one that is bent or photographed: rows become level, and columns upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Weight of the squared coefficients beside squared distances in heights of a digit: few lines bend nothing.
RIDGE = 1e-3
ROUNDS = 8
SCATTER = 0.15  # heights of a digit: a point that lies farther from its line counts less


@dataclass(frozen=True)
class Plane:
    """Where points of a page lie if it is straightened, in heights of a digit.

    centre, half: of the page, in pixels.
    unit: the height of a digit in pixels.
    down, across: coefficients of the polynomials.
    """

    centre: Floats
    half: float
    unit: float
    down: Floats
    across: Floats

    def place(self, points: npt.ArrayLike) -> Floats:
        """Return points (..., 2), x and y in pixels, as u and v (..., 2)."""
        scaled = (np.asarray(points, np.float64) - self.centre) / self.half
        x, y = scaled[..., 0], scaled[..., 1]
        u, v = x + _terms(y, x) @ self.across, y + _terms(x, y) @ self.down
        return np.stack([u, v], axis=-1) * self.half / self.unit

    def on_page(self, places: npt.ArrayLike) -> Floats:
        """Return where places (..., 2) of the plane lie on the page, x and y in pixels."""
        wanted = np.asarray(places, np.float64) * self.unit / self.half
        scaled = wanted
        for _ in range(ROUNDS):
            x, y = scaled[..., 0], scaled[..., 1]
            bent = np.stack([_terms(y, x) @ self.across, _terms(x, y) @ self.down], axis=-1)
            scaled = wanted - bent
        return np.asarray(scaled * self.half + self.centre)


@dataclass(frozen=True)
class Separators:
    """The rules that part rows, or columns.

    at: where each lies (R,), in ascending order.
    spans: from where to where each goes along itself (R, 2).
    """

    at: Floats
    spans: Floats

    def interval(self, places: npt.ArrayLike) -> Integers:
        """Return how many rules lie before each place."""
        return np.asarray(np.searchsorted(self.at, places), np.int64)

    def encloses(self, interval: int) -> bool:
        """Tell whether an interval has rules at both sides."""
        return 0 < interval < len(self.at)

    def span(self, interval: int) -> tuple[float, float] | None:
        """Return where an interval begins and ends; None if it has no rules at both sides."""
        return (float(self.at[interval - 1]), float(self.at[interval])) if self.encloses(interval) else None

    def width(self, interval: int) -> float:
        """Return the width of an interval."""
        span = self.span(interval)
        return np.inf if span is None else span[1] - span[0]

    def within(self, others: Separators, low: float, high: float) -> Separators:
        """Return the rules without those outside of the numbers, low to high, that make no cells with others.

        Few others go on to the edge of the paper or to the frame of a page.
        """
        start, end = 0, len(self.at)
        while start + 1 < end and self.at[start + 1] < low and not self._crosses(start, others):
            start += 1
        while end - 2 >= start and self.at[end - 2] > high and not self._crosses(end - 2, others):
            end -= 1
        return Separators(self.at[start:end], self.spans[start:end])

    def _crosses(self, rule: int, others: Separators) -> bool:
        """Tell whether half of the others cross the interval behind a rule."""
        middle = (self.at[rule] + self.at[rule + 1]) / 2
        crossing = (others.spans[:, 0] < middle) & (middle < others.spans[:, 1])
        return bool(len(crossing) and crossing.mean() >= 0.5)


def clusters(places: Floats, reach: float) -> list[list[int]]:
    """Group places (N,) in ascending order: each is within reach of the mean of its group before."""
    groups: list[list[int]] = []
    for index in np.argsort(places, kind="stable").tolist():
        if not groups or places[index] - places[groups[-1]].mean() >= reach:
            groups.append([])
        groups[-1].append(index)
    return groups


def covered(spans: Floats) -> float:
    """Return the length of the union of spans (N, 2)."""
    spans = spans[np.argsort(spans[:, 0])]
    reach = np.maximum.accumulate(np.concatenate([[-np.inf], spans[:-1, 1]]))
    return float(np.maximum(0, spans[:, 1] - np.maximum(spans[:, 0], reach)).sum())


@dataclass(frozen=True)
class PlacedDigits:
    """The digits of the numbers of a page on its plane.

    number: the index of the number of each digit (D,).
    index: which digit of it that is (D,).
    places: u and v of its centre (D, 2).
    widths: of the digits (D,).
    """

    number: Integers
    index: Integers
    places: Floats
    widths: Floats


def straighten(
    level: Sequence[Floats], upright: Sequence[Floats], size: tuple[int, int], unit: float
) -> Plane:
    """Return the plane in which lines, each of points (P, 2), are level, and others upright.

    A polynomial of the third degree gives all points of a line the same height: a perspective is nearly one
    of the second, and a bent page one of the third. Robust least squares (Huber, "Robust estimation of a
    location parameter", 1964).

    size: height and width of the page in pixels.
    """
    centre, half = np.array([size[1], size[0]]) / 2, max(size) / 2
    scale = unit / half
    down = _fit([(line - centre) / half for line in level], scale)
    across = _fit([(line[:, ::-1] - centre[::-1]) / half for line in upright], scale)
    return Plane(centre, half, unit, down, across)


def _terms(along: Floats, across: Floats) -> Floats:
    """Return the terms (..., 6) that vanish in the middle of the page."""
    return np.stack(
        [along, along * across, along**2, along**2 * across, along * across**2, along**3], axis=-1
    )


def _fit(lines: Sequence[Floats], scale: float) -> Floats:
    """Return the coefficients (6,) with which each line has one height; `scale` is that of a digit."""
    coefficients = np.zeros(6)
    if not lines:
        return coefficients
    points, owner = np.concatenate(lines), np.repeat(np.arange(len(lines)), [len(each) for each in lines])
    values = np.column_stack([_terms(points[:, 0], points[:, 1]), points[:, 1]]) / scale  # P, 7
    weights = np.ones(len(points))
    for _ in range(ROUNDS):
        totals = np.bincount(owner, weights)
        sums = np.stack([np.bincount(owner, weights * column) for column in values.T], axis=1)
        inner = values - (sums / totals[:, None])[owner]
        weighted = inner[:, :6] * weights[:, None]
        normal = weighted.T @ inner[:, :6] + RIDGE * np.eye(6) / scale**2
        coefficients = np.asarray(-np.linalg.solve(normal, weighted.T @ inner[:, 6]), np.float64)
        away = np.abs(inner[:, 6] + inner[:, :6] @ coefficients)
        weights = np.minimum(1.0, SCATTER / np.maximum(away, SCATTER))
    return coefficients
