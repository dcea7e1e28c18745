"""Write numbers and words as stamps: pieces of ink that a page composer puts where it likes."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.dataset import Digits
from digitcli.synthesis.glyphs import Mask, draw_strokes
from digitcli.synthesis.strokes import (
    EMBEDDED,
    LETTERS,
    Group,
    WriterStrokes,
    group_of,
    invent_writer,
    seven_segment_writer,
    write_shape,
)
from digitcli.synthesis.writers import Writer, sample_printed_style, sample_style, write_text

# Shares of the scribes, chosen by hand for variety.
PRINTED_SHARE = 0.2  # of the scribes print in a font
FONT_SHARE = 0.12  # of the others write in a font that imitates handwriting
DISPLAY_SHARE = 0.03  # of the others show seven segments
IMAGES_SHARE = 0.3  # of the rest write with images
TABLET_SHARE = 0.7  # of the rest write with strokes of a person, if there are any
PEN_WIDTH = (0.006, 0.24)  # range of the width of a pen, in heights of a digit
LETTER_GAP = (0.02, 0.2)  # range of the gap between written letters, in heights
FONT_STEP = 1.2  # ratio of the sizes in which fonts are loaded; sizes between are scaled
PAD_PX = 4  # around what is printed
SMALLEST_FONT_PX = 8
LARGEST_FONT_PX = 160
HELD_OUT_FONTS = 3  # one of this many fonts is held out from training
LEAST_DRAWN_PX = 9.0  # smaller digits are drawn at this height and shrunk, so that they have ink


@dataclass(frozen=True)
class Stamp:
    """A piece of writing.

    mask: uint8 (H, W), 255 on 0.
    boxes: float32 (n, 4), x0 y0 x1 y1 of its characters other than spaces, in pixels; a word has one.
    printed: 1 for print, 0 for handwriting, NaN for what is neither: displays and imitated handwriting.
    """

    mask: Mask
    boxes: npt.NDArray[np.float32]
    printed: float = np.nan

    def as_one(self) -> Stamp:
        """Return the stamp as one piece, with one box."""
        box = np.array([[0, 0, self.width, self.height]], np.float32)
        return dataclasses.replace(self, boxes=box)

    @property
    def height(self) -> int:
        """The height of the mask in pixels."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """The width of the mask in pixels."""
        return int(self.mask.shape[1])


@dataclass(frozen=True)
class PenScribe:
    """Someone who writes with a pen; random letters stand for those that have no strokes."""

    writer: Writer
    printed: float = 0.0  # see `Stamp`

    def number(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Write digits and marks; `height_px` is the height of a digit."""
        drawn_px = max(height_px, LEAST_DRAWN_PX)
        writing = write_text(random, self.writer.at_height(drawn_px), text)
        left, top, right, bottom = writing.bounds()
        mask = np.zeros((bottom - top + 2, right - left + 3), np.uint8)
        boxes = writing.draw(mask, 1 - left, 1 - top)
        return _shrunk(Stamp(mask, boxes, self.printed), height_px / drawn_px)

    def word(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Write a word of as many letters as the text has; `height_px` is the height of a capital."""
        width, gap = random.uniform(0.8, 1.3), random.uniform(*LETTER_GAP)
        strokes, x = [], 0.0
        for name, other in zip(text, random.choice(list(LETTERS), len(text)), strict=True):
            letter = write_shape(random, LETTERS.get(name) or LETTERS[str(other)])
            slanted = [s * [width, 1] - [[self.writer.style.slant, 0]] * s[:, 1:] for s in letter]
            x -= min(float(s[:, 0].min()) for s in slanted)
            strokes += [s + [x, 0] for s in slanted]
            x = max(float(s[:, 0].max()) for s in strokes) + gap
        strokes, pen_px = [s * height_px for s in strokes], self.writer.at_height(height_px).pen_px
        margin, points = pen_px / 2 + 1, np.concatenate(strokes)
        low, high = points.min(axis=0), points.max(axis=0)
        right, bottom = (np.ceil(high - low) + 2 * margin).astype(int).tolist()
        mask = np.zeros((bottom + 1, right + 1), np.uint8)
        draw_strokes(mask, [stroke - low + margin for stroke in strokes], pen_px)
        box = np.array([[margin, margin, right - margin, bottom - margin]], np.float32)
        return Stamp(mask, box, self.printed)


@dataclass(frozen=True)
class FontScribe:
    """A machine that prints in a font; `growth` thickens its strokes, in heights of a digit."""

    font: bytes
    spacing: float
    growth: float = 0.0
    printed: float = 1.0  # see `Stamp`

    def number(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Print digits and marks, each with its box; `height_px` is the height of a digit."""
        return self._print(list(text), height_px)

    def word(self, random: np.random.Generator, text: str, height_px: float) -> Stamp:
        """Print letters as one piece; `height_px` is the height of a digit."""
        return self._print([text], height_px)

    def _print(self, pieces: Sequence[str], height_px: float) -> Stamp:
        times = np.clip(height_px, SMALLEST_FONT_PX, LARGEST_FONT_PX) / SMALLEST_FONT_PX
        font, digit_px = _load_font(self.font, int(np.ceil(np.log(times) / np.log(FONT_STEP))))
        scale = height_px / digit_px
        spacing = self.spacing * height_px / scale
        starts = np.cumsum([0.0, *(font.getlength(piece) + spacing for piece in pieces[:-1])])
        boxes = np.array([font.getbbox(piece) for piece in pieces], np.float64)  # n, 4: x0 y0 x1 y1
        boxes[:, ::2] += starts[:, None]
        left, top = boxes[:, :2].min(axis=0).astype(int) - PAD_PX
        right, bottom = boxes[:, 2:].max(axis=0).astype(int) + PAD_PX
        image = Image.new("L", (max(1, right + 1 - left), max(1, bottom - top)))
        draw = ImageDraw.Draw(image)
        for piece, start in zip(pieces, starts, strict=True):
            draw.text((start - left, -top), piece, 255, font)
        boxes = (boxes - [left, top, left, top]).astype(np.float32)
        stamp = _shrunk(Stamp(np.asarray(image, np.uint8), boxes, self.printed), scale)
        width = round(self.growth * height_px)
        if width > 1:
            brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
            stamp = dataclasses.replace(stamp, mask=np.asarray(cv2.dilate(stamp.mask, brush), np.uint8))
        return stamp


Scribe = PenScribe | FontScribe  # who writes in one style


@dataclass(frozen=True)
class Fonts:
    """The bytes of fonts that imitate handwriting, and of those that print."""

    handwritten: tuple[bytes, ...]
    printed: tuple[bytes, ...]

    def split(self, group: Group) -> Fonts:
        """Return the fonts of a group; one of `HELD_OUT_FONTS` is not trained with."""
        parts = (self.handwritten, self.printed)
        return Fonts(
            *(tuple(f for i, f in enumerate(part) if group_of(i, HELD_OUT_FONTS) == group) for part in parts)
        )


class WritingRoom:
    """All hands and fonts that write scenes.

    Args:
        digits: images of digits, for example the training part of MNIST.
        writers: strokes of people.
        fonts: fonts for words and printed numbers.
    """

    def __init__(self, digits: Digits, writers: Sequence[WriterStrokes], fonts: Fonts) -> None:
        has_ink = digits.images.any(axis=(1, 2))
        self._images = tuple(digits.images[has_ink & (digits.labels == digit)] for digit in range(10))
        self._writers = writers
        self._fonts = fonts

    def scribe(self, random: np.random.Generator) -> Scribe:
        """Return a random scribe of numbers."""
        if random.random() < PRINTED_SHARE:
            return self.printer(random)
        kind = random.random()
        if kind < FONT_SHARE:
            return self.penman(random)
        style = sample_style(random)
        pen = float(np.exp(random.uniform(*np.log(PEN_WIDTH)))) if random.random() < 0.5 else style.pen
        style = dataclasses.replace(style, pen=pen)
        if kind < FONT_SHARE + DISPLAY_SHARE:
            style = sample_printed_style(random)
            return PenScribe(Writer(style, self._images, seven_segment_writer(), random), np.nan)
        strokes: WriterStrokes | None = None
        if random.random() >= IMAGES_SHARE:
            is_person = self._writers and random.random() < TABLET_SHARE
            strokes = (
                self._writers[int(random.integers(len(self._writers)))]
                if is_person
                else invent_writer(random, range(10))
            )
        return PenScribe(Writer(style, self._images, strokes, random))

    def printer(self, random: np.random.Generator) -> FontScribe:
        """Return a printer in a random font."""
        font = self._fonts.printed[int(random.integers(len(self._fonts.printed)))]
        growth = random.uniform(0.03, 0.1) if random.random() < 0.3 else 0.0
        return FontScribe(font, spacing=max(0.0, random.normal(0, 0.04)), growth=growth)

    def penman(self, random: np.random.Generator) -> FontScribe:
        """Return someone who writes in a font that imitates handwriting."""
        font = self._fonts.handwritten[int(random.integers(len(self._fonts.handwritten)))]
        growth = random.uniform(0.02, 0.14) if random.random() < 0.5 else 0.0
        return FontScribe(font, spacing=0.0, growth=growth, printed=np.nan)

    def image(self, random: np.random.Generator) -> tuple[Mask, int]:
        """Return an image of the dataset, uint8 (H, W), ink 255, and its digit."""
        digit = int(random.choice([digit for digit, images in enumerate(self._images) if len(images)]))
        images = self._images[digit]
        return images[int(random.integers(len(images)))], digit


@functools.cache
def load_fonts() -> Fonts:
    """Return the embedded fonts."""
    folder = EMBEDDED / "fonts"
    kinds = [sorted(folder.glob(f"{kind}-*.woff")) for kind in ("hand", "print")]
    return Fonts(*(tuple(file.read_bytes() for file in files) for files in kinds))


def side_by_side(stamps: Sequence[Stamp], gap_px: float) -> Stamp:
    """Return stamps of one scribe in a row, each in the middle of its height."""
    height = max(stamp.height for stamp in stamps)
    width = sum(stamp.width for stamp in stamps) + round(gap_px) * (len(stamps) - 1)
    mask, boxes, x = np.zeros((height, width), np.uint8), [], 0
    for stamp in stamps:
        y = (height - stamp.height) // 2
        mask[y : y + stamp.height, x : x + stamp.width] = stamp.mask
        boxes.append(stamp.boxes + np.array([x, y, x, y], np.float32))
        x += stamp.width + round(gap_px)
    return Stamp(mask, np.concatenate(boxes), stamps[0].printed)


def _shrunk(stamp: Stamp, scale: float) -> Stamp:
    """Return a stamp whose sides are multiplied by `scale`."""
    if scale == 1:
        return stamp
    size = max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))
    mask = np.asarray(cv2.resize(stamp.mask, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Stamp(mask, stamp.boxes * np.float32(scale), stamp.printed)


@functools.lru_cache(maxsize=4096)
def _load_font(content: bytes, step: int) -> tuple[ImageFont.FreeTypeFont, float]:
    """Return a font in a size, and the height of its digits in pixels."""
    size = SMALLEST_FONT_PX * FONT_STEP**step * 1.4  # a digit is about 0.7 of the size of a font
    font = ImageFont.truetype(io.BytesIO(content), max(6, round(size)))
    _, top, _, bottom = font.getbbox("0")
    return font, max(1.0, bottom - top)
