"""Lines of handwritten numbers, composed as they are asked for, to train and to try a line reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.digits import Digits
from digitcli.errors import InputError
from digitcli.synthesis.hands import CANVAS_PX, Hand, Models, draw_style
from digitcli.synthesis.normalising import normalise
from digitcli.synthesis.paper import HEIGHT_PX, photograph
from digitcli.synthesis.scenes import empty_scene, write_scene
from digitcli.synthesis.strokes import read_strokes
from digitcli.synthesis.texts import draw_text

EMPTY_SHARE = 0.06  # of the lines have nothing to read


@dataclass(frozen=True)
class Line:
    """A picture uint8 (40, W), ink 255 on paper 0, and what it says: `text`, of `texts.ALPHABET`.

    `boxes`, float32 (n, 4), are x0 y0 x1 y1 in pixels of the picture, one a character of the text.
    """

    image: npt.NDArray[np.uint8]
    text: str
    boxes: npt.NDArray[np.float32]


class LineSynthesizer:
    """Composes lines of digits (the training part of a set, uint8 (N, 28, 28)) and of pen trajectories.

    Without a file of strokes, see `strokes.py`, every digit is one of the images; with it, three lines of
    five are written with strokes, whose hatted 1s and crossed 7s MNIST lacks.

    Raises:
        InputError: a digit has no image with ink, or the file of strokes cannot be used.
    """

    def __init__(self, digits: Digits, strokes: Path | None = None) -> None:
        inked = digits.images.any(axis=(1, 2))
        images = tuple(digits.images[inked & (digits.labels == digit)] for digit in range(10))
        missing = [str(digit) for digit in range(10) if not len(images[digit])]
        if missing:
            cause = f"There are no images of {', '.join(missing)} to write with."
            raise InputError(cause, "Give digits of all ten kinds.")
        self._models = Models(images, read_strokes(strokes) if strokes else {})
        self._writers = list(self._models.strokes)

    def line(self, random: np.random.Generator) -> Line:
        """A line at random; a generator in the same state gives the same line."""
        if random.random() < EMPTY_SHARE:
            text, scene = "", empty_scene(random)
        else:
            text = draw_text(random)
            hand = Hand(draw_style(random, self._writers), self._models, random)
            scene = write_scene(random, hand, text)
        image = normalise(photograph(random, scene.ink, scene.clutter))
        limits = np.tile(np.array(image.shape[::-1], np.float32), 2)
        boxes = np.clip(scene.boxes * np.float32(HEIGHT_PX / CANVAS_PX), 0, limits)
        return Line(image, text, boxes.astype(np.float32))
