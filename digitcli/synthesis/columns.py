"""Fill an upright picture with a column of numbers, one below the other.

Shrunk to a small height, a column looks much like a 1. All values were chosen by hand.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk, draw_edges_of_cell, draw_table_lines
from digitcli.synthesis.texts import sample_integer

LONGEST = (1, 1, 2, 3)  # the most digits of a number, each with the same probability
ONES_SHARE = 0.4  # of the numbers of one digit are 1
RULED_SHARE = 0.25  # of the pictures show lines of a table or the edges of a cell


def fill_with_column(desk: Desk, rows: int, pitch_px: float) -> None:
    """Write this many numbers one below the other, or one alone; `pitch_px` is the distance of two rows."""
    texts = _sample_texts(desk, rows)
    widest = max(desk.number(text).width for text in texts)
    desk = replace(desk, height_px=desk.height_px * min(1.0, 0.95 * desk.page.width / widest))
    numbers = [desk.number(text) for text in texts]
    widest = max(number.width for number in numbers)
    left, align = desk.uniform(0, max(0, desk.page.width - widest)), desk.uniform(0, 1)
    top = (desk.page.height - rows * pitch_px) * desk.uniform(0, 1)
    centres = top + pitch_px * (np.arange(rows) + 0.5)
    for text, number, y in zip(texts, numbers, centres, strict=True):
        x = left + align * (widest - number.width) + desk.random.normal(0, 0.05) * desk.height_px
        desk.page.put(number, x, y - number.height / 2, Kind.NUMBER, text)
    if not desk.chance(RULED_SHARE):
        return
    if rows == 1:
        draw_edges_of_cell(desk)
        return
    gap_px = desk.uniform(0.1, 0.5) * desk.height_px
    xs = np.array([left - gap_px, left + widest + gap_px])
    ys = top + pitch_px * np.arange(rows + 1)
    draw_table_lines(desk, xs, ys, rows=desk.chance(0.75), columns=desk.chance(0.65))


def _sample_texts(desk: Desk, count: int) -> list[str]:
    longest = int(desk.random.choice(LONGEST))
    return [
        "1" if longest == 1 and desk.chance(ONES_SHARE) else sample_integer(desk.random, 1, longest)
        for _ in range(count)
    ]
