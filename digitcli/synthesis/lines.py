"""Lines of handwritten numbers, composed as they are asked for, to train and to try a line reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits
from digitcli.errors import InputError
from digitcli.imaging.line_ink import LINE_HEIGHT_PX, line_ink
from digitcli.synthesis.composition import empty_scene, write_scene
from digitcli.synthesis.digit_shapes import display_writer, invent_writer
from digitcli.synthesis.glyphs import Mask, printed_digits
from digitcli.synthesis.paper import photograph
from digitcli.synthesis.strokes import Writer
from digitcli.synthesis.texts import draw_text
from digitcli.synthesis.writer_style import CANVAS_PX, Hand, draw_print, draw_style

EMPTY_SHARE = 0.10  # of the lines have nothing to read
PRINTED_SHARE = 0.08  # of the others are printed, or shown by a display,
IMAGES_SHARE = 0.35  # are written with MNIST's images
TABLET_SHARE = 0.45  # of the rest with strokes of a tablet, where there are any; else a writer is invented
BLEND = 0.3  # of the digits of such a writer, in every other line, have an invented shape


@dataclass(frozen=True)
class Line:
    """A picture uint8 (40, W), ink 255 on paper 0, and what it says: `text`, of `texts.ALPHABET`.

    `boxes`, float32 (n, 4), are x0 y0 x1 y1 in pixels of the picture, one a character of the text.
    """

    image: npt.NDArray[np.uint8]
    text: str
    boxes: npt.NDArray[np.float32]

    @property
    def digits(self) -> str:
        """The text without its marks."""
        return "".join(character for character in self.text if character.isdecimal())


class LineSynthesizer:
    """Composes lines of digits (the training part of a set, uint8 (N, 28, 28)) and of pen trajectories.

    A line is written with the images, by an invented writer (`allographs.py`) or, where there are any, by
    one of those of a tablet (`strokes.py`).

    Raises:
        InputError: a digit has no image with ink.
    """

    def __init__(self, digits: Digits, writers: Sequence[Writer] = ()) -> None:
        inked = digits.images.any(axis=(1, 2))
        images = tuple(digits.images[inked & (digits.labels == digit)] for digit in range(10))
        missing = [str(digit) for digit in range(10) if not len(images[digit])]
        if missing:
            cause = f"There are no images of {', '.join(missing)} to write with."
            raise InputError(cause, "Give digits of all ten kinds.")
        self._images = images
        self._writers = writers
        self._printed = printed_digits()

    def line(self, random: np.random.Generator) -> Line:
        """A line at random; a generator in the same state gives the same line."""
        grey, text, boxes = self.photograph(random)
        return Line(line_ink(grey), text, boxes)

    def photograph(self, random: np.random.Generator) -> tuple[Mask, str, npt.NDArray[np.float32]]:
        """The same as the camera sees it, dark on light, with its text and boxes."""
        if random.random() < EMPTY_SHARE:
            text, scene = "", empty_scene(random)
        else:
            text = draw_text(random)
            scene = write_scene(random, self.hand(random, text), text)
        image = photograph(random, scene.ink, scene.clutter)
        limits = np.tile(np.array(image.shape[::-1], np.float32), 2)
        boxes = np.clip(scene.boxes * np.float32(LINE_HEIGHT_PX / CANVAS_PX), 0, limits)
        return image, text, boxes.astype(np.float32)

    def hand(self, random: np.random.Generator, text: str) -> Hand:
        """Who writes a text."""
        if random.random() < PRINTED_SHARE:
            number = int(random.integers(len(self._printed) + 1))
            if number < len(self._printed):
                return Hand(draw_print(random), self._printed[number], None, random)
            return Hand(draw_print(random), self._images, display_writer(), random)
        return Hand(draw_style(random), self._images, self._writer(random, text), random)

    def _writer(self, random: np.random.Generator, text: str) -> Writer | None:
        """Whose strokes a text is written with; None for the images."""
        if random.random() < IMAGES_SHARE:
            return None
        invented = invent_writer(random, sorted({int(digit) for digit in text if digit.isdecimal()}))
        if not self._writers or random.random() > TABLET_SHARE:
            return invented
        writer = self._writers[int(random.integers(len(self._writers)))]
        blend = BLEND if random.random() < 0.5 else 0.0
        return {digit: (invented if random.random() < blend else writer)[digit] for digit in invented}
