"""Fill a page with what forms and exercise books hold: combs, boxes to tick, columns, sums, answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import CLEAR_LETTERS, Mask, draw_strokes
from digitcli.synthesis.page import Kind
from digitcli.synthesis.page_marks import Desk, draw_edges_of_cell, draw_table_lines, draw_tick, rule_width
from digitcli.synthesis.stamps import Stamp, side_by_side
from digitcli.synthesis.texts import OPERATORS, sample_decimal, sample_integer, sample_number, sample_word
from digitcli.synthesis.writers import PlacedGlyph, draw_glyph

# Range of the width of a box of a comb, in heights of a digit.
BOX_WIDTH = (0.75, 2.2)
# Range of the distance of two combs, one below the other, in heights of a digit.
COMB_DISTANCE = (0.25, 1.5)

# Shares of the exponents of superellipses, which boxes are: circles, round corners and sharp ones.
EXPONENT_SHARES = {2.0: 0.3, 6.0: 0.15, 60.0: 0.55}
MOST_ANSWERS = 6

LONGEST = (1, 1, 2, 3)  # the most digits of a number, each with the same probability
ONES_SHARE = 0.4  # of the numbers of one digit are 1
RULED_SHARE = 0.25  # of the pictures show lines of a table or the edges of a cell

MOST_IN_ROW = 4  # numbers in one row alone
ROW_GAP = 0.6  # least gap between two of them, in heights of a digit
ROW_STEP = 0.06  # standard deviation of how much higher or lower one of them stands, in heights of a digit

# Operators that belong to a number, as in 24/07, unless there is space on both sides: wider than between
# digits, in heights of a digit.
SPACED = "-/:"
SPACE_AROUND = 0.3

# Letters from which answers are chosen, most often the first of them.
CHOICES = "ABCDEFGH"


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
    cells, box_width = desk.count(2, 11), desk.uniform(*BOX_WIDTH)
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
    longest, x = desk.count(2, 11), height * desk.uniform(0.1, 1.5)
    while x < desk.page.width:
        for y in np.arange(height * desk.uniform(0.5, 1.5), desk.page.height, step):
            name = words.word(desk.random, sample_word(desk.random), name_px)
            if has_names and is_beside and name.width < 0.9 * indent:
                desk.page.put(name, x, y + height - name.height, Kind.OTHER)
            elif has_names and not is_beside:
                desk.page.put(name, x, y - style.above - 1.2 * name.height, Kind.OTHER)
            cells = longest if desk.chance(0.6) else desk.count(1, longest + 1)
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
    cells, style = cells or desk.count(2, 11), style or CombStyle.sample(desk)
    top, bottom = y - style.above, y + desk.height_px + style.below
    for index in range(cells):
        left = x + index * style.pitch
        right = left + style.width
        if style.is_reversed:
            desk.page.reverse((left, top, right, bottom))
        elif style.has_tops:
            desk.page.frame((left, top, right, bottom), style.pen_px, style.level)
        else:
            middle = (top + bottom) / 2
            sides = [(left, middle), (left, bottom), (right, bottom), (right, middle)]
            desk.page.line(sides, style.pen_px, style.level)
    filled = cells if is_full or desk.chance(0.6) else desk.count(0, cells + 1)
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
    stamp = Stamp(mask, np.concatenate(boxes), stamps[0].printed)
    desk.page.put(stamp, corner[0], corner[1], Kind.NUMBER, digits)


def fill_with_spaced_numbers(desk: Desk) -> None:
    """Write numbers whose digits stand apart, with still wider gaps between the numbers."""
    height = desk.height_px
    pitch, step = height * desk.uniform(0.8, 1.5), height * desk.uniform(1.4, 3)
    for y in np.arange(height * desk.uniform(0.3, 1.5), desk.page.height, step):
        x = height * desk.uniform(0.3, 3)
        while x < desk.page.width:
            digits = sample_integer(desk.random, 1, 8)
            _write_at_pitch(desk, digits, x + pitch / 2, y, pitch)
            x += pitch * (len(digits) + desk.uniform(0.9, 4))


def fill_with_row(desk: Desk) -> None:
    """Write a few numbers in one row as wide as the page, in columns or with gaps of any width."""
    texts = [
        sample_integer(desk.random, 1, 4) if desk.chance(0.8) else sample_number(desk.random)
        for _ in range(desk.count(2, MOST_IN_ROW + 1))
    ]
    gaps = len(texts) - 1
    widths_px = np.array([desk.number(text).width for text in texts])
    needed_px = widths_px.sum() + gaps * ROW_GAP * desk.height_px
    desk = replace(desk, height_px=desk.height_px * min(1.0, 0.95 * desk.page.width / needed_px))
    numbers = [desk.number(text) for text in texts]
    spare_px = desk.page.width - sum(number.width for number in numbers)
    free_px = max(0.0, spare_px - gaps * ROW_GAP * desk.height_px)
    shares = np.ones(gaps + 2) if desk.chance(0.3) else desk.random.exponential(1.0, gaps + 2)
    spaces = free_px * shares / shares.sum()  # before, between and behind the numbers
    x, y = spaces[0], desk.uniform(0, 1) * max(0.0, desk.page.height - desk.height_px)
    for text, number, space in zip(texts, numbers, spaces[1:], strict=True):
        drop_px = desk.height_px / 2 - number.height / 2 + desk.random.normal(0, ROW_STEP) * desk.height_px
        desk.page.put(number, x, y + drop_px, Kind.NUMBER, text)
        x += number.width + ROW_GAP * desk.height_px + space
    if desk.chance(RULED_SHARE):
        draw_edges_of_cell(desk)


def fill_with_choices(desk: Desk) -> None:
    """Write questions, and below each its answers in a row or in a column, with a box to tick for each."""
    height, y = desk.height_px, desk.uniform(-0.3, 1.5) * desk.height_px
    box, words, writer = _Box.sample(desk), desk.label_scribe(), desk.label_scribe()
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
            stamp = desk.word(words, 0.8, 1.2)
        desk.page.put(stamp, x, y + (height - stamp.height) / 2, kind, text)
        return x + stamp.width

    while y < desk.page.height:
        x = left
        for _ in range(desk.count(0, 4)):
            x = write(x, min(number_share, 0.2)) + 0.8 * height
        y, x = y + step_px, indented
        for _ in range(desk.count(1, MOST_ANSWERS + 1)):
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
    box = _Box.sample(desk, least_exponent=6.0)
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

    @classmethod
    def sample(cls, desk: Desk, least_exponent: float = 2.0) -> _Box:
        angles = np.linspace(np.pi / 4, 9 * np.pi / 4, 49)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        shares = {each: share for each, share in EXPONENT_SHARES.items() if each >= least_exponent}
        weights = np.array([*shares.values()]) / sum(shares.values())
        exponent = float(desk.random.choice(list(shares), p=weights))
        width_px = desk.height_px * desk.uniform(0.6, 1.4)
        height_px = width_px * desk.uniform(0.9, 1.15)
        outline = np.sign(directions) * np.abs(directions) ** (2 / exponent)
        outline *= np.array([width_px, height_px]) / 2
        layer = desk.page.layers.writing if desk.chance(0.5) else desk.page.layers.rules
        inks = rule_width(desk), desk.uniform(80, 255), desk.uniform(0, 0.6)
        return cls(layer, outline, width_px, height_px, *inks)

    def draw(self, desk: Desk, x: float, y: float) -> None:
        centre = np.array([x, y]) + desk.random.normal(0, 0.04 * self.width_px, 2)
        outline = np.asarray(centre + self.outline, np.float32)
        draw_strokes(self.layer, [outline], self.pen_px, int(self.level))
        if desk.chance(self.ticked_share):
            draw_tick(desk, x, y)


def fill_with_column(desk: Desk, rows: int, pitch_px: float) -> None:
    """Write this many numbers one below the other, or one alone; `pitch_px` is the distance of two rows."""
    longest = int(desk.random.choice(LONGEST))
    texts = [
        "1" if longest == 1 and desk.chance(ONES_SHARE) else sample_integer(desk.random, 1, longest)
        for _ in range(rows)
    ]
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
            for index in range(desk.count(2, 5)):
                text = sample_integer(desk.random, 1, 5) if desk.chance(0.7) else sample_number(desk.random)
                if index and desk.chance(0.2):
                    text = str(desk.random.choice(list("+-×"))) + text
                stamp = desk.number(text)
                desk.page.put(stamp, right - stamp.width, y, Kind.NUMBER, text)
                widest = max(widest, stamp.width)
                y += height * desk.uniform(1.15, 1.7)
            if desk.chance(0.7):
                for _ in range(desk.count(1, 3)):
                    end = right + 0.2 * height, y + desk.random.normal(0, 0.05) * height
                    desk.page.line([(right - widest * 1.1, y), end], rule_width(desk), 255)
                    y += 0.25 * height
            y += height * desk.uniform(0.3, 1.2)
        x += widest + height * desk.uniform(2, 5)


def fill_with_letters(desk: Desk) -> None:
    """Write columns of single letters, as answers to choose from, on half of the pages beside numbers."""
    height, x = desk.height_px, desk.uniform(0, 2) * desk.height_px
    writer = desk.scribe if desk.chance(0.6) else desk.label_scribe()
    letters = CHOICES[: desk.count(2, len(CHOICES) + 1)] if desk.chance(0.7) else CLEAR_LETTERS
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
    if gap_px > SPACE_AROUND * teacher.height_px:
        parts = [f" {part} " if part in SPACED else part for part in parts]
    return "".join(parts), side_by_side(stamps, gap_px)
