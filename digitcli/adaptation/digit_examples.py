"""Single digits to learn from: the digit crops of labelled pictures that `predict` shows a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.adaptation.examples import open_upright
from digitcli.data.dataset import Digits
from digitcli.data.labelled_pictures import LabelledPicture
from digitcli.recognition.calibrate import Answer, numbers_of
from digitcli.recognition.crops import DIGIT_SIZES_PX, crop_numbers
from digitcli.recognition.segmentation import find_numbers


@dataclass(frozen=True)
class PictureDigits:
    """The digits to learn from that a labelled picture gives.

    picture: the picture.
    digits: the crops of its components, each in all sizes; empty if they cannot be matched with the label.
    """

    picture: LabelledPicture
    digits: Digits

    @property
    def is_of_one_digit(self) -> bool:
        """Whether the picture shows a single digit, which was found."""
        return len(self.digits) == len(DIGIT_SIZES_PX)


def find_digits_to_learn(answers: Sequence[Answer]) -> list[PictureDigits]:
    """Return the digits of pictures of one page each, which can be opened, as they were read upright.

    A picture gives digits if as many components stand apart in it as its label has digits. Others may be
    marks or parts of digits, or several digits that touch.
    """
    return [
        PictureDigits(
            answer.picture, _digits_of(answer.picture, open_upright(answer.picture, answer.rotation))
        )
        for answer in answers
    ]


def _digits_of(picture: LabelledPicture, grey: np.ndarray) -> Digits:
    text = "".join(numbers_of(picture.text).split())
    regions = crop_numbers(find_numbers(grey, with_lines=True))
    crops = np.concatenate(
        [np.zeros((0, len(DIGIT_SIZES_PX), 28, 28), np.uint8), *(r.digits for r in regions)]
    )
    if len(crops) != len(text) or not all(len(region.digits) for region in regions):
        crops, text = crops[:0], ""
    labels = np.repeat(np.array([int(digit) for digit in text], np.int64), len(DIGIT_SIZES_PX))
    return Digits(crops.reshape(-1, 28, 28), labels)
