"""Canny's edge detector on many images at once, as scikit-image defines it: OpenCV's has other thresholds.

Canny, "A computational approach to edge detection", 1986.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

# The standard deviation of the blur, in pixels, and the least gradients of an edge and of its continuation,
# for ink of 1: the defaults of scikit-image.
SIGMA_PX = 1.0
HIGH_THRESHOLD = 0.2
LOW_THRESHOLD = 0.1

Images = npt.NDArray[np.float64]  # N, H, W
Masks = npt.NDArray[np.bool_]  # N, H, W


def canny_edges(images: Images) -> Masks:
    """Return where images (N, H, W), from 0 to 1, have edges."""
    rows, columns = _gradients(images)
    magnitude = np.hypot(rows, columns)
    ridges = _ridges(magnitude, rows, columns)
    weak = ridges & (magnitude >= LOW_THRESHOLD)
    edges = ridges & (magnitude >= HIGH_THRESHOLD)
    while True:  # an edge continues along weak pixels
        grown = _dilated(edges) & weak
        if np.array_equal(grown, edges):
            return edges
        edges = grown


def _gradients(images: Images) -> tuple[Images, Images]:
    """Return the slopes of the blurred images down the rows and along the columns."""
    reach = int(4 * SIGMA_PX + 0.5)
    size, border = (2 * reach + 1, 2 * reach + 1), cv2.BORDER_CONSTANT
    weights = cv2.GaussianBlur(np.ones(images.shape[1:]), size, SIGMA_PX, borderType=border)
    blurred = [cv2.GaussianBlur(image, size, SIGMA_PX, borderType=border) / weights for image in images]
    rows = [cv2.Sobel(image, -1, 0, 1, borderType=cv2.BORDER_REFLECT) for image in blurred]
    columns = [cv2.Sobel(image, -1, 1, 0, borderType=cv2.BORDER_REFLECT) for image in blurred]
    return np.stack(rows), np.stack(columns)


def _ridges(magnitude: Images, rows: Images, columns: Images) -> Masks:
    """Return where the gradient is as great as on both sides along its direction, interpolated."""
    steep, flat = np.abs(rows), np.abs(columns)
    greater = np.maximum(steep, flat)
    weight = np.minimum(steep, flat) / np.where(greater > 0, greater, 1)
    down, right = np.sign(rows).astype(int), np.sign(columns).astype(int)
    is_steep = steep >= flat
    straight = np.where(is_steep, down, 0), np.where(is_steep, 0, right)
    number, row, column = np.indices(magnitude.shape)
    padded = np.pad(magnitude, ((0, 0), (1, 1), (1, 1)))
    is_ridge = magnitude > 0
    is_ridge[:, [0, -1]] = is_ridge[:, :, [0, -1]] = False
    for side in (1, -1):
        beside, diagonal = (
            padded[number, row + 1 + side * step[0], column + 1 + side * step[1]]
            for step in (straight, (down, right))
        )
        is_ridge &= (1 - weight) * beside + weight * diagonal <= magnitude
    return is_ridge


def _dilated(masks: Masks) -> Masks:
    """Return which pixels are set or touch one that is, also at a corner."""
    square = np.ones((3, 3), np.uint8)
    return np.stack([cv2.dilate(mask.astype(np.uint8), square) for mask in masks]).astype(bool)
