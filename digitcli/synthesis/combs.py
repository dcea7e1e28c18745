"""Write numbers with one digit in each of a row of equal boxes, as in forms.

All sizes and shares were chosen by hand. No real page was used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from digitcli.synthesis.layout import PlacedGlyph, draw_glyph
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk, rule_width
from digitcli.synthesis.stamps import Stamp
from digitcli.synthesis.texts import sample_integer, sample_word

# Range of the width of a box of a comb, in heights of a digit.
BOX_WIDTH = (0.75, 2.2)
# Range of the distance of two combs, one below the other, in heights of a digit.
COMB_DISTANCE = (0.25, 1.5)


@dataclass(frozen=True)
class CombStyle:
    """The boxes of a comb.

    width, space: the width of a box, and the space between two, in pixels.
    above, below: how far a box reaches above and below a digit, in pixels.
    pen_px, level: the width of the pen that drew it, and its ink.
    is_reversed: whether digits are light on dark, as on the drums of a meter.
    has_tops: whether the boxes are closed above.
    """

    width: float
    space: float
    above: float
    below: float
    pen_px: float
    level: float
    is_reversed: bool
    has_tops: bool

    @classmethod
    def sample(cls, desk: Desk, box_width: float | None = None) -> CombStyle:
        """Return a random style; `box_width` is in heights of a digit."""
        height = desk.height_px
        width = height * (box_width or desk.uniform(*BOX_WIDTH))
        space = 0.0 if desk.chance(0.75) else desk.uniform(0.05, 0.3) * height
        above, below = (desk.uniform(0.05, 0.4) * height for _ in range(2))
        pen_px, level, kind = rule_width(desk), desk.uniform(60, 255), desk.random.random()
        return cls(width, space, above, below, pen_px, level, kind < 0.15, kind < 0.8)

    @property
    def pitch(self) -> float:
        """The distance of the middles of two boxes in pixels."""
        return self.width + self.space


def fill_with_one_comb(desk: Desk) -> None:
    """Write one number into a row of boxes that fills the page, as in a field cut out of a form."""
    cells, box_width = int(desk.random.integers(2, 11)), desk.uniform(*BOX_WIDTH)
    width = desk.page.width * desk.uniform(0.7, 0.97)
    height_px = min(width / (cells * box_width), desk.uniform(0.4, 0.8) * desk.page.height)
    desk = replace(desk, height_px=height_px)
    x = desk.uniform(0.1, 0.9) * (desk.page.width - cells * box_width * height_px)
    y = desk.uniform(0.3, 0.7) * (desk.page.height - height_px)
    draw_comb(desk, x, y, cells, CombStyle.sample(desk, box_width))


def fill_with_combs(desk: Desk) -> None:
    """Write numbers into equal combs, one below the other, most often behind or below printed names."""
    height, style = desk.height_px, CombStyle.sample(desk)
    words, has_names, is_beside = desk.room.printer(desk.random), desk.chance(0.75), desk.chance(0.6)
    name_px = height * desk.uniform(0.3, 0.6)
    indent = height * desk.uniform(3, 5) if has_names and is_beside else 0.0
    step = style.above + height + style.below + height * desk.uniform(*COMB_DISTANCE)
    step += 0.0 if is_beside else 1.5 * name_px
    longest, x = int(desk.random.integers(2, 11)), height * desk.uniform(0.1, 1.5)
    while x < desk.page.width:
        for y in np.arange(height * desk.uniform(0.5, 1.5), desk.page.height, step):
            name = words.word(desk.random, sample_word(desk.random), name_px)
            if has_names and is_beside and name.width < 0.9 * indent:
                desk.page.put(name, x, y + height - name.height, Kind.OTHER)
            elif has_names and not is_beside:
                desk.page.put(name, x, y - style.above - 1.2 * name.height, Kind.OTHER)
            cells = longest if desk.chance(0.6) else int(desk.random.integers(1, longest + 1))
            draw_comb(desk, x + indent, y, cells, style)
        x += indent + longest * style.pitch + height * desk.uniform(0.8, 3)


def draw_comb(
    desk: Desk,
    x: float,
    y: float,
    cells: int | None = None,
    style: CombStyle | None = None,
    *,
    is_full: bool = False,
) -> float:
    """Write a number into a row of equal boxes, one digit in each, and return its right end.

    Some boxes may stay empty unless the row `is_full`.
    """
    cells, style = cells or int(desk.random.integers(2, 11)), style or CombStyle.sample(desk)
    top, bottom = y - style.above, y + desk.height_px + style.below
    for index in range(cells):
        left = x + index * style.pitch
        right = left + style.width
        if style.is_reversed:
            desk.page.reverse((left, top, right, bottom))
        elif style.has_tops:
            desk.page.frame((left, top, right, bottom), style.pen_px, style.level)
        else:
            desk.page.line(
                [(left, (top + bottom) / 2), (left, bottom), (right, bottom), (right, (top + bottom) / 2)],
                style.pen_px,
                style.level,
            )
    filled = cells if is_full or desk.chance(0.6) else int(desk.random.integers(0, cells + 1))
    start = cells - filled if desk.chance(0.3) else 0
    digits = sample_integer(desk.random, filled, filled) if filled else ""
    _write_at_pitch(desk, digits, x + start * style.pitch + style.width / 2, y, style.pitch)
    return x + cells * style.pitch


def _write_at_pitch(desk: Desk, digits: str, x: float, y: float, pitch_px: float) -> None:
    """Write a number whose digits are `pitch_px` apart; the middle of the first is at x, its top at y."""
    if not digits:
        return
    stamps = [desk.number(digit) for digit in digits]
    corner = np.array([x - 1.5 * desk.height_px, y - desk.height_px])
    size = np.array([pitch_px * len(digits), desk.height_px]) + 3 * desk.height_px
    mask, boxes = np.zeros((int(size[1]), int(size[0])), np.uint8), []
    for index, stamp in enumerate(stamps):
        left = x + index * pitch_px - stamp.width / 2 + desk.random.normal(0, 0.06) * desk.height_px
        top = y + (desk.height_px - stamp.height) / 2 + desk.random.normal(0, 0.06) * desk.height_px
        shift = np.round(np.array([left, top]) - corner).astype(int)
        draw_glyph(mask, PlacedGlyph(stamp.mask, int(shift[0]), int(shift[1])))
        boxes.append(stamp.boxes + np.array([*shift, *shift], np.float32))
    desk.page.put(Stamp(mask, np.concatenate(boxes)), corner[0], corner[1], Kind.NUMBER, digits)
