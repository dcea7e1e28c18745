"""Fill a page with exercises: sums in rows, most often with an answer, as on the work sheets of schools.

All sizes and shares were chosen by hand. No real page was used.
"""

from __future__ import annotations

from dataclasses import replace

from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk
from digitcli.synthesis.stamps import Stamp, side_by_side
from digitcli.synthesis.texts import OPERATORS, sample_decimal, sample_integer


def fill_with_exercises(desk: Desk) -> None:
    """Write or print sums in rows, with wide gaps, and answers in the same or in another hand."""
    height = desk.height_px
    pupil = desk.scribe if desk.chance(0.6) else desk.room.scribe(desk.random)
    teacher = replace(desk, scribe=desk.label_scribe() if desk.chance(0.6) else pupil)
    x = desk.uniform(0, 2) * height
    while x < desk.page.width:
        y, widest = desk.uniform(0, 1) * height, height
        while y < desk.page.height:
            text, stamp = _exercise(teacher, replace(desk, scribe=pupil))
            if desk.page.put(stamp, x, y, Kind.NUMBER, text):
                widest = max(widest, stamp.width)
            y += height * desk.uniform(1.2, 2.5)
        x += widest + height * desk.uniform(1, 4)


def _exercise(teacher: Desk, pupil: Desk) -> tuple[str, Stamp]:
    """Write a sum, most often with an equals sign, and the answer to three quarters of those."""
    gap_px = teacher.uniform(0.1, 0.7) * teacher.height_px
    is_decimal = teacher.chance(0.4)

    def operand() -> str:
        return sample_decimal(teacher.random) if is_decimal else sample_integer(teacher.random, 1, 3)

    parts = [operand()]
    for _ in range(1 if teacher.chance(0.8) else 2):
        parts += [str(teacher.random.choice(list(OPERATORS))), operand()]
    if teacher.chance(0.9):
        parts.append("=")
    stamps = [teacher.number(part) for part in parts]
    if parts[-1] == "=" and teacher.chance(0.75):
        parts.append(operand())
        stamps.append(pupil.number(parts[-1]))
    return "".join(parts), side_by_side(stamps, gap_px)
