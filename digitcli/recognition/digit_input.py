"""What a digit model sees of a picture: the central digit, as `predict` shows it to the model first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from digitcli.errors import PictureError, quoted
from digitcli.imaging.grayscale import Box
from digitcli.recognition.crops import crop_numbers
from digitcli.recognition.segmentation import find_numbers

# Greatest width of a digit beside others, in heights of it; a wider component is several digits that touch
# (chosen by hand).
WIDEST_DIGIT = 1.3
# Greatest width of a digit that stands alone, in heights of it. Of 10,000 test digits of MNIST 7 are wider,
# and 169 are wider than `WIDEST_DIGIT`.
WIDEST_LONE_DIGIT = 1.7


@dataclass(frozen=True)
class CentralDigit:
    """The digit nearest to the middle of the writing in a picture.

    image: uint8 (28, 28), ink 255 on paper 0; of two crops that `predict` takes of a digit, the first.
    count: how many digits stand apart in the picture.
    may_touch: whether the digit is so wide that it may be two that touch.
    """

    image: np.ndarray
    count: int
    may_touch: bool


def central_digit(grey: np.ndarray, name: str) -> CentralDigit:
    """Return the central digit of a picture, float32 (H, W) in [0, 1]; `name` is its file.

    Raises:
        PictureError: nothing is written, or the central digit touches another one.
    """
    regions = crop_numbers(find_numbers(grey))
    boxes = [component.box for crops in regions for component in crops.region.components]
    if not boxes:
        raise PictureError("blank", f"Nothing is written in {name}.", "Name a picture of a digit.")
    central = _most_central(np.array(boxes))
    aspect = _aspect(boxes[central])
    if aspect > (WIDEST_LONE_DIGIT if len(boxes) == 1 else WIDEST_DIGIT):
        remedy = f"Explain them as a line: digitcli explain reader {quoted(name)}"
        raise PictureError("touching_digits", f"The digits of {name} touch.", remedy)
    digits = np.concatenate([crops.digits for crops in regions])  # N, 2, 28, 28
    return CentralDigit(digits[central, 0], len(boxes), may_touch=aspect > WIDEST_DIGIT)


def _most_central(boxes: np.ndarray) -> int:
    """Return the index of the box (N, 4) that is nearest to the middle of all boxes."""
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    middle = (starts.min(axis=0) + ends.max(axis=0)) / 2
    return int(np.argmin(np.hypot(*((starts + ends) / 2 - middle).T)))


def _aspect(box: Box) -> float:
    return box[2] / box[3]
