"""People and printers of the generators that judge. All values were chosen by hand."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.dataset import Digits
from digitcli.synthesis.stamps import load_fonts
from digitcli.synthesis.strokes import WriterStrokes, load_writers, split_writers

Mask = npt.NDArray[np.uint8]
FINE = 16  # steps of a pixel in which a stroke is drawn
FONT_PX = 64  # height of a digit at which fonts are loaded; other sizes are scaled
# Strokes of marks in heights of a digit; digits stand on y = 1.
MARKS = {
    ".": ["0.04,0.94 0.07,0.97"],
    ",": ["0.09,0.88 0.02,1.1"],
    "-": ["0.04,0.55 0.36,0.53"],
    "/": ["0.38,0 0,1.04"],
    ":": ["0.06,0.36 0.08,0.39", "0.06,0.84 0.08,0.87"],
    "+": ["0.02,0.55 0.5,0.55", "0.26,0.3 0.26,0.8"],
    "×": ["0.04,0.35 0.42,0.78", "0.42,0.35 0.04,0.78"],
    "÷": ["0.02,0.55 0.5,0.55", "0.25,0.32 0.27,0.34", "0.25,0.77 0.27,0.79"],
    "=": ["0.04,0.45 0.46,0.44", "0.04,0.66 0.46,0.66"],
}


@dataclass(frozen=True)
class Stamp:
    """A piece of writing: ink, uint8 (H, W), and the boxes (n, 4) of its characters; a word has one."""

    mask: Mask
    boxes: npt.NDArray[np.float32]

    @property
    def height(self) -> int:
        """The height in pixels."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """The width in pixels."""
        return int(self.mask.shape[1])


@dataclass(frozen=True)
class Person:
    """Somebody who writes digits and marks so that others can read them, with strokes or with images."""

    strokes: WriterStrokes | None
    images: Sequence[Mask]
    pen: float  # in heights of a digit, as the gap is
    slant: float
    width: float
    gap: float

    def number(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Write digits and marks; `height_px` is the height of a digit."""
        pieces, boxes, x = [], [], 0.0
        for character in text.replace(" ", ""):
            own_px = height_px * float(np.clip(random.normal(1, 0.05), 0.88, 1.12))
            ink, top = self._character(random, character, own_px)
            top += height_px - own_px + random.normal(0, 0.025) * height_px
            pieces.append((ink, x, top))
            boxes.append((x, top, x + ink.shape[1], top + ink.shape[0]))
            x += ink.shape[1] + max(0.02, self.gap + random.normal(0, 0.04)) * height_px
        low = min(top for _, _, top in pieces)
        size = np.ceil(np.array(boxes)[:, 2:].max(axis=0) - [0, low]).astype(int) + 2
        mask = np.zeros(size[::-1], np.uint8)
        for ink, left, top in pieces:
            y, x0 = round(top - low), round(left)
            part = mask[y : y + ink.shape[0], x0 : x0 + ink.shape[1]]
            np.maximum(part, ink[: part.shape[0], : part.shape[1]], out=part)
        return Stamp(mask, np.array(boxes, np.float32) - np.array([0, low, 0, low], np.float32))

    def _character(self, random: np.random.Generator, character: str, height_px: float) -> tuple[Mask, float]:
        """Return the ink of a character, and where its top lies below that of a digit."""
        if character.isdecimal() and self.strokes is None:
            images = self.images[int(character)]
            image = images[int(random.integers(len(images)))]
            left, top, width, height = cv2.boundingRect(image)
            size = max(2, round(self.width * width / height * height_px)), max(2, round(height_px))
            cut = image[top : top + height, left : left + width]
            ink = cv2.resize(cut, size, interpolation=cv2.INTER_CUBIC if size[1] > height else cv2.INTER_AREA)
            return np.asarray(ink, np.uint8), 0.0
        if character.isdecimal():
            assert self.strokes is not None
            samples = self.strokes[int(character)]
            strokes = [np.asarray(s, np.float64) for s in samples[int(random.integers(len(samples)))]]
        else:
            points = [[tuple(map(float, p.split(","))) for p in mark.split()] for mark in MARKS[character]]
            strokes = [np.array(each) + random.normal(0, 0.01, (len(each), 2)) for each in points]
        strokes = [
            np.stack([self.width * (s[:, 0] - self.slant * s[:, 1]), s[:, 1]], axis=1) * height_px
            for s in strokes
        ]
        low, high = (each(np.concatenate(strokes), axis=0) for each in (np.min, np.max))
        wide = max(1, round(self.pen * height_px))
        size = np.ceil(high - low).astype(int) + wide + 2
        ink = np.zeros(size[::-1], np.uint8)
        paths = [np.round((s - low + wide / 2 + 0.5) * FINE).astype(np.int32)[:, None] for s in strokes]
        cv2.polylines(ink, paths, False, 255, wide, cv2.LINE_AA, 4)
        return ink, float(low[1] - wide / 2)

    def word(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Raise an error: people write no words; `JudgingRoom.penman` does."""
        raise ValueError(f"{text!r} is no number.")


@dataclass(frozen=True)
class Printer:
    """What prints in a font, or writes in one that imitates handwriting."""

    font: bytes
    spacing: float = 0.0  # in heights of a digit
    growth: float = 0.0  # of the strokes, in heights of a digit

    def number(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Print digits and marks, each with its box."""
        return self._print(list(text), height_px)

    def word(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Print letters as one piece."""
        return self._print([text], height_px)

    def _print(self, pieces: Sequence[str], height_px: float) -> Stamp:
        font = _font(self.font)
        steps = [font.getlength(piece) + self.spacing * FONT_PX for piece in pieces]
        starts = np.cumsum([2.0, *steps[:-1]])
        boxes = np.array([font.getbbox(piece) for piece in pieces], np.float64)
        boxes[:, ::2] += starts[:, None]
        low, high = np.floor(boxes[:, :2].min(axis=0)) - 2, np.ceil(boxes[:, 2:].max(axis=0)) + 2
        image = Image.new("L", tuple((high - low).astype(int).tolist()))
        for piece, start in zip(pieces, starts.tolist(), strict=True):
            ImageDraw.Draw(image).text((start - low[0], -low[1]), piece, 255, font)
        scale = height_px / FONT_PX
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        mask = np.asarray(image.resize(size, Image.Resampling.LANCZOS), np.uint8)
        if (wide := round(self.growth * height_px)) > 1:
            mask = np.asarray(cv2.dilate(mask, np.ones((wide, wide), np.uint8)), np.uint8)
        return Stamp(mask, ((boxes - [*low, *low]) * scale).astype(np.float32))


Scribe = Person | Printer


@functools.lru_cache(maxsize=256)
def _font(content: bytes) -> ImageFont.FreeTypeFont:
    """Return a font whose digits are `FONT_PX` high."""
    top, bottom = ImageFont.truetype(io.BytesIO(content), 100).getbbox("0")[1::2]
    return ImageFont.truetype(io.BytesIO(content), max(6, round(100 * FONT_PX / max(1, bottom - top))))


@dataclass(frozen=True)
class JudgingRoom:
    """People, digits and fonts that neither training nor calibration has.

    images: those of each digit, uint8 (N, 28, 28).
    """

    writers: Sequence[WriterStrokes]
    images: Sequence[Mask]
    handwritten: Sequence[bytes]
    printed: Sequence[bytes]

    def person(self, random: np.random.Generator) -> Person:
        """Return a person."""
        strokes = None if random.random() < 0.25 else self.writers[int(random.integers(len(self.writers)))]
        slant = float(np.clip(random.normal(0.08, 0.12), -0.1, 0.35))
        pen, width, gap = (random.uniform(*each) for each in ((0.045, 0.12), (0.9, 1.2), (0.06, 0.3)))
        return Person(strokes, self.images, pen, slant, width, gap)

    def printer(self, random: np.random.Generator) -> Printer:
        """Return a printer."""
        font = self.printed[int(random.integers(len(self.printed)))]
        return Printer(font, random.uniform(0, 0.06), random.choice([0.0, 0.0, random.uniform(0.03, 0.08)]))

    def penman(self, random: np.random.Generator) -> Printer:
        """Return someone who writes words, and numbers in the same hand."""
        font = self.handwritten[int(random.integers(len(self.handwritten)))]
        return Printer(font, growth=random.choice([0.0, random.uniform(0.02, 0.1)]))


def judging_room(digits: Digits) -> JudgingRoom:
    """Return the writers and fonts of the judges, and digits that nothing was trained on."""
    fonts, writers = load_fonts().split("judge"), split_writers(load_writers(), "judge")
    has_ink = digits.images.any(axis=(1, 2))
    images = [digits.images[has_ink & (digits.labels == digit)] for digit in range(10)]
    return JudgingRoom(writers, images, fonts.handwritten, fonts.printed)
