"""Draw forms with fields of boxes, fill them in, and photograph them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from scenes import Box

from digitcli.synthesis.page import Kind, Label
from judging.camera import displace, lay, shade, smooth_noise, speckled, take_picture, wood
from judging.grids import write_spaced
from judging.ink import JudgingRoom
from judging.sheet import Pen, Sheet, bounds, corners_of
from judging.texts import CITIES, GOODS, NAMES, STREETS, WORDS, sample_integer

# All sizes, tones and shares were chosen by hand, so that a person can read every number.
DIGIT_PX = 36.0  # on paper of 210 x 297 mm with 150 dots an inch: 6 mm
PAPER_PX = 1240, 1754
EMPTY, SHORT = 0.12, 0.3  # shares of fields that are empty, and of numbers shorter than their boxes
LOOSE_DIGITS = 6  # at most in a field without boxes for digits


@dataclass(frozen=True)
class DrawnField:
    """A field of a blank: its box x0, y0, x1, y1 in pixels, and the boxes for single digits or 0."""

    box: Box
    digits: int


@dataclass(frozen=True)
class DrawnForm:
    """A blank, uint8 (H, W), and its fields in reading order."""

    blank: npt.NDArray[np.uint8]
    fields: tuple[DrawnField, ...]


def draw_form(random: np.random.Generator, room: JudgingRoom) -> DrawnForm:
    """Draw a blank with a logo, headings, small print, combs and boxes."""
    sheet = Sheet(random, room, np.ones(PAPER_PX[::-1], np.float32), DIGIT_PX)
    h, width, fields = sheet.digit_px, PAPER_PX[0], list[DrawnField]()
    printer, tone, line = Pen(room.printer(random), sheet.uniform(0, 0.3)), sheet.uniform(0, 0.6), 0.055
    for _ in range(3):
        centre = (random.uniform([1, 1], [5, 3]) * h).astype(int).tolist()
        axes = (random.uniform(0.4, 1.4, 2) * h).astype(int).tolist()
        cv2.ellipse(sheet.light, centre, axes, sheet.uniform(0, 90), 0, 360, sheet.uniform(0, 0.6), 3)
    title = f"{sheet.choose(GOODS)} {sheet.choose(WORDS)} {random.integers(1, 99)}"
    sheet.write(printer, title, 8 * h, 2.2 * h, 1.3)
    y, same = 4.5 * h, sheet.chance(0.3)
    while y < PAPER_PX[1] - 5 * h:
        if sheet.chance(0.3):
            for _ in range(int(random.integers(1, 4))):
                words = [
                    sheet.choose([*WORDS, *CITIES, *STREETS]) for _ in range(int(random.integers(5, 12)))
                ]
                _fit(sheet, printer, " ".join(words), 1.5 * h, y, 0.45, width - 3 * h)
                y += 0.8 * h
            y += 0.6 * h
        label = sheet.choose([*GOODS, *NAMES, *WORDS])
        _fit(sheet, printer, label, 1.5 * h, y + 1.2 * h, 0.6, 6.5 * h)
        x = 9 * h if same else sheet.uniform(8.5, 12) * h
        while x < width - 7 * h:
            tall = sheet.uniform(1.35, 1.8) * h
            count = int(random.integers(2, 10)) if sheet.chance(0.7) else 0
            pitch = sheet.uniform(0.8, 1.1) * tall
            count = min(count, int((width - 1.5 * h - x) / pitch))
            if count == 1:
                break
            across = count * pitch if count else min(sheet.uniform(5, 9) * h, width - 1.5 * h - x)
            box = (round(x), round(y), round(x + across), round(y + tall))
            sheet.frame(box, tone, line)
            for side in np.linspace(box[0], box[2], count + 1)[1:-1] if count else ():
                sheet.line([(side, box[1]), (side, box[3])], tone, line)
            fields.append(DrawnField(box, count))
            x += across + sheet.uniform(1.5, 5) * h
        y += sheet.uniform(2.2, 3.4) * h
    return DrawnForm(np.clip(255 * sheet.light, 0, 255).round().astype(np.uint8), tuple(fields))


def _fit(sheet: Sheet, pen: Pen, text: str, x: float, y: float, size: float, width: float) -> None:
    before = sheet.light.copy()
    if sheet.write(pen, text, x, y, size) > x + width:
        sheet.light = before
        _fit(sheet, pen, text[: len(text) - 4] or "x", x, y, size, width)


def fill_in(random: np.random.Generator, room: JudgingRoom, form: DrawnForm) -> tuple[Sheet, list[str]]:
    """Return a filled form before it is photographed, with a label of each field, and the texts."""
    sheet = Sheet(random, room, form.blank.astype(np.float32) / 255, DIGIT_PX)
    hand, texts = Pen(room.person(random), sheet.uniform(0.05, 0.4)), []
    for field in form.fields:
        x0, y0, x1, y1 = field.box
        longest = field.digits or LOOSE_DIGITS
        text = sample_integer(random, 1 if sheet.chance(SHORT) else longest, longest)
        text = "" if sheet.chance(EMPTY) else text
        foot = (y0 + y1 + sheet.digit_px) / 2
        if field.digits and text:
            pitch = (x1 - x0) / field.digits
            shift = pitch * (field.digits - len(text)) * sheet.chance(0.5)
            write_spaced(sheet, hand, text, x0 + shift, foot, pitch, y1 - y0)
        elif text:
            align = sheet.uniform(0.1, 0.9)
            before = sheet.light.copy()
            size = 0.95
            while size > 0.3:
                margin = 0.3 * sheet.digit_px
                at = x0 + margin + align * (x1 - x0 - 2 * margin)
                end = sheet.write(hand, text, at, (y0 + y1 + size * sheet.digit_px) / 2, size, align)
                start = bounds(sheet.labels[-1].corners)[0]
                if start > x0 and end < x1:
                    break
                sheet.light, size = before.copy(), 0.85 * size
        texts.append(text)
    sheet.labels = [
        Label(Kind.OTHER, "", corners_of(np.array([field.box], np.float32))) for field in form.fields
    ]
    return sheet, texts


def photograph(
    random: np.random.Generator, sheet: Sheet
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return a photograph of a sheet from the side, bent, and the corners of its labels (N, 4, 2)."""
    height, width = sheet.light.shape
    room = round(2 * sheet.digit_px)
    sheet.light = cv2.copyMakeBorder(sheet.light, *[room] * 4, cv2.BORDER_REPLICATE)
    sheet.labels = [replace(each, corners=each.corners + np.float32(room)) for each in sheet.labels]
    shift = np.stack([smooth_noise(random, sheet.light.shape, 2, 2) for _ in range(2)])
    displace(sheet, shift * np.float32(random.uniform(0.001, 0.006) * width))
    sheet.light *= 1 + 0.06 * shift[0].clip(-2, 2)
    surface = wood(sheet) if sheet.chance(0.5) else speckled(sheet, sheet.uniform(0.2, 0.6))
    lay(sheet, surface, random.normal(0, 5), 0.04)
    if sheet.chance(0.5):
        shade(sheet)
    scene = take_picture(sheet)
    return scene.picture, np.concatenate([each.corners for each in scene.labels])
