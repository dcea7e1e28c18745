"""Synthetic lines of handwritten numbers with exact labels, to train and to test line readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits
from digitcli.errors import InputError
from digitcli.imaging.normalization import COLUMN_PX, LINE_HEIGHT_PX, line_ink
from digitcli.synthesis.composition import compose_empty, compose_text
from digitcli.synthesis.digit_shapes import invent_writer, seven_segment_writer
from digitcli.synthesis.glyphs import Mask, render_printed_digits
from digitcli.synthesis.paper import photograph
from digitcli.synthesis.strokes import WriterStrokes
from digitcli.synthesis.texts import sample_amount, sample_number
from digitcli.synthesis.writer_style import CANVAS_PX, Writer, sample_printed_style, sample_style

ALPHABET = "0123456789.,-=/"
AMOUNTS_SHARE = 0.5  # of the texts are drawn as amounts, and a fifth of the others. Chosen by hand.

# How a line is written. The shares were chosen by hand.
EMPTY_SHARE = 0.10  # of the lines have nothing to read
PRINTED_SHARE = 0.08  # of the other lines are printed or shown by a display
IMAGES_SHARE = 0.35  # of the handwritten lines use MNIST's images
TABLET_SHARE = 0.45  # of the rest use strokes from a tablet, if there are any; else a writer is invented
BLEND_SHARE = 0.3  # of a tablet writer's digits have an invented shape, in half of that writer's lines


@dataclass(frozen=True)
class Line:
    """A line of writing and its label.

    image: uint8 (40, W), ink 255 on paper 0, as a line network sees it.
    text: the characters of `ALPHABET` that stand on it; empty if there is nothing to read.
    boxes: float32 (n, 4), x0, y0, x1, y1 in pixels of the image, one box for each character.
    """

    image: npt.NDArray[np.uint8]
    text: str
    boxes: npt.NDArray[np.float32]

    @property
    def digits(self) -> str:
        """The text without its marks."""
        return "".join(character for character in self.text if character.isdecimal())


class LineSynthesizer:
    """Composes synthetic lines from images of digits and from pen strokes.

    Each line has one writer, who uses the images (the training part of a dataset), strokes of invented shapes
    (`digit_shapes.py`) or, if any are given, strokes that a person wrote on a tablet (`strokes.py`).

    Raises:
        InputError: No image of one of the digits has ink.
    """

    def __init__(self, digits: Digits, writers: Sequence[WriterStrokes] = ()) -> None:
        has_ink = digits.images.any(axis=(1, 2))
        images = tuple(digits.images[has_ink & (digits.labels == digit)] for digit in range(10))
        missing = [str(digit) for digit in range(10) if not len(images[digit])]
        if missing:
            cause = f"There are no images with ink of the digits {', '.join(missing)}."
            raise InputError(cause, "Give images of all ten digits.")
        self._images = images
        self._writers = writers
        self._printed_digits = render_printed_digits()

    def synthesize_line(self, random: np.random.Generator) -> Line:
        """Compose a random line; a generator in the same state gives the same line.

        A line with fewer columns than CTC needs for its text is composed anew: nobody could read it.
        """
        while True:
            grey, text, boxes = self.synthesize_photograph(random)
            if grey.shape[1] >= COLUMN_PX * count_ctc_columns(text):
                return Line(line_ink(grey), text, boxes)

    def synthesize_photograph(self, random: np.random.Generator) -> tuple[Mask, str, npt.NDArray[np.float32]]:
        """Compose a random line as a camera sees it, dark on light: uint8 (40, W), its text and its boxes."""
        if random.random() < EMPTY_SHARE:
            text, composition = "", compose_empty(random)
        else:
            text = sample_text(random)
            composition = compose_text(random, self.sample_writer(random, text), text)
        image = photograph(random, composition.ink, composition.distractors)
        limits = np.tile(np.array(image.shape[::-1], np.float32), 2)
        boxes = np.clip(composition.boxes * np.float32(LINE_HEIGHT_PX / CANVAS_PX), 0, limits)
        return image, text, boxes.astype(np.float32)

    def sample_writer(self, random: np.random.Generator, text: str) -> Writer:
        """Return a random writer, or a printer, for a text."""
        if random.random() < PRINTED_SHARE:
            font = int(random.integers(len(self._printed_digits) + 1))
            if font < len(self._printed_digits):
                return Writer(sample_printed_style(random), self._printed_digits[font], None, random)
            return Writer(sample_printed_style(random), self._images, seven_segment_writer(), random)
        return Writer(sample_style(random), self._images, self._sample_strokes(random, text), random)

    def _sample_strokes(self, random: np.random.Generator, text: str) -> WriterStrokes | None:
        """Return the strokes with which a text is written; None if it is written with images."""
        if random.random() < IMAGES_SHARE:
            return None
        invented = invent_writer(random, sorted({int(digit) for digit in text if digit.isdecimal()}))
        if not self._writers or random.random() > TABLET_SHARE:
            return invented
        writer = self._writers[int(random.integers(len(self._writers)))]
        blend_share = BLEND_SHARE if random.random() < 0.5 else 0.0
        return {digit: (invented if random.random() < blend_share else writer)[digit] for digit in invented}


def count_ctc_columns(text: str) -> int:
    """Return the number of columns that CTC needs for a text.

    Each character needs one, and a blank between equal characters needs another.
    """
    return len(text) + sum(left == right for left, right in zip(text, text[1:], strict=False))


def sample_text(random: np.random.Generator) -> str:
    """Return a random amount, or a number of any kind whose characters are all in `ALPHABET`."""
    if random.random() < AMOUNTS_SHARE:
        return sample_amount(random)
    while not set(text := sample_number(random)) <= set(ALPHABET):
        pass
    return text
