"""Where a hand sets its characters: side by side with the gaps of its style, which may be none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import INK_LEVEL, Glyph, Mask, Points, draw_strokes
from digitcli.synthesis.writer_style import CANVAS_PX, Writer

_NO_INK = 10**6  # beyond any pixel
_ROWS_ABOVE = 8 * CANVAS_PX  # of the line that are watched, and as many below
_JOIN_REACH = 0.9  # heights of a digit, as far as a pen stays down
_JOIN_WIDTH = 0.8  # of the pen's: it is moved faster there
_VERTICAL_REACH = 0.08  # heights of a digit: ink nearer than this above or below keeps a character off


@dataclass(frozen=True)
class Placed:
    """A character's ink (H, W), and the x, y of its upper left pixel."""

    mask: Mask
    x: int
    y: int

    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 around its ink."""
        x, y, width, height = cv2.boundingRect((self.mask > INK_LEVEL).astype(np.uint8))
        return self.x + x, self.y + y, self.x + x + width, self.y + y + height


@dataclass(frozen=True)
class Writing:
    """Characters side by side, and the strokes between them; the paper has no edges yet."""

    placed: Sequence[Placed]
    joins: Sequence[Points]
    join_px: float

    @property
    def left(self) -> int:
        """The first column of any mask."""
        return min(item.x for item in self.placed)

    @property
    def right(self) -> int:
        """The last column with ink."""
        return max(item.x + int(ink_profile(item.mask)[1].max()) for item in self.placed)

    @property
    def top(self) -> int:
        """The first row of any mask."""
        return min(item.y for item in self.placed)

    @property
    def bottom(self) -> int:
        """The row below any mask."""
        return max(item.y + len(item.mask) for item in self.placed)

    def draw(self, canvas: Mask, x: int, y: float) -> npt.NDArray[np.float32]:
        """Put it on the canvas (H, W), moved by x, y; gives the boxes (n, 4) there, x0 y0 x1 y1."""
        moved = [Placed(item.mask, item.x + x, round(item.y + y)) for item in self.placed]
        for item in moved:
            draw_glyph(canvas, item)
        if self.joins:
            draw_strokes(canvas, [points + np.array([x, y]) for points in self.joins], self.join_px)
        return np.array([item.box() for item in moved], np.float32).reshape(-1, 4)


def draw_glyph(canvas: Mask, item: Placed) -> None:
    """Lay ink on a canvas (H, W), the darker one staying; what lies beyond its edges is cut off."""
    height, width = canvas.shape
    x0, y0 = max(item.x, 0), max(item.y, 0)
    x1, y1 = min(item.x + item.mask.shape[1], width), min(item.y + item.mask.shape[0], height)
    if x0 < x1 and y0 < y1:
        part = item.mask[y0 - item.y : y1 - item.y, x0 - item.x : x1 - item.x]
        np.maximum(canvas[y0:y1, x0:x1], part, out=canvas[y0:y1, x0:x1])


def ink_profile(mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first and the last column with ink in each row of a mask (H, W)."""
    ink = mask > INK_LEVEL
    rows = ink.any(axis=1)
    left = np.where(rows, ink.argmax(axis=1), _NO_INK)
    right = np.where(rows, mask.shape[1] - 1 - ink[:, ::-1].argmax(axis=1), -_NO_INK)
    return left, right


def write_text(random: np.random.Generator, hand: Writer, text: str) -> Writing:
    """Set one character beside the other; text has at least one."""
    row = _Row(random, hand)
    for before, character in zip(" " + text, text, strict=False):
        row.append(before, character)
    return Writing(row.placed, row.joins, hand.pen_px * _JOIN_WIDTH)


class _Row:
    """A line as it grows: what is placed, and where its ink ends on the right in every row of pixels."""

    def __init__(self, random: np.random.Generator, hand: Writer) -> None:
        self.placed: list[Placed] = []
        self.joins: list[Points] = []
        self._random = random
        self._hand = hand
        self._style = hand.style
        self._drift = random.normal(0, 0.03 * hand.style.jitter)  # pixels down a pixel to the right
        self._edge = np.full(2 * _ROWS_ABOVE, -_NO_INK)
        self._end = 0
        self._pen: Points | None = None  # where the last stroke ended

    def append(self, before: str, character: str) -> None:
        """Write a character behind the one before it, which is a blank for the first."""
        glyph = self._hand.write(character)
        y = round(glyph.corner[1] + self._drop(character))
        y = min(max(y, -_ROWS_ABOVE // 2), _ROWS_ABOVE // 2)
        left, right = ink_profile(glyph.mask)
        gap_px = self._gap(before, character) * self._style.height_px
        x = self._place(left, y, gap_px) if self.placed else 0
        self.placed.append(Placed(glyph.mask, x, y))
        rows = self._edge[_ROWS_ABOVE + y :][: len(right)]
        np.maximum(rows, x + right, out=rows)
        style = self._style
        share = style.zero_joins if before == character == "0" else style.joins
        self._join(glyph, np.array([x, y]) - glyph.corner, share)
        self._end = max(self._end, x + int(right.max()))

    def _drop(self, character: str) -> float:
        """How many pixels too low a character stands: hands waver, and zeros and ones vary in height."""
        random, style = self._random, self._style
        drop_px = random.normal(0, 0.035 * style.jitter) * style.height_px + self._drift * self._end
        if character == "0" and style.zero_height < 1:
            stands = 1 - style.zero_raised * random.uniform(0.7, 1)
            drop_px += (1 - style.zero_height) * style.height_px * stands
        if character == "1" and style.one_height > 1:
            drop_px -= (style.one_height - 1) * style.height_px * random.uniform(0, 1)
        return float(drop_px)

    def _gap(self, before: str, character: str) -> float:
        """In heights of a digit."""
        random, style = self._random, self._style
        gap = style.gap + random.normal(0, 0.07 * style.jitter)
        if before == character == "0" and style.zero_gap is not None:
            gap = style.zero_gap + random.normal(0, 0.03)
        if not (before + character).strip().isdecimal():  # beside a mark
            gap = max(gap, 0.02) + abs(random.normal(0, 0.1))
        return float(gap)

    def _place(self, left: npt.NDArray[np.int64], y: int, gap_px: float) -> int:
        """The column at which a character of this profile keeps its gap, measured where it comes nearest."""
        height_px = self._style.height_px
        reach = max(1, int(_VERTICAL_REACH * height_px))
        edge = self._edge[_ROWS_ABOVE + y - reach :][: len(left) + 2 * reach].astype(np.float32)
        window = np.ones((2 * reach + 1, 1), np.uint8)
        near = cv2.dilate(edge.reshape(-1, 1), window).ravel()[reach:-reach]
        nearest = float(np.max(near - left))
        touching = nearest if nearest > -_NO_INK / 10 else self._end  # no row holds ink of both
        return max(
            round(touching + gap_px),
            int(self.placed[-1].x + 0.12 * height_px),
            int(self._end - 0.6 * height_px),
        )

    def _join(self, glyph: Glyph, offset: Points, share: float) -> None:
        """Draw the pen's way from the end of the last character, where this hand leaves it on the paper."""
        if not glyph.strokes:
            self._pen = None
            return
        if self._pen is not None and self._random.random() < share:
            start, end = self._pen, glyph.strokes[0][0] + offset
            if abs(end[0] - start[0]) < _JOIN_REACH * self._style.height_px:
                sag = np.array([0, self._random.normal(0, 0.08) * self._style.height_px])
                self.joins.append(np.array([start, (start + end) / 2 + sag, end], np.float32))
        self._pen = glyph.strokes[-1][-1] + offset
