"""Draw the marks of pages that are no writing: rules, frames, ticks, stamps, scribbles, discs and shapes.

All sizes and shares were chosen by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.page import Kind, Page
from digitcli.synthesis.stamps import Scribe, Stamp, WritingRoom
from digitcli.synthesis.texts import sample_word


@dataclass(frozen=True)
class Desk:
    """What a layout works with: a page, those who write on it, and the height of a digit in pixels."""

    random: np.random.Generator
    page: Page
    room: WritingRoom
    scribe: Scribe
    height_px: float

    def chance(self, share: float) -> bool:
        """Return True in this share of the calls."""
        return bool(self.random.random() < share)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between two others."""
        return float(self.random.uniform(min(low, high), max(low, high)))

    def number(self, text: str) -> Stamp:
        """Write a number, sometimes by another scribe."""
        return self.scribe.number(self.random, text, self.height_px * self.uniform(0.92, 1.08))

    def word(self, scribe: Scribe, smallest: float, largest: float) -> Stamp:
        """Let someone write a random word; the range of its size is in heights of a digit."""
        return scribe.word(
            self.random, sample_word(self.random), self.height_px * self.uniform(smallest, largest)
        )

    def count(self, fewest: int, end: int) -> int:
        """Return a number from `fewest` up to the one before `end`."""
        return int(self.random.integers(fewest, end))

    def anywhere(self) -> npt.NDArray[np.float64]:
        """Return a point x, y of the page."""
        return np.asarray(self.random.uniform([0, 0], [self.page.width, self.page.height]), np.float64)

    def label_scribe(self) -> Scribe:
        """Return who writes the words: mostly a printer or a penman, for pens have few letters."""
        kind = self.random.random()
        if kind < 0.45:
            return self.room.printer(self.random)
        return self.room.penman(self.random) if kind < 0.8 else self.scribe


def put_freely(
    desk: Desk, stamp: Stamp, tilt: float, kind: Kind = Kind.OTHER, text: str = ""
) -> tuple[float, float, float, float] | None:
    """Put a stamp at a free place, turned at random by a standard deviation of `tilt` degrees.

    Return its box; None if there was no free place.
    """
    degrees = float(desk.random.normal(0, tilt))
    page, grown = desk.page, abs(np.sin(np.radians(degrees))) * stamp.width / 2
    across, along = 0.35 * desk.height_px, 0.175 * desk.height_px + grown
    for _ in range(6):
        x = desk.uniform(-0.05, 1) * max(page.width - 0.9 * stamp.width, 1)
        y = desk.uniform(-0.02, 1) * max(page.height - 0.9 * stamp.height, 1)
        right, bottom = x + stamp.width, y + stamp.height
        is_free = page.is_free((x - across, y - along, right + across, bottom + along))
        if is_free and page.put(stamp, x, y, kind, text, degrees):
            return x, y, right, bottom
    return None


def draw_table_lines(
    desk: Desk, xs: npt.NDArray[np.floating], ys: npt.NDArray[np.floating], *, rows: bool, columns: bool
) -> None:
    """Draw the lines between the rows of a table, between its columns, both or none."""
    width_px, level = rule_width(desk), desk.uniform(60, 255)
    for y in ys if rows else ():
        desk.page.line([(xs[0], y), (xs[-1], y + desk.random.normal(0, 0.5))], width_px, level)
    for x in xs if columns else ():
        desk.page.line([(x, ys[0]), (x + desk.random.normal(0, 0.5), ys[-1])], width_px, level)


def draw_edges_of_cell(desk: Desk) -> None:
    """Draw what a picture that was cut out of a form shows of the frame of its cell."""
    width, height = desk.page.width, desk.page.height
    pen, level = rule_width(desk), desk.uniform(60, 255)
    for side in np.flatnonzero(desk.random.random(4) < 0.5):
        ends = desk.uniform(-0.02, 0.1) + desk.random.normal(0, 0.02, 2)
        along = np.array([-0.1, 1.1])
        x, y = (along, ends) if side < 2 else (ends, along)
        points = np.stack([1 - x if side % 2 else x, 1 - y if side % 2 else y], axis=1)
        desk.page.line(points * [width, height], pen, level)


def rule_width(desk: Desk) -> float:
    """Return the width of a ruled line in pixels."""
    return max(1.0, desk.height_px * float(np.exp(desk.uniform(np.log(0.02), np.log(0.12)))))


def decorate(desk: Desk, box: tuple[float, float, float, float]) -> None:
    """Underline, frame, circle or cross a number, or show it light on dark."""
    x0, y0, x1, y1 = box
    kind, height, pen = desk.random.random(), y1 - y0, rule_width(desk)
    level = desk.uniform(100, 255)
    if kind < 0.12:
        margin = desk.uniform(0.1, 0.5) * height
        desk.page.reverse((x0 - margin, y0 - margin / 2, x1 + margin, y1 + margin / 2))
    elif kind < 0.4:
        y = y1 + desk.uniform(-0.02, 0.25) * height
        start = x0 - desk.uniform(-0.2, 0.4) * height, y
        end = x1 + desk.uniform(-0.2, 0.4) * height, y + desk.random.normal(0, 0.06) * height
        desk.page.line([start, end], pen, level)
    elif kind < 0.65:
        margin = desk.uniform(0.05, 0.4) * height
        desk.page.frame((x0 - margin, y0 - margin, x1 + margin, y1 + margin), pen, level)
    elif kind < 0.9:
        angles = np.linspace(0, desk.uniform(5.8, 7.5), 40) + desk.uniform(0, 6)
        radii = np.array([(x1 - x0) / 2 + desk.uniform(0.1, 0.5) * height, height * desk.uniform(0.6, 0.95)])
        centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        desk.page.line(centre + radii * directions(angles), pen, level)
    else:
        ends = [(x0 - 0.1 * height, desk.uniform(y0, y1)), (x1 + 0.1 * height, desk.uniform(y0, y1))]
        desk.page.line(ends, pen * 0.6, level * 0.6)


def draw_tick(desk: Desk, x: float, y: float) -> None:
    """Draw a tick, a cross or a dash."""
    size, kind = desk.height_px * desk.uniform(0.3, 0.9), desk.random.random()
    pen = max(1.0, desk.height_px * desk.uniform(0.03, 0.15))
    left, right, top, bottom = x - size / 2, x + size / 2, y - size / 2, y + size / 2
    if kind < 0.35:
        desk.page.line([(left, y), (x - size / 6, y + size / 3), (right, top)], pen, 255)
    elif kind < 0.6:
        desk.page.line([(left, top), (right, bottom)], pen, 255)
        desk.page.line([(right, top), (left, bottom)], pen, 255)
    else:
        desk.page.line([(left, y), (right, y + desk.random.normal(0, 0.1) * size)], pen, 255)


def draw_rubber_stamp(desk: Desk) -> None:
    """Draw a round or square stamp: a pale double frame around a turned word."""
    size, centre = desk.uniform(2, 6) * desk.height_px, desk.anywhere()
    level, angle, ratio = desk.uniform(60, 200), desk.uniform(-0.5, 0.5), desk.uniform(0.4, 1)
    corners = np.linspace(0, 2 * np.pi, 40 if desk.chance(0.5) else 5) + angle
    for radius in (size, 0.85 * size):
        outline = centre + radius * np.stack([np.cos(corners), ratio * np.sin(corners)], axis=1)
        desk.page.line(outline, rule_width(desk), level)
    word = desk.room.printer(desk.random).word(desk.random, sample_word(desk.random).upper(), 0.3 * size)
    x, y = centre - np.array([word.width, word.height]) / 2
    desk.page.put(word, x, y, Kind.OTHER, "", float(np.degrees(-angle)))


def draw_curve(desk: Desk) -> None:
    """Draw a scribble, an arrow or a signature: a random walk of a pen."""
    steps, start = desk.count(3, 25), desk.anywhere()
    path = start + np.cumsum(desk.random.normal(0, desk.uniform(0.2, 1) * desk.height_px, (steps, 2)), axis=0)
    fine = np.linspace(0, steps - 1, 4 * steps)
    axes = [np.convolve(np.interp(fine, np.arange(steps), axis), np.ones(5) / 5, "valid") for axis in path.T]
    desk.page.line(
        np.stack(axes, axis=1), max(1.0, desk.height_px * desk.uniform(0.03, 0.2)), desk.uniform(120, 255)
    )


def draw_discs(desk: Desk) -> None:
    """Draw screws, buttons, coins or punched holes at a free place: discs with a rim, alone or in a row.

    Unlike a zero, a disc is filled, and may have a slot, a cross or a hole.
    """
    radius, count = desk.uniform(0.25, 2) * desk.height_px, int(desk.random.choice([1, 1, 2, 3, 4, 5, 6]))
    pitch, (x, y) = desk.uniform(2.1, 4) * radius, desk.anywhere()
    if not desk.page.is_free((x - radius, y - radius, x + (count - 1) * pitch + radius, y + radius)):
        return
    fill, rim, width_px = desk.uniform(40, 255), desk.uniform(40, 255), rule_width(desk)
    angle, bars = desk.uniform(0, np.pi), int(desk.random.integers(3))
    for number in range(count):
        centre = np.array([x + number * pitch, y]) + desk.random.normal(0, 0.05 * radius, 2)
        place = np.round(centre).astype(int).tolist()
        cv2.circle(desk.page.layers.rules, place, max(1, round(radius)), int(fill), -1, cv2.LINE_AA)
        angles = np.linspace(0, 2 * np.pi, 24)
        desk.page.line(centre + radius * directions(angles), width_px, rim)
        if bars == 0 and desk.chance(0.5):
            cv2.circle(desk.page.layers.rules, place, max(1, round(0.4 * radius)), int(rim), -1, cv2.LINE_AA)
        for turn in range(bars):
            half = 0.8 * radius * directions(np.array([angle + turn * np.pi / 2]))[0]
            desk.page.line([centre - half, centre + half], width_px, rim)


def directions(angles: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return the points (n, 2) of the unit circle at angles (n,), in radians."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def draw_shape(desk: Desk) -> None:
    """Draw a filled polygon or ellipse, sharp or blurred, as photographs show things."""
    centre = desk.anywhere()
    radii = desk.random.uniform(0.5, 5, 2) * desk.height_px
    angles = np.sort(desk.random.uniform(0, 2 * np.pi, desk.count(3, 14)))
    outline = centre + radii * directions(angles)
    layer = desk.page.layers.rules
    cv2.fillPoly(layer, [np.round(outline).astype(np.int32)], int(desk.uniform(30, 256)), cv2.LINE_AA)
    if desk.chance(0.3):
        layer[:] = cv2.GaussianBlur(layer, (0, 0), desk.uniform(0.5, 0.3 * desk.height_px))
