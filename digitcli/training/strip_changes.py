"""Change strips at random at each use, since to compose them takes longer than to learn from them.

All values were chosen by hand.
"""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.strip_format import COLUMN_PX, STRIP_HEIGHT_PX
from digitcli.synthesis.strips import LabelledStrip

WIDTH_SPREAD, HEIGHT_SPREAD = 0.1, 0.05  # standard deviations of the logarithms of the sides
SHEAR = 0.12  # standard deviation of how far the top moves to the right, in heights
SHIFT_PX = 1.0  # standard deviation of how far a strip moves up or down
TONE, LEVEL = 0.3, 12.0  # standard deviations of the logarithm of the contrast, and of the level of 255
REVERSED_SHARE = 0.15  # of the strips become light on dark, or dark on light
NOISE = 6.0  # largest standard deviation of the noise, of 255
KEPT_SHARE = 0.25  # of the strips stay as they are


def change_strip(strip: LabelledStrip, random: np.random.Generator, least_columns: int) -> LabelledStrip:
    """Return a strip with other sides, slant and tones; it keeps `least_columns` columns of the reader."""
    if random.random() < KEPT_SHARE:
        return strip
    width = strip.image.shape[-1]
    stretch, height = np.exp(random.normal(0, (WIDTH_SPREAD, HEIGHT_SPREAD)))
    stretch = max(stretch, least_columns * COLUMN_PX / width)
    shear, shift = random.normal(0, (SHEAR, SHIFT_PX))
    middle = STRIP_HEIGHT_PX / 2
    matrix = np.array(
        [[stretch, -shear, shear * middle], [0, height, middle * (1 - height) + shift]], np.float32
    )
    size = (max(COLUMN_PX, round(stretch * width)), STRIP_HEIGHT_PX)
    channels = np.ascontiguousarray(strip.image.transpose(1, 2, 0))
    moved = cv2.warpAffine(channels, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    light = np.asarray(moved, np.float32).transpose(2, 0, 1) - 128
    light = light * np.float32(np.exp(random.normal(0, TONE))) + np.float32(random.normal(0, LEVEL))
    if random.random() < REVERSED_SHARE:  # the darkest value of a pixel becomes the lightest
        light = -light[[0, 2, 1]]
    light += np.float32(random.uniform(0, NOISE)) * random.standard_normal(light.shape[1:], np.float32)
    image = (light + 128).clip(0, 255).astype(np.uint8)
    return LabelledStrip(image, strip.text, _moved_boxes(strip.boxes, matrix, size))


def _moved_boxes(boxes: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return boxes (n, 4), x0 y0 x1 y1, after an affine transformation that changes no row into another."""
    if not len(boxes):
        return boxes
    x0, y0, x1, y1 = boxes.T
    moved = matrix[0, 0] * np.stack([x0, x1]) + matrix[0, 1] * (y0 + y1) / 2 + matrix[0, 2]
    rows = matrix[1, 1] * np.stack([y0, y1]) + matrix[1, 2]
    limits = np.tile(np.array(size, np.float32), 2)
    changed = np.stack([moved[0], rows[0], moved[1], rows[1]], axis=1)
    return np.asarray(np.clip(changed, 0, limits), np.float32)
