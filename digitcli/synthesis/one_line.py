"""Fill a page with one line that was cut out closely, such as an amount, and what such a cut shows around it.

All sizes and shares were chosen by hand; see `shares.toml` for how often each mark occurs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import draw_strokes
from digitcli.synthesis.page import Kind, Page
from digitcli.synthesis.page_marks import Desk, rule_width
from digitcli.synthesis.shares import sample
from digitcli.synthesis.stamps import Stamp
from digitcli.synthesis.texts import LOWER, UPPER, sample_amount, sample_number

AMOUNTS_SHARE = 0.5  # of the lines are amounts, and a fifth of the others
WIDE_MARGIN_SHARE = 0.12  # of the lines have a wide margin at the left, and as many at the right
WIDE_MARGIN = (0.2, 1.5)  # its range, in heights of the picture
CUT_OFF = 0.06  # of the height of the picture, by which writing may be cut off at an end


@dataclass(frozen=True)
class Around:
    """A desk with one line on its page: the box around the line, its characters, and how much rules slope.

    boxes: float32 (n, 4), x0 y0 x1 y1 of the characters.
    """

    desk: Desk
    boxes: npt.NDArray[np.float32]
    slope: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box x0, y0, x1, y1 around the line."""
        x0, y0 = self.boxes[:, :2].min(axis=0)
        x1, y1 = self.boxes[:, 2:].max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    def rule(self, y: float) -> None:
        """Draw a ruled line at a height in pixels."""
        width = self.desk.page.width
        self.desk.page.line([(0, y), (width, y + self.slope * width)], rule_width(self.desk), self.level())

    def level(self) -> float:
        """Return how dark a mark is, up to 255."""
        return self.desk.uniform(70, 255)

    def pen(self, points: npt.ArrayLike, width: float = 0.08, level: float = 255) -> None:
        """Draw with a pen; its width is in heights of a digit."""
        strokes = [np.asarray(points, np.float32)]
        draw_strokes(
            self.desk.page.layers.writing, strokes, max(1.0, width * self.desk.height_px), int(level)
        )


def sample_line_text(random: np.random.Generator) -> str:
    """Return a random amount, or a number of any kind."""
    return sample_amount(random) if random.random() < AMOUNTS_SHARE else sample_number(random)


def page_of_one_line(desk_on: Callable[[Page], Desk], line: Stamp, height_px: int, text: str) -> Page:
    """Return a page of a height in pixels, as wide as a line and its margins, with what stands around it."""
    random = desk_on(Page.blank(1, 1)).random
    margins = np.abs(random.normal(0, 0.21, 2)) + random.uniform(-CUT_OFF, CUT_OFF, 2)
    margins += np.where(random.random(2) < WIDE_MARGIN_SHARE, random.uniform(*WIDE_MARGIN, 2), 0)
    left, right = (margins * height_px).tolist()
    desk = desk_on(Page.blank(height_px, max(8, round(left + line.width + right))))
    spare, overlap = height_px - line.height, 0.03 * height_px
    y = random.uniform(-overlap, spare + overlap) if spare > 0 else spare / 2
    desk.page.put(line, left, y, Kind.NUMBER, text)
    boxes = line.boxes + np.array([left, y, left, y], np.float32)
    around = Around(desk, boxes, float(random.normal(0, 0.01)))
    for name in sample(random, "around"):
        AROUND[name](around)
    return desk.page


def _rule_below(around: Around) -> None:
    around.rule(around.box[3] + around.desk.uniform(-0.12, 0.4) * around.desk.height_px)


def _rule_above(around: Around) -> None:
    around.rule(around.box[1] - around.desk.uniform(0, 0.4) * around.desk.height_px)


def _frame(around: Around) -> None:
    (x0, y0, x1, y1), height = around.box, around.desk.height_px
    left, top, right, bottom = (around.desk.uniform(0.05, most) * height for most in (0.6, 0.3, 0.6, 0.3))
    around.desk.page.frame(
        (x0 - left, y0 - top, x1 + right, y1 + bottom), rule_width(around.desk), around.level()
    )


def _cells(around: Around) -> None:
    """Draw the cells of a form, one around each character."""
    (x0, y0, x1, y1), desk = around.box, around.desk
    margin, pen, level = desk.uniform(0.05, 0.4) * desk.height_px, rule_width(desk), around.level()
    walls = [x0 - margin, *((around.boxes[:-1, 2] + around.boxes[1:, 0]) / 2).tolist(), x1 + margin]
    top, bottom = y0 - margin, y1 + margin
    for x in walls:
        desk.page.line([(x, top), (x, bottom)], pen, level)
    for y in (top, bottom) if desk.chance(0.8) else (bottom,):
        desk.page.line([(walls[0], y), (walls[-1], y)], pen, level)


def _edge(around: Around) -> None:
    page, desk = around.desk.page, around.desk
    inset = desk.uniform(0, 0.08) * page.height
    x = inset if desk.chance(0.5) else page.width - 1 - inset
    lean = desk.random.normal(0, 0.02) * page.height
    desk.page.line([(x, 0), (x + lean, page.height)], rule_width(desk), around.level())


def _tips(around: Around, across: float, along: float, *, turned: bool) -> None:
    """Draw tips of writing that reach into the picture from an edge.

    across, along: the sides of the picture, in pixels.
    turned: whether the edge is at the left or the right.
    """
    desk = around.desk
    for _ in range(desk.count(1, 4)):
        start, depth = desk.uniform(0, along), desk.uniform(0.03, 0.22) * desk.page.height
        width, is_low = desk.uniform(0.05, 0.5) * desk.page.height, desk.chance(0.5)
        ys = np.array([-2, depth, -2]) if is_low else across + np.array([1, -depth, 1])
        xs = start + np.array([0, desk.uniform(0.3, 0.7) * width, width])
        points = np.stack([ys, xs] if turned else [xs, ys], axis=1)
        around.pen(points[: desk.count(2, 4)], level=desk.uniform(150, 255))


def _lines_beside(around: Around) -> None:
    page = around.desk.page
    _tips(around, page.height, page.width, turned=False)


def _words_beside(around: Around) -> None:
    page = around.desk.page
    _tips(around, page.width, page.height, turned=True)


def _letters(around: Around) -> None:
    """Write letters before or after the line, for example those of a currency."""
    desk, (x0, y0, x1, y1) = around.desk, around.box
    scribe = desk.scribe if desk.chance(0.5) else desk.label_scribe()
    text = "".join(desk.random.choice(list(LOWER + UPPER), desk.count(1, 5)))
    word, gap = (
        scribe.word(desk.random, text, desk.height_px * desk.uniform(0.5, 1)),
        desk.uniform(0.1, 0.6) * desk.height_px,
    )
    x = x0 - gap - word.width if desk.chance(0.5) else x1 + gap
    desk.page.put(word, x, (y0 + y1 - word.height) / 2, Kind.OTHER)


def _specks(around: Around) -> None:
    for _ in range(around.desk.count(1, 12)):
        point = around.desk.anywhere()
        end = point + around.desk.random.normal(0, 0.06 * around.desk.height_px, 2)
        around.pen([point, end], around.desk.uniform(0.02, 0.06), around.level())


def _scribble(around: Around) -> None:
    desk, (x0, y0, x1, y1) = around.desk, around.box
    path = np.cumsum(desk.random.normal(0, 0.15 * desk.height_px, (desk.count(4, 12), 2)), axis=0)
    x = x0 - 0.5 * desk.height_px if desk.chance(0.5) else x1 + 0.7 * desk.height_px
    around.pen(path + [x, (y0 + y1) / 2])


def _hash(around: Around) -> None:
    """Draw crossed bars behind the line, with which people keep others from adding digits."""
    desk, (_, y0, x1, y1) = around.desk, around.box
    size, middle = desk.uniform(0.4, 1) * desk.height_px, (y0 + y1) / 2
    x = x1 + desk.uniform(0.2, 0.5) * desk.height_px
    for _ in range(2):
        shift = desk.uniform(-0.25, 0.25) * size
        around.pen([(x, middle + shift), (x + size, middle + shift + desk.random.normal(0, 0.1) * size)])
        foot = x + desk.uniform(0.2, 0.6) * size
        around.pen([(foot + desk.uniform(0, 0.4) * size, middle - size / 2), (foot, middle + size / 2)])


def _strike(around: Around) -> None:
    """Draw one paler or thinner stroke across the line or a part of it, which is still to be read."""
    (x0, y0, x1, y1), desk = around.box, around.desk
    ends = (
        desk.random.uniform([x0, y0], [x1, y1], (2, 2)) + desk.random.normal(0, 0.3, (2, 2)) * desk.height_px
    )
    around.pen(ends, desk.uniform(0.02, 0.07), desk.uniform(60, 200))


AROUND: dict[str, Callable[[Around], None]] = {
    "rule_below": _rule_below,
    "rule_above": _rule_above,
    "frame": _frame,
    "cells": _cells,
    "edge": _edge,
    "lines_beside": _lines_beside,
    "words_beside": _words_beside,
    "letters": _letters,
    "specks": _specks,
    "scribble": _scribble,
    "hash": _hash,
    "strike": _strike,
}
