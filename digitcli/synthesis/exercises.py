"""Fill a page as a pupil does: sums in rows, most often with an answer, or in columns; letters of answers.

All sizes and shares were chosen by hand. No real page was used.
"""

from __future__ import annotations

from dataclasses import replace

from digitcli.synthesis.letters import CLEAR_LETTERS
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk, rule_width
from digitcli.synthesis.stamps import Stamp, side_by_side
from digitcli.synthesis.texts import OPERATORS, sample_decimal, sample_integer, sample_number

# Letters from which answers are chosen, most often the first of them.
CHOICES = "ABCDEFGH"


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


def fill_with_sums(desk: Desk) -> None:
    """Write columns of numbers to add with a line below."""
    height, x = desk.height_px, desk.uniform(0, 2) * desk.height_px
    while x < desk.page.width:
        y, widest = desk.uniform(0, 1) * height, height
        while y < desk.page.height:
            right = x + height * desk.uniform(2, 5)
            for index in range(int(desk.random.integers(2, 5))):
                text = sample_integer(desk.random, 1, 5) if desk.chance(0.7) else sample_number(desk.random)
                if index and desk.chance(0.2):
                    text = str(desk.random.choice(list("+-×"))) + text
                stamp = desk.number(text)
                desk.page.put(stamp, right - stamp.width, y, Kind.NUMBER, text)
                widest = max(widest, stamp.width)
                y += height * desk.uniform(1.15, 1.7)
            if desk.chance(0.7):
                for _ in range(int(desk.random.integers(1, 3))):
                    slope = desk.random.normal(0, 0.05) * height
                    desk.page.line(
                        [(right - widest * 1.1, y), (right + 0.2 * height, y + slope)], rule_width(desk), 255
                    )
                    y += 0.25 * height
            y += height * desk.uniform(0.3, 1.2)
        x += widest + height * desk.uniform(2, 5)


def fill_with_letters(desk: Desk) -> None:
    """Write columns of single letters, as answers to choose from, on half of the pages beside numbers."""
    height, x = desk.height_px, desk.uniform(0, 2) * desk.height_px
    writer = desk.scribe if desk.chance(0.6) else desk.label_scribe()
    letters = CHOICES[: int(desk.random.integers(2, len(CHOICES) + 1))] if desk.chance(0.7) else CLEAR_LETTERS
    has_numbers, end = desk.chance(0.5), str(desk.random.choice(["", ".", ")"]))
    step, question = height * desk.uniform(1.2, 2.5), 1
    while x < desk.page.width:
        y = desk.uniform(0, 1) * height
        while y < desk.page.height:
            left = x
            if has_numbers:
                text = f"{question}{end}"
                stamp = desk.number(text)
                desk.page.put(stamp, left, y, Kind.NUMBER, text)
                left += stamp.width + height * desk.uniform(0.4, 1.5)
            if desk.chance(0.9):
                letter = str(desk.random.choice(list(letters)))
                size_px = height * desk.uniform(0.8, 1.15)
                desk.page.put(writer.word(desk.random, letter, size_px), left, y, Kind.OTHER)
            y, question = y + step, question + 1
        x += height * desk.uniform(2.5, 6)


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
