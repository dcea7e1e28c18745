"""Write numbers with one digit in each of a row of equal boxes, as in forms.

All sizes and shares were chosen by hand. No real page was used.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from digitcli.synthesis.layout import PlacedGlyph, draw_glyph
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk, rule_width
from digitcli.synthesis.stamps import Stamp
from digitcli.synthesis.texts import sample_integer

# Range of the width of a box of a comb, in heights of a digit.
BOX_WIDTH = (0.75, 2.2)


def fill_with_one_comb(desk: Desk) -> None:
    """Write one number into a row of boxes that fills the page, as in a field cut out of a form."""
    cells, box_width = int(desk.random.integers(2, 11)), desk.uniform(*BOX_WIDTH)
    width = desk.page.width * desk.uniform(0.7, 0.97)
    height_px = min(width / (cells * box_width), desk.uniform(0.4, 0.8) * desk.page.height)
    desk = replace(desk, height_px=height_px)
    x = desk.uniform(0.1, 0.9) * (desk.page.width - cells * box_width * height_px)
    y = desk.uniform(0.3, 0.7) * (desk.page.height - height_px)
    draw_comb(desk, x, y, cells, box_width)


def draw_comb(
    desk: Desk, x: float, y: float, cells: int | None = None, box_width: float | None = None
) -> float:
    """Write a number into a row of equal boxes, one digit in each, and return its right end.

    `box_width` is in heights of a digit.
    """
    height = desk.height_px
    cells = cells or int(desk.random.integers(2, 11))
    width = height * (box_width or desk.uniform(*BOX_WIDTH))
    space = 0.0 if desk.chance(0.75) else desk.uniform(0.05, 0.3) * height
    top, bottom = y - desk.uniform(0.05, 0.4) * height, y + height * (1 + desk.uniform(0.05, 0.4))
    width_px, level, kind = rule_width(desk), desk.uniform(60, 255), desk.random.random()
    for index in range(cells):
        left, right = x + index * (width + space), x + index * (width + space) + width
        if kind < 0.15:  # the drums of a meter
            desk.page.reverse((left, top, right, bottom))
        elif kind < 0.8:
            desk.page.frame((left, top, right, bottom), width_px, level)
        else:  # a comb without tops
            desk.page.line(
                [(left, (top + bottom) / 2), (left, bottom), (right, bottom), (right, (top + bottom) / 2)],
                width_px,
                level,
            )
    filled = cells if desk.chance(0.6) else int(desk.random.integers(0, cells + 1))
    start = cells - filled if desk.chance(0.3) else 0
    digits = sample_integer(desk.random, filled, filled) if filled else ""
    step = width + space
    _write_at_pitch(desk, digits, x + start * step + width / 2, y, step)
    return x + cells * step


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
