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

# Range of the distance of two boxes of a comb, in heights of a digit.
COMB_PITCH = (0.75, 2.2)


def fill_with_one_comb(desk: Desk) -> None:
    """Write one number into a row of boxes that fills the page, as in a field cut out of a form."""
    cells, pitch = int(desk.random.integers(2, 11)), desk.uniform(*COMB_PITCH)
    width = desk.page.width * desk.uniform(0.7, 0.97)
    height_px = min(width / (cells * pitch), desk.uniform(0.4, 0.8) * desk.page.height)
    desk = replace(desk, height_px=height_px)
    x = desk.uniform(0.1, 0.9) * (desk.page.width - cells * pitch * height_px)
    y = desk.uniform(0.3, 0.7) * (desk.page.height - height_px)
    draw_comb(desk, x, y, cells, pitch)


def draw_comb(desk: Desk, x: float, y: float, cells: int | None = None, pitch: float | None = None) -> float:
    """Write a number into a row of equal boxes, one digit in each, and return its right end.

    `pitch` is the distance of two boxes in heights of a digit.
    """
    height = desk.height_px
    cells = cells or int(desk.random.integers(2, 11))
    pitch = height * (pitch or desk.uniform(*COMB_PITCH))
    space = 0.0 if desk.chance(0.75) else desk.uniform(0.05, 0.3) * height
    top, bottom = y - desk.uniform(0.05, 0.4) * height, y + height * (1 + desk.uniform(0.05, 0.4))
    width_px, level, kind = rule_width(desk), desk.uniform(60, 255), desk.random.random()
    for index in range(cells):
        left, right = x + index * (pitch + space), x + index * (pitch + space) + pitch
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
    write_into_comb(
        desk,
        sample_integer(desk.random, filled, filled) if filled else "",
        x + start * (pitch + space),
        y,
        pitch + space,
        pitch,
    )
    return x + cells * (pitch + space)


def write_into_comb(desk: Desk, text: str, x: float, y: float, step: float, pitch: float) -> None:
    """Write one character into each box; boxes are `pitch` wide and begin at x and every `step` after it."""
    if not text:
        return
    stamps = [desk.number(digit) for digit in text]
    corner = np.array([[x - desk.height_px, y - desk.height_px]])
    size = np.array([step * len(text), desk.height_px]) + 3 * desk.height_px
    mask, boxes = np.zeros((int(size[1]), int(size[0])), np.uint8), []
    for index, stamp in enumerate(stamps):
        left = x + index * step + (pitch - stamp.width) / 2 + desk.random.normal(0, 0.06) * desk.height_px
        top = y + (desk.height_px - stamp.height) / 2 + desk.random.normal(0, 0.06) * desk.height_px
        shift = np.round(np.array([left, top]) - corner[0]).astype(int)
        draw_glyph(mask, PlacedGlyph(stamp.mask, int(shift[0]), int(shift[1])))
        boxes.append(stamp.boxes + np.array([*shift, *shift], np.float32))
    desk.page.put(Stamp(mask, np.concatenate(boxes)), corner[0, 0], corner[0, 1], Kind.NUMBER, text)
