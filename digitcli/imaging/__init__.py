"""The one road from a picture to ink, for predicting, serving, training folders and evaluation alike.

1. `opening`: any file or bytes becomes upright grey, or a `PictureError` says why not.
2. `ink`: the light is flattened, the polarity found and ruling left out; ink is 1, paper 0.
3. `shapes`: digits are told from frames, specks and neighbours.
4. `centring`: a digit is boxed and centred as MNIST was made, 28 x 28, white on black.
`digit_from_picture` walks all of it, `digit_from_grey` all but the first step. NumPy, OpenCV and Pillow;
no torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from digitcli.imaging.binarization import find_ink, limit_size
from digitcli.imaging.normalization import normalize_central_digit
from digitcli.imaging.opening import open_pages, open_picture

__all__ = [
    "normalize_central_digit",
    "digit_from_grey",
    "digit_from_picture",
    "find_ink",
    "open_pages",
    "open_picture",
]

_DIGIT_SIDE_PX = 640  # one digit needs no more pixels than this


def digit_from_picture(source: Path | bytes) -> np.ndarray:
    """The one digit in a picture file, or in a file's bytes: uint8 (28, 28), white ink on black.

    All zeros where nothing is written. Raises `PictureError` where the picture cannot be read.
    """
    return digit_from_grey(open_picture(source))


def digit_from_grey(grey: np.ndarray) -> np.ndarray:
    """The one digit in a grey picture (H, W), uint8 or float in [0, 1]: uint8 (28, 28), white on black."""
    grey = limit_size(grey, _DIGIT_SIDE_PX)
    if grey.dtype == np.uint8:
        grey = grey.astype(np.float32) / 255
    return normalize_central_digit(find_ink(grey.astype(np.float32, copy=False)))
