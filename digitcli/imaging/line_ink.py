"""What a network is shown of a line of writing: ink 255 on paper 0, whatever the light and the pen."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.quantiles import quantile

LINE_HEIGHT_PX = 40
COLUMN_PX = 4  # of a line to a column of what a network answers
BOX_SCALE_PX = 20.0  # the unit in which a network tells distances
DARKEST_PAPER = 0.2  # what is less dark than this stays paper, even where there is nothing darker


def line_ink(
    grey: npt.NDArray[np.uint8] | npt.NDArray[np.float32], faintest: float = DARKEST_PAPER
) -> npt.NDArray[np.uint8]:
    """A grey picture (H, W) from 0 to 255, dark on light, as ink 255 on paper 0.

    The light is taken as the brightest within a quarter of the height, smoothed; ink is how much darker a
    pixel is, as a share of the darkest hundredth, or of `faintest` where that is darker.
    """
    pixels = grey.astype(np.float32)
    side = max(3, grey.shape[0] // 2) | 1
    brightest = cv2.dilate(cv2.blur(pixels, (3, 3)), np.ones((side, side), np.uint8))
    light = cv2.blur(brightest, (4 * side + 1, 4 * side + 1))
    darkness = 1 - pixels / np.maximum(light, 8)
    full = max(quantile(darkness, 0.99), faintest)
    return np.clip(darkness * np.float32(255 / full), 0, 255).astype(np.uint8)
