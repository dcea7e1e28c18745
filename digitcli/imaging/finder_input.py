"""Normalize a picture for the page finder, and shrink it so that thin ink survives."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

SURROUNDINGS_PX = 16.0  # standard deviation of the Gaussian window of the local mean and deviation
SHRINK = 4  # sides of the pixels in which the surroundings are blurred
LEAST_DEVIATION = 3.0  # grey levels of 255; a smaller deviation is noise (chosen by hand)
NEUTRAL = 128  # the level of the local mean
CLIP = 6.0  # the largest distance from the local mean, in standard deviations

Grey = npt.NDArray[np.uint8]


def finder_input(grey: Grey, height: int, width: int) -> Grey:
    """Return the input of a page finder, uint8 (4, height, width), for a grey picture, uint8 (H, W).

    The first three channels are the mean, the darkest and the lightest value of each block of pixels. They
    are normalized by the mean and the standard deviation of their surroundings: 128 is the mean, and 21
    levels are a standard deviation. The last channel is the mean grey, not normalized.
    """
    mean, darkest, lightest = shrink(grey, height, width)
    level = mean.astype(np.float32)
    local_mean, local_square = _blur(level), _blur(level * level)
    deviation = np.sqrt(np.maximum(local_square - local_mean * local_mean, LEAST_DEVIATION**2))
    scale = np.float32(127 / CLIP) / deviation
    page = np.empty((4, height, width), np.uint8)
    for channel, values in zip(page, (mean, darkest, lightest), strict=False):
        distance = cv2.subtract(values, local_mean, dtype=cv2.CV_32F)
        cv2.multiply(distance, scale, dst=distance)
        cv2.add(distance, np.array([float(NEUTRAL)]), dst=channel, dtype=cv2.CV_8U)  # rounds and clips
    np.maximum(page[:3], 1, out=page[:3])
    page[3] = mean
    return page


def shrink(grey: Grey, height: int, width: int) -> tuple[Grey, Grey, Grey]:
    """Resize a picture; return the mean, the darkest and the lightest value of the pixels in each new pixel.

    The mean of a block of pixels hardly shows a stroke that is much thinner than the block. Its darkest and
    lightest values do.
    """
    mean = darkest = lightest = grey
    factor = max(grey.shape[0] / height, grey.shape[1] / width)
    while factor >= 4:  # halving it first keeps the windows below small
        size = -(-mean.shape[1] // 2), -(-mean.shape[0] // 2)
        mean = np.asarray(cv2.resize(mean, size, interpolation=cv2.INTER_AREA), np.uint8)
        darkest, lightest = _halve(darkest, np.minimum), _halve(lightest, np.maximum)
        factor /= 2
    if factor > 1:
        side = 2 * int(np.ceil((factor - 1) / 2)) + 1
        window = np.ones((side, side), np.uint8)
        darkest = np.asarray(cv2.erode(darkest, window), np.uint8)
        lightest = np.asarray(cv2.dilate(lightest, window), np.uint8)
    size = width, height
    nearest = cv2.INTER_NEAREST_EXACT if factor > 1 else cv2.INTER_LINEAR
    return (
        np.asarray(cv2.resize(mean, size, interpolation=cv2.INTER_AREA if factor > 1 else nearest), np.uint8),
        np.asarray(cv2.resize(darkest, size, interpolation=nearest), np.uint8),
        np.asarray(cv2.resize(lightest, size, interpolation=nearest), np.uint8),
    )


def _blur(level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Blur by `SURROUNDINGS_PX` in a quarter of the resolution, which changes no level by more than one."""
    size = level.shape[1], level.shape[0]
    small_size = -(-size[0] // SHRINK), -(-size[1] // SHRINK)
    small = cv2.resize(level, small_size, interpolation=cv2.INTER_AREA)
    sigma = SURROUNDINGS_PX / SHRINK
    blurred = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _halve(channel: Grey, reduce: np.ufunc) -> Grey:
    """Return the least or the greatest of each two by two pixels; an odd last row or column is repeated."""
    height, width = channel.shape
    if height % 2 or width % 2:
        channel = np.pad(channel, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = reduce(channel[::2], channel[1::2])
    return np.asarray(reduce(rows[:, ::2], rows[:, 1::2]), np.uint8)
