"""Turn a picture into its ink and its digit, in the same way for prediction, training and evaluation.

1. `opening`: turn any file or bytes into upright grey pixels, or raise a `PictureError`.
2. `binarization`: flatten the light, find the polarity, remove ruled lines; ink is 1 and paper is 0.
3. `components`: tell digits from frames, specks and neighbours.
4. `normalization`: scale and centre a digit as in MNIST, 28 x 28, white on black.

`digit_from_picture` takes all four steps, `digit_from_grey` all but the first. The package uses NumPy, OpenCV
and Pillow, but not torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from digitcli.imaging.binarization import find_ink, limit_size
from digitcli.imaging.normalization import normalize_central_digit
from digitcli.imaging.opening import open_pages, open_picture

__all__ = [
    "digit_from_grey",
    "digit_from_picture",
    "find_ink",
    "normalize_central_digit",
    "open_pages",
    "open_picture",
]

_DIGIT_SIDE_PX = 640  # a single digit needs no more pixels


def digit_from_picture(source: Path | bytes) -> np.ndarray:
    """Return the central digit of a picture file, or of a file's bytes: uint8 (28, 28), white on black.

    The result is all zeros if nothing is written.

    Raises:
        PictureError: The picture cannot be read.
    """
    return digit_from_grey(open_picture(source))


def digit_from_grey(grey: np.ndarray) -> np.ndarray:
    """Return the central digit of grey pixels (H, W), uint8 or float in [0, 1]: uint8 (28, 28), as above."""
    return normalize_central_digit(_ink_of(grey))


def _ink_of(grey: np.ndarray) -> np.ndarray:
    """Return the ink, float32 (H, W), of a picture that shows a single digit."""
    grey = limit_size(grey, _DIGIT_SIDE_PX)
    if grey.dtype == np.uint8:
        grey = grey.astype(np.float32) / 255
    return find_ink(grey.astype(np.float32, copy=False))
