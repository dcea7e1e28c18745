"""A writer: the style that stays the same along a line, its characters, and how they stand side by side."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import (
    INK_LEVEL,
    Glyph,
    Mask,
    Points,
    draw_mark,
    draw_strokes,
    glyph_of_image,
    glyph_of_strokes,
)
from digitcli.synthesis.strokes import DigitStrokes, Stroke, WriterStrokes

CANVAS_PX = 80  # height of the canvas: lines are drawn at twice the height at which they are read
IMAGE_SHARE = 0.05  # of the digits of a writer with strokes are images of MNIST all the same
MARK_SLANT = 0.3  # slant of the marks below, as a share of the digits' slant
SLANTED_MARKS = ",-="
REPEAT_SHARE = 0.8  # of the digits of a writer who repeats are the same sample as before

_NO_INK = 10**6  # a column beyond any picture; it marks rows without ink
_ROWS_ABOVE = 8 * CANVAS_PX  # least number of rows above the line whose ink is tracked, and as many below
_HEIGHTS_ABOVE = 4  # the same in heights of a digit
_MAX_JOIN = 0.9  # heights of a digit; over longer distances, the pen is lifted
_JOIN_WIDTH = 0.8  # share of the pen's width; the pen moves faster between characters
_VERTICAL_REACH = 0.08  # heights of a digit; ink this far above or below still keeps a character away
_MIN_STEP = 0.12  # heights of a digit from the left side of one character to that of the next
_MAX_OVERLAP = 0.6  # heights of a digit by which a character may begin before the end of the ink


@dataclass(frozen=True)
class Style:
    """The properties of a writer that stay the same along a line.

    Lengths are in heights of a digit unless their name or comment says otherwise.
    """

    height_px: float  # height of a digit on the canvas, in pixels
    pen: float  # width of the pen
    slant: float  # how far the top of a digit lies to the right of its foot
    width: float  # width of digits; 1 as in the source
    repeats: bool  # whether the writer writes a digit much the same way each time
    joins: float  # share of the gaps between digits in which the pen stays on the paper
    zero_joins: float  # the same for gaps between zeros
    gap: float  # distance between digits; negative if they touch
    zero_height: float  # height of zeros
    zero_width: float  # width of small zeros, which may be flat
    zero_raised: float  # small zeros stand on the line at 0 and hang from the top at 1
    zero_gap: float | None  # distance between zeros, if it differs from that of other digits
    one_height: float  # height of ones
    one_slant: float  # slant of ones in addition to that of all digits
    smoothing: float  # how much the corners of strokes are rounded
    wobble: float  # how far strokes are bent
    forms: float  # how far the form of a digit, which is the same along the line, is from that of its source
    jitter: float  # how much one digit differs from the next; 1 is usual


def sample_style(random: np.random.Generator) -> Style:
    """Return a random style of handwriting; the distributions were chosen by hand."""
    joins = 0.6 if random.random() < 0.18 else 0.0
    return Style(
        height_px=CANVAS_PX * _choose(random, 0.35, random.uniform(0.42, 0.62), random.uniform(0.55, 0.95)),
        pen=min(max(_log_normal(random, 0.085, 0.45), 0.03), 0.24),
        slant=random.normal(0.15, 0.25),
        width=_log_normal(random, 1, 0.18),
        repeats=random.random() < 0.4,
        joins=joins,
        zero_joins=0.9 if random.random() < 0.25 else joins,
        gap=_choose(random, 0.75, random.normal(0.12, 0.10), random.uniform(0.15, 0.7)),
        zero_height=random.uniform(0.3, 0.95) if random.random() < 0.4 else 1.0,
        zero_width=random.uniform(1, 1.7) if random.random() < 0.3 else 1.0,
        zero_raised=float(random.choice([0, 0, 0.5, 1])),
        zero_gap=random.normal(-0.03, 0.06) if random.random() < 0.35 else None,
        one_height=random.uniform(1, 1.35) if random.random() < 0.4 else 1.0,
        one_slant=random.normal(0.15, 0.15) if random.random() < 0.4 else 0.0,
        smoothing=random.uniform(0, 0.8),
        wobble=random.uniform(0.02, 0.06),
        forms=random.uniform(0, 0.2),
        jitter=1.0,
    )


def sample_printed_style(random: np.random.Generator) -> Style:
    """Return a random style of a printer or a display."""
    return dataclasses.replace(
        sample_style(random),
        slant=0.0 if random.random() < 0.7 else random.uniform(0, 0.3),
        gap=random.uniform(0.08, 0.4),
        zero_height=1.0,
        zero_gap=None,
        one_height=1.0,
        joins=0.0,
        zero_joins=0.0,
        one_slant=0.0,
        smoothing=0.0,
        wobble=0.0,
        forms=0.0,
        jitter=0.1,
    )


@dataclass(frozen=True)
class Form:
    """How a writer's digit differs from its source all along a line.

    width: its width; 1 as in the source.
    top_width: by which share of the width the top is wider, and the foot narrower.
    waist: above 1, the middle lies higher.
    """

    width: float
    top_width: float
    waist: float

    def apply(self, points: Stroke, middle: float) -> Stroke:
        """Deform points (P, 2), in heights of the digit, about a vertical axis at `middle`."""
        x, y = points.T
        spread = np.maximum(1 + self.top_width * (1 - 2 * y), 0.4)
        y_inside = np.clip(y, 0, 1)
        lifted_y = y - y_inside + y_inside**self.waist
        return np.stack([middle + (x - middle) * spread, lifted_y], axis=1).astype(np.float32)


def sample_form(random: np.random.Generator, spread: float) -> Form:
    """Return a random form; `spread` is the standard deviation."""
    width, waist = _log_normal(random, 1, spread / 2), _log_normal(random, 1, spread)
    return Form(width, random.normal(0, spread), waist)


class Writer:
    """Writes one character after the other in one style, and remembers how it wrote each digit before.

    Args:
        style: the properties that stay the same.
        images: for each digit, images of MNIST (N, 28, 28) to write with.
        strokes: the strokes to write with, or None to write with the images alone.
        random: the source of all variation.
    """

    def __init__(
        self,
        style: Style,
        images: Sequence[Mask],
        strokes: WriterStrokes | None,
        random: np.random.Generator,
    ) -> None:
        self.style = style
        self.pen_px = style.pen * style.height_px
        self._images = images
        self._strokes = strokes
        self._random = random
        self._last_sample: dict[int, int] = {}  # digit -> index of the sample that was written last
        self._forms = [sample_form(random, style.forms) for _ in range(10)]

    def at_height(self, height_px: float) -> Writer:
        """Return the same writer, who writes digits of another height."""
        writer = copy.copy(self)
        writer.style = dataclasses.replace(self.style, height_px=height_px)
        writer.pen_px = self.style.pen * height_px
        return writer

    def write(self, character: str) -> Glyph:
        """Return the ink of a digit or a mark; its origin is the top left of a digit of full height."""
        if not character.isdecimal():
            return self._write_mark(character)
        digit = int(character)
        to_pixels, height_px = self._sample_transform(digit)
        pen_px = self.pen_px * _log_normal(self._random, 1, 0.05)
        if self._strokes is not None and self._random.random() < 1 - IMAGE_SHARE:
            strokes = self._deform_sample(self._strokes[digit], digit)
            return glyph_of_strokes([stroke @ to_pixels.T for stroke in strokes], pen_px)
        images = self._images[digit]
        return glyph_of_image(images[self._random.integers(len(images))], to_pixels, height_px, pen_px)

    def _write_mark(self, mark: str) -> Glyph:
        strokes = [stroke * np.float32(self.style.height_px) for stroke in draw_mark(self._random, mark)]
        pen_px = self.pen_px * (self._random.uniform(1, 1.7) if mark == "." else 1)
        if mark in SLANTED_MARKS:
            shear = np.array([[1, -self.style.slant * MARK_SLANT], [0, 1]], np.float32)
            strokes = [stroke @ shear.T for stroke in strokes]
        # Without strokes, because marks are not joined to their neighbours.
        return dataclasses.replace(glyph_of_strokes(strokes, max(1, pen_px)), strokes=())

    def _sample_transform(self, digit: int) -> tuple[npt.NDArray[np.float32], float]:
        """Return a matrix (2, 2) from heights of the digit to pixels, and the height in pixels."""
        style, random = self.style, self._random
        height_px = style.height_px * _log_normal(random, 1, 0.08 * style.jitter)
        height_px *= {0: style.zero_height, 1: style.one_height}.get(digit, 1)
        width = style.width * self._forms[digit].width * _log_normal(random, 1, 0.09 * style.jitter)
        if digit == 0 and style.zero_height < 1:
            width *= style.zero_width
        shear = style.slant + random.normal(0, 0.07 * style.jitter) + (style.one_slant if digit == 1 else 0)
        angle = random.normal(0, 0.05 * style.jitter)
        cosine, sine = math.cos(angle), math.sin(angle)
        rotation = np.array([[cosine, -sine], [sine, cosine]])
        return (rotation @ np.array([[width, -shear], [0, 1]]) * height_px).astype(np.float32), height_px

    def _deform_sample(self, samples: Sequence[DigitStrokes], digit: int) -> DigitStrokes:
        """Return one of the writer's samples, smoothed, and bent by a slow wave along each axis."""
        random, style = self._random, self.style
        if not (style.repeats and digit in self._last_sample and random.random() < REPEAT_SHARE):
            self._last_sample[digit] = int(random.integers(len(samples)))
        amplitude = np.diag(random.normal(0, style.wobble, (2, 2)))
        phase, frequency = random.uniform(0, 2 * math.pi, 2), random.uniform(2, 5, 2)
        sample = samples[self._last_sample[digit]]
        x = np.concatenate([stroke[:, 0] for stroke in sample])
        middle = float(x.min() + x.max()) / 2
        deformed = []
        for stroke in sample:
            points = self._forms[digit].apply(smooth(stroke, style.smoothing), middle)
            wave = amplitude * np.sin(frequency * points[:, ::-1] + phase)  # P, 2: x by y, and y by x
            deformed.append(points + wave.astype(np.float32))
        return deformed


def smooth(stroke: Stroke, amount: float) -> Stroke:
    """Average points (P, 2) with their neighbours; strokes of fewer than five points stay as they are."""
    if len(stroke) < 5:
        return stroke
    padded = np.pad(stroke, ((1, 1), (0, 0)), mode="edge")
    neighbours = np.float32(amount) * (padded[:-2] + padded[2:])
    return np.asarray((padded[1:-1] + neighbours) / np.float32(1 + 2 * amount), np.float32)


def _log_normal(random: np.random.Generator, median: float, spread: float) -> float:
    """Return a random positive number whose logarithm has the standard deviation `spread`."""
    return math.exp(random.normal(math.log(median), spread))


def _choose(random: np.random.Generator, share: float, first: float, second: float) -> float:
    """Return the first number with the probability `share`, else the second."""
    return float(random.choice([first, second], p=[share, 1 - share]))


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

    def bounds(self) -> tuple[int, int, int, int]:
        """Return the first column and row of any mask, the last column with ink, the row below all masks."""
        left, top = min(glyph.x for glyph in self.glyphs), min(glyph.y for glyph in self.glyphs)
        right = max(glyph.x + int(ink_profile(glyph.mask)[1].max()) for glyph in self.glyphs)
        return left, top, right, max(glyph.y + len(glyph.mask) for glyph in self.glyphs)

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
    style, height_px = writer.style, writer.style.height_px
    drift = random.normal(0, 0.03 * style.jitter)  # pixels down for each pixel to the right
    rows_above = max(_ROWS_ABOVE, int(_HEIGHTS_ABOVE * height_px))
    right_edge = np.full(2 * rows_above, -_NO_INK)  # the last column with ink in every row of pixels
    reach = max(1, int(_VERTICAL_REACH * height_px))
    glyphs: list[PlacedGlyph] = []
    joins: list[Points] = []
    ink_end, pen_position = 0, None  # the last column with ink, and where the last stroke ended
    for previous, character in zip(" " + text, text, strict=False):
        glyph = writer.write(character)
        y = round(glyph.corner[1] + _sample_drop(random, style, character, drift * ink_end))
        y = min(max(y, -rows_above // 2), rows_above // 2)
        left, right = ink_profile(glyph.mask)
        gap_px = _sample_gap(random, style, previous, character) * height_px
        x = 0
        if glyphs:
            nearest = _nearest(right_edge[rows_above + y - reach :][: len(left) + 2 * reach], left, reach)
            touching = nearest if nearest > -_NO_INK / 10 else ink_end  # no row has ink of both
            least = glyphs[-1].x + _MIN_STEP * height_px, ink_end - _MAX_OVERLAP * height_px
            x = max(round(touching + gap_px), *map(int, least))
        glyphs.append(PlacedGlyph(glyph.mask, x, y))
        rows = right_edge[rows_above + y :][: len(right)]
        np.maximum(rows, x + right, out=rows)
        offset = np.array([x, y]) - glyph.corner
        join_share = style.zero_joins if previous == character == "0" else style.joins
        if glyph.strokes and pen_position is not None and random.random() < join_share:
            start, end = pen_position, glyph.strokes[0][0] + offset
            if abs(end[0] - start[0]) < _MAX_JOIN * height_px:
                sag = np.array([0, random.normal(0, 0.08) * height_px])
                joins.append(np.array([start, (start + end) / 2 + sag, end], np.float32))
        pen_position = glyph.strokes[-1][-1] + offset if glyph.strokes else None
        ink_end = max(ink_end, x + int(right.max()))
    return Writing(glyphs, joins, writer.pen_px * _JOIN_WIDTH)


def _sample_drop(random: np.random.Generator, style: Style, character: str, drift_px: float) -> float:
    """Return by how many pixels a character stands too low; zeros and ones vary in height."""
    drop_px = random.normal(0, 0.035 * style.jitter) * style.height_px + drift_px
    if character == "0" and style.zero_height < 1:
        lowered = 1 - style.zero_raised * random.uniform(0.7, 1)
        drop_px += (1 - style.zero_height) * style.height_px * lowered
    if character == "1" and style.one_height > 1:
        drop_px -= (style.one_height - 1) * style.height_px * random.uniform(0, 1)
    return float(drop_px)


def _sample_gap(random: np.random.Generator, style: Style, previous: str, character: str) -> float:
    """Return the distance to the previous character, in heights of a digit."""
    gap = style.gap + random.normal(0, 0.07 * style.jitter)
    if previous == character == "0" and style.zero_gap is not None:
        gap = style.zero_gap + random.normal(0, 0.03)
    if not (previous + character).strip().isdecimal():  # marks keep a distance
        gap = max(gap, 0.02) + abs(random.normal(0, 0.1))
    return float(gap)


def _nearest(right_edge: npt.NDArray[np.int64], left: npt.NDArray[np.int64], reach: int) -> float:
    """Return the column at which ink with a left profile (R,) touches ink with a right edge (R + 2 reach,).

    Ink touches other ink that is up to `reach` rows above or below.
    """
    edge, window = right_edge.astype(np.float32).reshape(-1, 1), np.ones((2 * reach + 1, 1), np.uint8)
    return float(np.max(cv2.dilate(edge, window).ravel()[reach:-reach] - left))
