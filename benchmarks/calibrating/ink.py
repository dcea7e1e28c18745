"""Hands and printers of the calibration: they write on sheets with Pillow. All values were chosen by hand."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.dataset import Digits
from digitcli.synthesis.page import Kind, Label
from digitcli.synthesis.stamps import load_fonts
from digitcli.synthesis.strokes import WriterStrokes, load_writers, split_writers

Light = npt.NDArray[np.float32]  # (H, W), 1 on white paper
FINE = 3  # times as many pixels are drawn
HEADROOM = 0.3  # above the digits of a number, in heights of a digit
MARKS = {  # strokes in heights of a digit, the foot of the line at y = 1
    ".": [[(0.05, 0.93), (0.09, 0.97)]],
    ",": [[(0.1, 0.9), (0.03, 1.12)]],
    "-": [[(0.05, 0.55), (0.4, 0.52)]],
    "/": [[(0.62, -0.22), (0.0, 1.2)]],
    ":": [[(0.08, 0.35), (0.11, 0.38)], [(0.08, 0.85), (0.11, 0.88)]],
}


@dataclass(frozen=True)
class Hand:
    """How one person writes: strokes (P, 2) in heights of a digit, or images of digits, and a pen."""

    strokes: WriterStrokes | None
    images: Sequence[npt.NDArray[np.uint8]]
    pen: float
    slant: float
    width: float
    gap: float

    def digit(self, random: np.random.Generator, digit: int, height: int) -> npt.NDArray[np.uint8]:
        """Return the ink of a digit, uint8 (H, W), cut to its ink."""
        if self.strokes is None:
            images = self.images[digit]
            image = Image.fromarray(images[int(random.integers(len(images)))])
            image = image.crop(image.getbbox())
            wide = max(2, round(image.width / image.height * height * self.width))
            return np.asarray(image.resize((wide, height), Image.Resampling.BICUBIC), np.uint8)
        samples = self.strokes[digit]
        return self.draw(random, samples[int(random.integers(len(samples)))], height)

    def draw(
        self, random: np.random.Generator, strokes: Sequence[npt.ArrayLike], height: float
    ) -> npt.NDArray[np.uint8]:
        """Draw strokes whose unit is a height in pixels, each with a pressure of its own."""
        lines = [np.asarray(stroke, np.float64).reshape(-1, 2) for stroke in strokes]
        lines = [np.stack([(s[:, 0] - self.slant * s[:, 1]) * self.width, s[:, 1]], axis=1) for s in lines]
        lines = [s + random.normal(0, 0.012, s.shape).cumsum(axis=0) * 0.25 for s in lines]
        points, size = np.concatenate(lines), FINE * height
        margin = FINE * (0.6 * self.pen * height + 1)
        low, high = points.min(axis=0) * size - margin, points.max(axis=0) * size + margin
        image = Image.new("L", tuple(np.maximum(np.ceil(high - low).astype(int), FINE).tolist()))
        pencil = ImageDraw.Draw(image)
        for line in lines:
            wide = max(1, round(FINE * self.pen * height * random.uniform(0.85, 1.15)))
            path = [tuple(point) for point in (line * size - low).tolist()]
            path = path if len(path) > 1 else path * 2
            pencil.line(path, 255, wide, joint="curve")
            for x, y in (path[0], path[-1]):
                pencil.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), 255)
        return np.asarray(image.reduce(FINE), np.uint8)

    def write(
        self, random: np.random.Generator, text: str, height: float
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """Return the ink of digits and marks, and the boxes (n, 4) of the characters."""
        pieces, boxes, x = [], [], 0.0
        tall = round(1.8 * height)
        for character in text:
            own = height * random.uniform(0.88, 1.08)
            if character.isdecimal():
                ink = self.digit(random, int(character), max(4, round(own)))
                y = HEADROOM * height + height - own + random.normal(0, 0.04) * height
            else:
                ink = self.draw(random, MARKS[character], own)
                y = HEADROOM * height + own * min(point[1] for stroke in MARKS[character] for point in stroke)
            pieces.append((ink, round(x), max(0, round(y))))
            boxes.append((x, y, x + ink.shape[1], y + ink.shape[0]))
            x += ink.shape[1] + height * random.normal(self.gap, 0.05)
            x = max(x, boxes[-1][0] + 0.6 * ink.shape[1])
        page = np.zeros((tall, round(max(box[2] for box in boxes)) + 2), np.uint8)
        for ink, left, top in pieces:
            part = page[top : top + ink.shape[0], left : left + ink.shape[1]]
            np.maximum(part, ink[: part.shape[0], : part.shape[1]], out=part)
        return page, np.array(boxes)


@dataclass(frozen=True)
class Room:
    """The people, digits and fonts of the calibration."""

    writers: Sequence[WriterStrokes]
    images: Sequence[npt.NDArray[np.uint8]]
    handwritten: Sequence[bytes]
    printed: Sequence[bytes]

    def hand(self, random: np.random.Generator, pen: tuple[float, float] = (0.05, 0.16)) -> Hand:
        """Return a person, who writes with strokes or with images of digits."""
        strokes = self.writers[int(random.integers(len(self.writers)))] if random.random() < 0.7 else None
        return Hand(
            strokes,
            self.images,
            random.uniform(*pen),
            random.normal(0.05, 0.12),
            random.uniform(0.85, 1.2),
            random.uniform(-0.02, 0.3),
        )

    def font(self, random: np.random.Generator, height: float, *, printed: bool) -> ImageFont.FreeTypeFont:
        """Return a font whose digits are about this high."""
        fonts = self.printed if printed else self.handwritten
        content = fonts[int(random.integers(len(fonts)))]
        font = ImageFont.truetype(io.BytesIO(content), 100)
        top, bottom = font.getbbox("0")[1::2]
        return ImageFont.truetype(io.BytesIO(content), max(6, round(100 * height / max(1, bottom - top))))


def calibration_room(digits: Digits) -> Room:
    """Return the writers and fonts that neither training nor the judges have, with these digits."""
    fonts = load_fonts().split("calibrate")
    images = [digits.images[digits.labels == digit] for digit in range(10)]
    writers = split_writers(load_writers(), "calibrate")
    return Room(writers, [each[each.any(axis=(1, 2))] for each in images], fonts.handwritten, fonts.printed)


@dataclass
class Paper:
    """A sheet while it is written on; `labels` have corners of characters in its pixels."""

    random: np.random.Generator
    room: Room
    light: Light
    labels: list[Label] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """The width and the height."""
        return self.light.shape[1], self.light.shape[0]

    def write(self, hand: Hand, text: str, x: float, foot: float, height: float, tone: float) -> float:
        """Write a number whose digits stand on a line, and return its right end."""
        ink, boxes = hand.write(self.random, text, height)
        top = foot - (1 + HEADROOM) * height
        self.blend(ink, round(x), round(top), tone)
        self._label(text, boxes + [round(x), round(top), round(x), round(top)])
        return x + ink.shape[1]

    def print(self, font: ImageFont.FreeTypeFont, text: str, x: float, foot: float, tone: float) -> float:
        """Print a word or a number; digits within a word are no number."""
        starts = [font.getlength(text[:index]) for index in range(len(text))]
        boxes = np.array([font.getbbox(character) for character in text], np.float64)
        boxes[:, ::2] += np.array(starts)[:, None]
        base = font.getbbox("0")[3]
        image = Image.new("L", (max(1, round(boxes[:, 2].max()) + 4), max(1, round(boxes[:, 3].max()) + 4)))
        ImageDraw.Draw(image).text((0, 0), text, 255, font)
        left, top = round(x), round(foot - base)
        self.blend(np.asarray(image, np.uint8), left, top, tone)
        self._label(text, boxes[[c != " " for c in text]] + [left, top, left, top])
        return x + image.width

    def line(self, points: Sequence[tuple[float, float]], tone: float, width: float) -> None:
        """Draw a line through points."""
        image = Image.new("L", self.size)
        ImageDraw.Draw(image).line(points, 255, max(1, round(width)), joint="curve")
        self.blend(np.asarray(image, np.uint8), 0, 0, tone)

    def blend(self, ink: npt.NDArray[np.uint8], left: int, top: int, tone: float) -> None:
        """Draw ink in a tone; what lies outside is cut off."""
        x0, y0 = max(left, 0), max(top, 0)
        part = self.light[y0 : max(y0, top + ink.shape[0]), x0 : max(x0, left + ink.shape[1])]
        share = ink[y0 - top :, x0 - left :][: part.shape[0], : part.shape[1]] / np.float32(255)
        part += share * (np.float32(tone) - part)

    def _label(self, text: str, boxes: npt.NDArray[np.float64]) -> None:
        is_number = any(c.isdecimal() for c in text) and not any(c.isalpha() for c in text)
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float32)
        self.labels.append(
            Label(Kind.NUMBER if is_number else Kind.OTHER, text if is_number else "", corners)
        )
