"""Printed letters, drawn in the fonts of OpenCV: pictures that are no digits."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]  # H, W; ink 255 on paper 0

PRINTED_LETTERS = "ACEFGHKLMNRTUVWXacdfhkmnptuvwxy"  # without letters that look like a digit in some font
OPENCV_FONTS = (
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_ITALIC,
)
LETTER_PX = 22  # the longer side of a letter in its 28 x 28 image; a little more than MNIST's 20


def draw_letters() -> list[Mask]:
    """Return every printed letter in each of the fonts, (28, 28)."""
    return [_draw(letter, font) for font in OPENCV_FONTS for letter in PRINTED_LETTERS]


def _draw(letter: str, font: int) -> Mask:
    canvas = np.zeros((80, 80), np.uint8)
    cv2.putText(canvas, letter, (15, 60), font, cv2.getFontScaleFromHeight(font, 40, 3), 255, 3, cv2.LINE_AA)
    return centred(canvas)


def centred(letter: Mask) -> Mask:
    """Crop a letter (H, W), scale its longer side to `LETTER_PX` and put it in the middle of 28 x 28."""
    x, y, width, height = cv2.boundingRect(letter)
    scale = LETTER_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(letter[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((28, 28), np.uint8)
    left, top = (28 - size[0]) // 2, (28 - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
