"""Change what was composed at random at each use: to compose it takes longer than to learn from it.

All values were chosen by hand.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Grey
from digitcli.imaging.network_inputs import NEUTRAL
from digitcli.page_format import STRIDE_PX
from digitcli.strip_format import COLUMN_PX, STRIP_HEIGHT_PX
from digitcli.synthesis.strips import LabelledStrip

Maps = npt.NDArray[np.float32]

WEIGHTS = 3  # the last of the maps of a square weigh the loss
WIDTH_SPREAD, HEIGHT_SPREAD = 0.1, 0.05  # standard deviations of the logarithms of the sides
SHEAR = 0.12  # standard deviation of how far the top moves to the right, in heights
SHIFT_PX = 1.0  # standard deviation of how far a strip moves up or down
TONE, LEVEL = 0.3, 12.0  # standard deviations of the logarithm of the contrast, and of the level of 255
REVERSED_SHARE = 0.15  # become light on dark, or dark on light
NOISE = 6.0  # largest standard deviation of the noise, of 255
KEPT_SHARE = 0.25  # of the strips and of the squares stay as they are
LARGEST_SHIFT = 12  # of a square, in cells of its maps


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
    return LabelledStrip(image, strip.text, _moved_boxes(strip.boxes, matrix, size), strip.prints)


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


def change_square(square: tuple[Grey, Maps], random: np.random.Generator) -> tuple[Grey, Maps]:
    """Return a square (4, H, W) and its maps (9, H / 4, W / 4), moved and with other tones.

    Where nothing was before there is paper without labels.
    """
    inputs, maps = square
    if random.random() < KEPT_SHARE:
        return inputs, maps
    down, right = random.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, 2).tolist()
    empty = np.zeros_like(maps)
    empty[-WEIGHTS:] = 1
    moved = _moved(inputs, np.full_like(inputs, NEUTRAL), STRIDE_PX * down, STRIDE_PX * right)
    light = moved.astype(np.float32) - NEUTRAL
    light[:3] *= np.float32(np.exp(random.normal(0, TONE)))
    light[3] += np.float32(random.normal(0, 2 * LEVEL))
    if random.random() < REVERSED_SHARE:  # the darkest value of a pixel becomes the lightest
        light = -light[[0, 2, 1, 3]]
    light += np.float32(random.uniform(0, NOISE)) * random.standard_normal(light.shape[1:], np.float32)
    return (light + NEUTRAL).clip(0, 255).astype(np.uint8), _moved(maps, empty, down, right)


def _moved(layers: npt.NDArray[Any], empty: npt.NDArray[Any], down: int, right: int) -> npt.NDArray[Any]:
    """Return layers (C, H, W) after a move, in front of empty ones."""
    height, width = layers.shape[1:]
    rows, columns = (
        slice(max(0, move), side + min(0, move)) for move, side in ((down, height), (right, width))
    )
    old_rows, old_columns = (
        slice(max(0, -move), side - max(0, move)) for move, side in ((down, height), (right, width))
    )
    empty[:, rows, columns] = layers[:, old_rows, old_columns]
    return empty
