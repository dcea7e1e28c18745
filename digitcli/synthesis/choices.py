"""Fill a page with answers to tick: boxes or circles beside words or numbers, as in forms and tests.

An empty box has the size and the shape of a zero. A circle that stands alone is left out, since it may be
one. All sizes and shares were chosen by hand. No real page was used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import Mask, draw_strokes
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk, draw_tick, rule_width
from digitcli.synthesis.texts import sample_number, sample_word

# Shares of the exponents of superellipses, which boxes are: circles, round corners and sharp ones.
EXPONENT_SHARES = {2.0: 0.3, 6.0: 0.15, 60.0: 0.55}
MOST_ANSWERS = 6


def fill_with_choices(desk: Desk) -> None:
    """Write questions, and below each its answers in a row or in a column, with a box to tick for each."""
    height, y = desk.height_px, desk.uniform(-0.3, 1.5) * desk.height_px
    box, words, writer = _sample_box(desk), desk.label_scribe(), desk.label_scribe()
    number_share, is_column = max(0.0, desk.uniform(-0.6, 1.2)), desk.chance(0.4)
    is_behind, gap_px = desk.chance(0.2), height * desk.uniform(0.25, 1.2)
    left, step_px = desk.uniform(0, 2) * height, max(height * desk.uniform(1.5, 2.6), 1.1 * box.height_px)
    indented = left + desk.uniform(0, 1) * height

    def write(x: float, share: float) -> float:
        """Write a word or a number at x, and return its right end."""
        if desk.chance(share):
            text, kind = sample_number(desk.random), Kind.NUMBER
            stamp = writer.number(desk.random, text, height)
        else:
            text, kind = "", Kind.OTHER
            stamp = words.word(desk.random, sample_word(desk.random), height * desk.uniform(0.8, 1.2))
        desk.page.put(stamp, x, y + (height - stamp.height) / 2, kind, text)
        return x + stamp.width

    while y < desk.page.height:
        x = left
        for _ in range(int(desk.random.integers(0, 4))):
            x = write(x, min(number_share, 0.2)) + 0.8 * height
        y, x = y + step_px, indented
        for _ in range(int(desk.random.integers(1, MOST_ANSWERS + 1))):
            if is_behind:
                x = write(x, number_share) + gap_px
            box.draw(desk, x + box.width_px / 2, y + height / 2)
            x += box.width_px + gap_px
            if not is_behind:
                x = write(x, number_share)
            x += desk.uniform(1.2, 4) * height
            if is_column:
                x, y = indented, y + step_px
        y += step_px


def fill_with_one_box(desk: Desk) -> None:
    """Draw one box that is no circle, empty or ticked, around the middle of the page."""
    box = _sample_box(desk, least_exponent=6.0)
    x, y = desk.uniform(0.35, 0.65) * desk.page.width, desk.uniform(0.35, 0.65) * desk.page.height
    box.draw(desk, x, y)


@dataclass(frozen=True)
class _Box:
    """A box to tick.

    layer: where it is drawn: its ink is that of the writing, or that of rules.
    outline: points (P, 2) around its centre, in pixels.
    level: how dark it is, up to 255.
    ticked_share: how many of them are ticked.
    """

    layer: Mask
    outline: npt.NDArray[np.floating]
    width_px: float
    height_px: float
    pen_px: float
    level: float
    ticked_share: float

    def draw(self, desk: Desk, x: float, y: float) -> None:
        centre = np.array([x, y]) + desk.random.normal(0, 0.04 * self.width_px, 2)
        outline = np.asarray(centre + self.outline, np.float32)
        draw_strokes(self.layer, [outline], self.pen_px, int(self.level))
        if desk.chance(self.ticked_share):
            draw_tick(desk, x, y)


def _sample_box(desk: Desk, least_exponent: float = 2.0) -> _Box:
    angles = np.linspace(np.pi / 4, 9 * np.pi / 4, 49)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shares = {each: share for each, share in EXPONENT_SHARES.items() if each >= least_exponent}
    exponent = float(desk.random.choice(list(shares), p=np.array([*shares.values()]) / sum(shares.values())))
    outline = np.sign(directions) * np.abs(directions) ** (2 / exponent)
    width_px = desk.height_px * desk.uniform(0.6, 1.4)
    height_px = width_px * desk.uniform(0.9, 1.15)
    outline *= np.array([width_px, height_px]) / 2
    layer = desk.page.layers.writing if desk.chance(0.5) else desk.page.layers.rules
    return _Box(
        layer, outline, width_px, height_px, rule_width(desk), desk.uniform(80, 255), desk.uniform(0, 0.6)
    )
