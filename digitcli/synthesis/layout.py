"""Place the characters of a text side by side with the gaps of a writer's style, which may be negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import INK_LEVEL, Glyph, Mask, Points, draw_strokes
from digitcli.synthesis.writer_style import CANVAS_PX, Writer

_NO_INK = 10**6  # a column beyond any picture; it marks rows without ink
_ROWS_ABOVE = 8 * CANVAS_PX  # least number of rows above the line whose ink is tracked, and as many below
_HEIGHTS_ABOVE = 4  # the same in heights of a digit
_MAX_JOIN = 0.9  # heights of a digit; over longer distances, the pen is lifted
_JOIN_WIDTH = 0.8  # share of the pen's width; the pen moves faster between characters
_VERTICAL_REACH = 0.08  # heights of a digit; ink this far above or below still keeps a character away
_MIN_STEP = 0.12  # heights of a digit from the left side of one character to that of the next
_MAX_OVERLAP = 0.6  # heights of a digit by which a character may begin before the end of the ink


@dataclass(frozen=True)
class PlacedGlyph:
    """The ink of a character, uint8 (H, W), and the x and y of its upper left pixel."""

    mask: Mask
    x: int
    y: int

    def box(self) -> tuple[int, int, int, int]:
        """Return the box around its ink: x0, y0, x1, y1."""
        x, y, width, height = cv2.boundingRect(_ink(self.mask).astype(np.uint8))
        return self.x + x, self.y + y, self.x + x + width, self.y + y + height


@dataclass(frozen=True)
class Writing:
    """Characters side by side on a plane without edges.

    glyphs: the characters.
    joins: the strokes between them, points (P, 2).
    join_px: the width of these strokes.
    """

    glyphs: Sequence[PlacedGlyph]
    joins: Sequence[Points]
    join_px: float

    @property
    def left(self) -> int:
        """The first column of any mask."""
        return min(glyph.x for glyph in self.glyphs)

    @property
    def right(self) -> int:
        """The last column with ink."""
        return max(glyph.x + int(ink_profile(glyph.mask)[1].max()) for glyph in self.glyphs)

    @property
    def top(self) -> int:
        """The first row of any mask."""
        return min(glyph.y for glyph in self.glyphs)

    @property
    def bottom(self) -> int:
        """The row below the last row of any mask."""
        return max(glyph.y + len(glyph.mask) for glyph in self.glyphs)

    def draw(self, canvas: Mask, x: int, y: float) -> npt.NDArray[np.float32]:
        """Draw the writing on a canvas (H, W), moved by x and y; return the boxes (n, 4), x0 y0 x1 y1."""
        moved = [PlacedGlyph(glyph.mask, glyph.x + x, round(glyph.y + y)) for glyph in self.glyphs]
        for glyph in moved:
            draw_glyph(canvas, glyph)
        if self.joins:
            draw_strokes(canvas, [points + np.array([x, y]) for points in self.joins], self.join_px)
        return np.array([glyph.box() for glyph in moved], np.float32).reshape(-1, 4)


def draw_glyph(canvas: Mask, glyph: PlacedGlyph) -> None:
    """Draw a glyph on a canvas (H, W), keeping the darker ink; ink outside of the canvas is cut off."""
    height, width = canvas.shape
    x0, y0 = max(glyph.x, 0), max(glyph.y, 0)
    x1, y1 = min(glyph.x + glyph.mask.shape[1], width), min(glyph.y + glyph.mask.shape[0], height)
    if x0 < x1 and y0 < y1:
        visible = glyph.mask[y0 - glyph.y : y1 - glyph.y, x0 - glyph.x : x1 - glyph.x]
        np.maximum(canvas[y0:y1, x0:x1], visible, out=canvas[y0:y1, x0:x1])


def _ink(mask: Mask) -> npt.NDArray[np.bool_]:
    """Return which pixels of a mask are ink: in a mask that is pale everywhere, all that is not paper."""
    return mask > (INK_LEVEL if mask.max(initial=0) > INK_LEVEL else 0)


def ink_profile(mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and the last column with ink in each row of a mask (H, W)."""
    ink = _ink(mask)
    has_ink = ink.any(axis=1)
    left = np.where(has_ink, ink.argmax(axis=1), _NO_INK)
    right = np.where(has_ink, mask.shape[1] - 1 - ink[:, ::-1].argmax(axis=1), -_NO_INK)
    return left, right


def write_text(random: np.random.Generator, writer: Writer, text: str) -> Writing:
    """Write a text of at least one character, one character beside the other."""
    row = _Row(random, writer)
    for previous, character in zip(" " + text, text, strict=False):
        row.append(previous, character)
    return Writing(row.glyphs, row.joins, writer.pen_px * _JOIN_WIDTH)


class _Row:
    """A line as it grows: its glyphs, and where its ink ends on the right in every row of pixels."""

    def __init__(self, random: np.random.Generator, writer: Writer) -> None:
        self.glyphs: list[PlacedGlyph] = []
        self.joins: list[Points] = []
        self._random = random
        self._writer = writer
        self._style = writer.style
        self._drift = random.normal(0, 0.03 * writer.style.jitter)  # pixels down for each pixel to the right
        self._rows_above = max(_ROWS_ABOVE, int(_HEIGHTS_ABOVE * writer.style.height_px))
        self._right_edge = np.full(2 * self._rows_above, -_NO_INK)
        self._end = 0
        self._pen_position: Points | None = None  # where the last stroke ended

    def append(self, previous: str, character: str) -> None:
        """Write a character after the previous one, which is a blank for the first."""
        glyph = self._writer.write(character)
        y = round(glyph.corner[1] + self._sample_drop(character))
        y = min(max(y, -self._rows_above // 2), self._rows_above // 2)
        left, right = ink_profile(glyph.mask)
        gap_px = self._sample_gap(previous, character) * self._style.height_px
        x = self._find_column(left, y, gap_px) if self.glyphs else 0
        self.glyphs.append(PlacedGlyph(glyph.mask, x, y))
        rows = self._right_edge[self._rows_above + y :][: len(right)]
        np.maximum(rows, x + right, out=rows)
        style = self._style
        join_share = style.zero_joins if previous == character == "0" else style.joins
        self._join(glyph, np.array([x, y]) - glyph.corner, join_share)
        self._end = max(self._end, x + int(right.max()))

    def _sample_drop(self, character: str) -> float:
        """Return by how many pixels a character stands too low; zeros and ones vary in height."""
        random, style = self._random, self._style
        drop_px = random.normal(0, 0.035 * style.jitter) * style.height_px + self._drift * self._end
        if character == "0" and style.zero_height < 1:
            lowered = 1 - style.zero_raised * random.uniform(0.7, 1)
            drop_px += (1 - style.zero_height) * style.height_px * lowered
        if character == "1" and style.one_height > 1:
            drop_px -= (style.one_height - 1) * style.height_px * random.uniform(0, 1)
        return float(drop_px)

    def _sample_gap(self, previous: str, character: str) -> float:
        """Return the distance to the previous character, in heights of a digit."""
        random, style = self._random, self._style
        gap = style.gap + random.normal(0, 0.07 * style.jitter)
        if previous == character == "0" and style.zero_gap is not None:
            gap = style.zero_gap + random.normal(0, 0.03)
        if not (previous + character).strip().isdecimal():  # marks keep a distance
            gap = max(gap, 0.02) + abs(random.normal(0, 0.1))
        return float(gap)

    def _find_column(self, left: npt.NDArray[np.int64], y: int, gap_px: float) -> int:
        """Return the column at which a character with this left profile keeps its gap at the nearest row."""
        height_px = self._style.height_px
        reach = max(1, int(_VERTICAL_REACH * height_px))
        edge = self._right_edge[self._rows_above + y - reach :][: len(left) + 2 * reach].astype(np.float32)
        window = np.ones((2 * reach + 1, 1), np.uint8)
        nearby_edge = cv2.dilate(edge.reshape(-1, 1), window).ravel()[reach:-reach]
        nearest = float(np.max(nearby_edge - left))
        touching = nearest if nearest > -_NO_INK / 10 else self._end  # no row has ink of both
        return max(
            round(touching + gap_px),
            int(self.glyphs[-1].x + _MIN_STEP * height_px),
            int(self._end - _MAX_OVERLAP * height_px),
        )

    def _join(self, glyph: Glyph, offset: Points, share: float) -> None:
        """Draw the pen's way from the end of the last character, with the probability `share`."""
        if not glyph.strokes:
            self._pen_position = None
            return
        if self._pen_position is not None and self._random.random() < share:
            start, end = self._pen_position, glyph.strokes[0][0] + offset
            if abs(end[0] - start[0]) < _MAX_JOIN * self._style.height_px:
                sag = np.array([0, self._random.normal(0, 0.08) * self._style.height_px])
                self.joins.append(np.array([start, (start + end) / 2 + sag, end], np.float32))
        self._pen_position = glyph.strokes[-1][-1] + offset
