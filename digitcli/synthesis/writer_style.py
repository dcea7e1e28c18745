"""A writer with a pen: what stays the same along a line, and the characters that come of it.

Digits come from pen trajectories of one writer (`strokes.py`, `allographs.py`) or from MNIST's images,
redrawn with the same pen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import Glyph, Mask, draw_mark, glyph_of_image, glyph_of_strokes
from digitcli.synthesis.strokes import DigitStrokes, Stroke, WriterStrokes

CANVAS_PX = 80  # lines are drawn twice as high as they are read, and shrunk
IMAGE_SHARE = 0.05  # of the digits in a line of strokes come from MNIST all the same
LEAN_OF_MARKS = 0.3  # of the digits' slant
LEANING_MARKS = ",-="


@dataclass(frozen=True)
class Style:
    """What a writer does all along a line. Lengths are in heights of a digit unless they say otherwise."""

    height_px: float  # of a digit, on the canvas
    pen: float  # its width
    slant: float  # how far the top of a digit lies to the right of its foot
    width: float  # 1 as in the source
    repeats: bool  # writes a digit much the same way each time
    joins: float  # share of the gaps between digits over which the pen stays on the paper
    zero_joins: float  # and between zeros
    gap: float  # between digits; negative where they touch
    zero_height: float
    zero_width: float  # small zeros may be flat
    zero_raised: float  # small zeros stand on the line at 0 and hang from the top at 1
    zero_gap: float | None  # zeros that follow each other, such as joined ones
    one_height: float
    one_slant: float  # more than other digits
    smoothing: float  # how much the corners of strokes are rounded
    wobble: float  # how far strokes are bent
    forms: float  # how far the form of a digit, the same all along the line, is from its source's
    jitter: float  # how much one digit differs from the next, as a share of what is usual


def sample_style(random: np.random.Generator) -> Style:
    """A style at random."""
    joins = 0.6 if random.random() < 0.18 else 0.0
    return Style(
        height_px=CANVAS_PX * _either(random, 0.35, random.uniform(0.42, 0.62), random.uniform(0.55, 0.95)),
        pen=min(max(_about(random, 0.085, 0.45), 0.03), 0.24),
        slant=random.normal(0.15, 0.25),
        width=_about(random, 1, 0.18),
        repeats=random.random() < 0.4,
        joins=joins,
        zero_joins=0.9 if random.random() < 0.25 else joins,
        gap=_either(random, 0.75, random.normal(0.12, 0.10), random.uniform(0.15, 0.7)),
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
    """The style of a printer or a display, at random."""
    return dataclasses.replace(
        sample_style(random),
        slant=0.0 if random.random() < 0.7 else random.uniform(0, 0.3),
        joins=0.0,
        zero_joins=0.0,
        gap=random.uniform(0.08, 0.4),
        zero_height=1.0,
        zero_gap=None,
        one_height=1.0,
        one_slant=0.0,
        smoothing=0.0,
        wobble=0.0,
        forms=0.0,
        jitter=0.1,
    )


@dataclass(frozen=True)
class Form:
    """How a writer's digit differs from its source all along a line."""

    width: float  # 1 as in the source
    top_width: float  # the top is wider by this share of the width, the foot narrower
    waist: float  # above 1 what is in the middle lies higher

    def applied(self, points: Stroke, middle: float) -> Stroke:
        """Points (P, 2), in heights of the digit, about an upright axis."""
        x, y = points.T
        spread = np.maximum(1 + self.top_width * (1 - 2 * y), 0.4)
        inside = np.clip(y, 0, 1)
        lifted = y - inside + inside**self.waist
        return np.stack([middle + (x - middle) * spread, lifted], axis=1).astype(np.float32)


def sample_form(random: np.random.Generator, spread: float) -> Form:
    """A form at random."""
    width, waist = _about(random, 1, spread / 2), _about(random, 1, spread)
    return Form(width, random.normal(0, spread), waist)


class Writer:
    """Writes character after character in one style; it remembers how it wrote each digit before."""

    def __init__(
        self, style: Style, images: Sequence[Mask], writer: WriterStrokes | None, random: np.random.Generator
    ) -> None:
        """Takes MNIST's images by digit, each (N, 28, 28), where there is no writer."""
        self.style = style
        self.pen_px = style.pen * style.height_px
        self._images = images
        self._writer = writer
        self._random = random
        self._samples: dict[int, int] = {}
        self._forms = [sample_form(random, style.forms) for _ in range(10)]

    def write(self, character: str) -> Glyph:
        """The ink of a digit or a mark; 0, 0 is where the top left of a digit of full height is."""
        return self._write_digit(int(character)) if character.isdecimal() else self._write_mark(character)

    def _write_digit(self, digit: int) -> Glyph:
        to_pixels, height_px = self._shape(digit)
        pen_px = self.pen_px * _about(self._random, 1, 0.05)
        if self._writer is not None and self._random.random() < 1 - IMAGE_SHARE:
            sample = self._bent_sample(self._writer[digit], digit)
            return glyph_of_strokes([stroke @ to_pixels.T for stroke in sample], pen_px)
        images = self._images[digit]
        return glyph_of_image(images[self._random.integers(len(images))], to_pixels, height_px, pen_px)

    def _write_mark(self, mark: str) -> Glyph:
        strokes = [stroke * np.float32(self.style.height_px) for stroke in draw_mark(self._random, mark)]
        pen_px = self.pen_px * (self._random.uniform(1, 1.7) if mark == "." else 1)
        if mark in LEANING_MARKS:
            lean = np.array([[1, -self.style.slant * LEAN_OF_MARKS], [0, 1]], np.float32)
            strokes = [stroke @ lean.T for stroke in strokes]
        return dataclasses.replace(
            glyph_of_strokes(strokes, max(1, pen_px)), strokes=()
        )  # marks join nothing

    def _shape(self, digit: int) -> tuple[npt.NDArray[np.float32], float]:
        """A matrix (2, 2) from heights of the digit to pixels, and the height in pixels."""
        style, random = self.style, self._random
        height_px = style.height_px * _about(random, 1, 0.08 * style.jitter)
        height_px *= {0: style.zero_height, 1: style.one_height}.get(digit, 1)
        width = style.width * self._forms[digit].width * _about(random, 1, 0.09 * style.jitter)
        if digit == 0 and style.zero_height < 1:
            width *= style.zero_width
        shear = style.slant + random.normal(0, 0.07 * style.jitter) + (style.one_slant if digit == 1 else 0)
        angle = random.normal(0, 0.05 * style.jitter)
        cosine, sine = math.cos(angle), math.sin(angle)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        return (turn @ np.array([[width, -shear], [0, 1]]) * height_px).astype(np.float32), height_px

    def _bent_sample(self, samples: Sequence[DigitStrokes], digit: int) -> DigitStrokes:
        """One of the writer's samples, smoothed, and bent by a slow wave along each axis."""
        random, style = self._random, self.style
        if not (style.repeats and digit in self._samples and random.random() < 0.8):
            self._samples[digit] = int(random.integers(len(samples)))
        amplitude = np.diag(random.normal(0, style.wobble, (2, 2)))
        phase, frequency = random.uniform(0, 2 * math.pi, 2), random.uniform(2, 5, 2)
        sample = samples[self._samples[digit]]
        across = np.concatenate([stroke[:, 0] for stroke in sample])
        middle = float(across.min() + across.max()) / 2
        bent = []
        for stroke in sample:
            points = self._forms[digit].applied(smoothed(stroke, style.smoothing), middle)
            wave = amplitude * np.sin(frequency * points[:, ::-1] + phase)  # P, 2: x by y, and y by x
            bent.append(points + wave.astype(np.float32))
        return bent


def smoothed(stroke: Stroke, amount: float) -> Stroke:
    """Points (P, 2) averaged with their neighbours; short strokes stay as they are."""
    if len(stroke) < 5:
        return stroke
    padded = np.pad(stroke, ((1, 1), (0, 0)), mode="edge")
    neighbours = np.float32(amount) * (padded[:-2] + padded[2:])
    return np.asarray((padded[1:-1] + neighbours) / np.float32(1 + 2 * amount), np.float32)


def _about(random: np.random.Generator, middle: float, spread: float) -> float:
    """A positive number around the middle one; its logarithm is normal."""
    return math.exp(random.normal(math.log(middle), spread))


def _either(random: np.random.Generator, share: float, first: float, second: float) -> float:
    return float(random.choice([first, second], p=[share, 1 - share]))
