"""Normalize a line of writing for a line network: ink 255 on paper 0, whatever the light and the pen."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.quantiles import quantile

# These four values are part of how the shipped line reader was trained; other values need a new training.
LINE_HEIGHT_PX = 40  # of a line as a network sees it
COLUMN_PX = 4  # width of the part of a line that one column of the network's output stands for
BOX_SCALE_PX = 20.0  # the unit in which a network states distances
DARKEST_PAPER = 0.2  # share of the light; a line without anything darker counts as blank paper


def line_ink(
    grey: npt.NDArray[np.uint8] | npt.NDArray[np.float32], faintest: float = DARKEST_PAPER
) -> npt.NDArray[np.uint8]:
    """Return the ink, 255 on 0, of grey pixels (H, W) from 0 to 255 with dark writing on light paper.

    The light at a pixel is the brightest value within a quarter of the height, smoothed. The ink of a pixel
    is its darkness, as a share of the light, divided by that of the darkest hundredth of all pixels, or by
    `faintest` if that is larger.
    """
    pixels = grey.astype(np.float32)
    side = max(3, grey.shape[0] // 2) | 1
    brightest = cv2.dilate(cv2.blur(pixels, (3, 3)), np.ones((side, side), np.uint8))
    light = cv2.blur(brightest, (4 * side + 1, 4 * side + 1))
    darkness = 1 - pixels / np.maximum(light, 8)
    full = max(quantile(darkness, 0.99), faintest)
    return np.clip(darkness * np.float32(255 / full), 0, 255).astype(np.uint8)
