"""Draw pictures in which there is no number to read. All values were chosen by hand."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from scenes import DrawnScene

from judging.camera import bow, lay, shade, smooth_noise, speckled, take_picture, wood
from judging.ink import JudgingRoom
from judging.sheet import Pen, Sheet
from judging.texts import GOODS, NAMES, WORDS

World = Callable[[np.random.Generator, JudgingRoom], DrawnScene]


def letters(random: np.random.Generator, room: JudgingRoom) -> DrawnScene:
    """Write one to four letters, such as initials or the answer to a question."""
    sheet = _sheet(random, room, random.uniform(1.4, 5), random.uniform(1.5, 2.4))
    text = "".join(random.choice(list("ABCDEFGHKLMNPRTUVWXYabdefghkmnrt"), int(random.integers(1, 5))))
    pen = room.penman(random) if sheet.chance(0.7) else room.printer(random)
    h, (height, width) = sheet.digit_px, sheet.light.shape
    sheet.write(Pen(pen, random.uniform(0.05, 0.4)), text, width / 2, (height + h) / 2, 0.9, 0.5)
    return _photograph(sheet)


def words(random: np.random.Generator, room: JudgingRoom) -> DrawnScene:
    """Write lines of words."""
    sheet = _sheet(random, room, random.uniform(6, 24), random.uniform(2, 12))
    pen = Pen(room.penman(random) if sheet.chance(0.6) else room.printer(random), random.uniform(0.05, 0.4))
    h, (height, width) = sheet.digit_px, sheet.light.shape
    for y in np.arange(1.6 * h, height - 0.3 * h, sheet.uniform(1.5, 2.2) * h).tolist():
        x = sheet.uniform(0.3, 1) * h
        while x < width - 3 * h:
            x = sheet.write(pen, sheet.choose(WORDS), x, y, 0.8) + sheet.uniform(0.4, 0.7) * h
    return _photograph(sheet)


def drawings(random: np.random.Generator, room: JudgingRoom) -> DrawnScene:
    """Draw faces, houses, stars, arrows and knots with a pen."""
    sheet = _sheet(random, room, random.uniform(1.5, 7), random.uniform(1.5, 5))
    h, (height, width) = sheet.digit_px, sheet.light.shape
    tone, pen = random.uniform(0.05, 0.5), random.uniform(0.04, 0.14)
    shapes = (_face, _house, _star, _arrow, _knot)
    for _ in range(int(random.integers(1, 4))):
        points = shapes[int(random.integers(len(shapes)))](random)
        size, place = h * random.uniform(0.5, 1.5), random.uniform(0.25, 0.75, 2) * (width, height)
        for line in points:
            bent = np.asarray(line) + random.normal(0, 0.03, (len(line), 2))
            sheet.line(place + size * bent, tone, pen)
    return _photograph(sheet)


Lines = list[np.ndarray]


def _circle(x: float, y: float, radius: float, end: float = 2 * np.pi) -> np.ndarray:
    angles = np.linspace(0, end, 24)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def _face(random: np.random.Generator) -> Lines:
    return [
        _circle(0, 0, 0.9),
        _circle(-0.3, -0.3, 0.1),
        _circle(0.3, -0.3, 0.1),
        _circle(0, 0.2, 0.4, np.pi),
    ]


def _house(random: np.random.Generator) -> Lines:
    walls = np.array([(-0.7, 0.9), (-0.7, 0), (0, -0.8), (0.7, 0), (0.7, 0.9), (-0.7, 0.9)])
    return [walls, np.array([(-0.2, 0.9), (-0.2, 0.3), (0.2, 0.3), (0.2, 0.9)])]


def _star(random: np.random.Generator) -> Lines:
    angles = np.arange(6) * 4 * np.pi / 5 - np.pi / 2
    return [0.9 * np.stack([np.cos(angles), np.sin(angles)], axis=1)]


def _arrow(random: np.random.Generator) -> Lines:
    shaft = np.stack([np.linspace(-1, 1, 9), random.normal(0, 0.1, 9)], axis=1)
    return [shaft, np.array([(0.6, -0.35), (1, 0), (0.6, 0.35)])]


def _knot(random: np.random.Generator) -> Lines:
    return [np.cumsum(random.normal(0, 0.35, (int(random.integers(6, 25)), 2)), axis=0) * 0.5]


def photographs(random: np.random.Generator, room: JudgingRoom) -> DrawnScene:
    """Photograph things without any writing: tables, walls, and round and angular things on them."""
    sheet = _sheet(random, room, random.uniform(2, 9), random.uniform(2, 7))
    height, width = sheet.light.shape
    ground = wood(sheet) if sheet.chance(0.5) else speckled(sheet, random.uniform(0.15, 0.7))
    sheet.light = ground((height, width))
    for _ in range(int(random.integers(0, 12))):
        centre = (random.uniform(0, 1, 2) * (width, height)).astype(int).tolist()
        axes = np.maximum(1, random.uniform(0.02, 0.35, 2) * min(width, height)).astype(int).tolist()
        tone = random.uniform(0, 1)
        if sheet.chance(0.5):
            thick = -1 if sheet.chance(0.6) else max(1, axes[0] // 4)
            cv2.ellipse(sheet.light, centre, axes, random.uniform(0, 180), 0, 360, tone, thick, cv2.LINE_AA)
        else:
            box = cv2.boxPoints((tuple(map(float, centre)), tuple(map(float, axes)), random.uniform(0, 90)))
            cv2.fillPoly(sheet.light, [box.astype(np.int32)], tone, cv2.LINE_AA)
    sheet.light *= 1 + 0.15 * smooth_noise(random, (height, width), 4, 4)
    return take_picture(sheet)


def empty_forms(random: np.random.Generator, room: JudgingRoom) -> DrawnScene:
    """Print a form that nobody has filled in: words, frames, combs, rules and boxes to tick."""
    sheet = _sheet(random, room, random.uniform(8, 26), random.uniform(3, 16))
    h, (height, width) = sheet.digit_px, sheet.light.shape
    printer, tone = Pen(room.printer(random), random.uniform(0, 0.4)), random.uniform(0.1, 0.7)
    y = 1.8 * h
    while y < height - 0.5 * h:
        name = sheet.choose(GOODS if sheet.chance(0.5) else [name.split()[0] for name in NAMES])
        x = sheet.write(printer, name, 0.6 * h, y, 0.7) + 0.8 * h
        kind, end = int(random.integers(4)), width - 0.6 * h
        if kind == 0 and x < end - h:
            sheet.frame((x, y - 1.1 * h, end, y + 0.3 * h), tone, 0.05)
        elif kind == 1:
            pitch = sheet.uniform(0.9, 1.4) * h
            for left in np.arange(x, end - pitch, pitch).tolist()[:12]:
                sheet.frame((left, y - 1.1 * h, left + pitch, y + 0.3 * h), tone, 0.05)
        elif kind == 2 and x < end:
            sheet.line([(x, y + 0.1 * h), (end, y + 0.1 * h)], tone, 0.05)
        else:
            for left in np.arange(x, end - 4 * h, 4.5 * h).tolist():
                sheet.frame((left, y - 0.75 * h, left + 0.7 * h, y), tone, 0.06)
                sheet.write(printer, sheet.choose(WORDS), left + h, y, 0.7)
        y += sheet.uniform(1.8, 2.8) * h
    return _photograph(sheet)


def _sheet(random: np.random.Generator, room: JudgingRoom, width: float, height: float) -> Sheet:
    """Return a pale sheet; its sides are in heights of a digit."""
    digit_px = float(np.exp(random.uniform(*np.log((16, 70)))))
    sides = max(12, round(height * digit_px)), max(12, round(width * digit_px))
    return Sheet(random, room, np.full(sides, random.uniform(0.75, 1), np.float32), digit_px)


def _photograph(sheet: Sheet) -> DrawnScene:
    """Scan a sheet flat, or photograph it on a table."""
    if sheet.chance(0.5):
        bow(sheet)
        lay(sheet, wood(sheet), sheet.random.normal(0, 4), 0.04)
        if sheet.chance(0.5):
            shade(sheet)
    return take_picture(sheet)


NOTHING: dict[str, World] = {
    "letters": letters,
    "words": words,
    "drawings": drawings,
    "photographs": photographs,
    "empty forms": empty_forms,
}
