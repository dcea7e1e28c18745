"""Trace the centre lines of digits in small images, as strokes that any pen can write again."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
from skimage.morphology import skeletonize

from digitcli.synthesis.strokes import DigitStrokes, Stroke

FINE = 4  # an image is traced at this multiple of its resolution
BLUR_PX = 2.0  # standard deviation, in fine pixels, of the blur that removes the steps of the image
INK_LEVEL = 110  # of 255; brighter pixels are ink
AHEAD = 6  # pixels over which the direction of a line is measured
CROSSING_PX = 4  # longest part of a line that another one has already taken where both cross
STRAIGHT = 0.85  # least cosine between the two sides of such a crossing
SMOOTHING = 7  # pixels over which a line is averaged
STEP = 4  # of the pixels of a line one is kept

_Pixel = tuple[int, int]


def centre_lines(image: npt.NDArray[np.uint8]) -> DigitStrokes:
    """Return the strokes of a digit (H, W), ink 255 on 0, in heights of the digit; no strokes without ink."""
    fine = cv2.resize(image, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_CUBIC)
    ink = cv2.GaussianBlur(fine, (0, 0), BLUR_PX) > INK_LEVEL
    skeleton = skeletonize(ink)
    if not skeleton.any():
        return []
    depth = cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 5)
    pen_px = 2 * float(np.median(depth[skeleton]))
    lines = _trace({(int(x), int(y)) for y, x in np.argwhere(skeleton)})
    kept = [line for line in lines if len(line) >= pen_px] or [max(lines, key=len)]  # shorter ones are spurs
    strokes = [_smooth(np.array(line, np.float32)) for line in kept]
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    height = max(high[1] - low[1], (high[0] - low[0]) / 2, 1)
    return [(stroke - low) / height for stroke in strokes]


def _trace(pixels: set[_Pixel]) -> list[list[_Pixel]]:
    """Divide the pixels of a skeleton into lines, which go straight on where others fork off or cross."""
    lines = []
    while pixels:
        ends = [pixel for pixel in pixels if len(_near(pixel, pixels)) == 1]
        line = [min(ends or pixels, key=lambda pixel: (pixel[1], pixel[0]))]
        pixels.discard(line[0])
        while (following := _follow(line, pixels)) is not None:
            line.append(following)
            pixels.discard(following)
        lines.append(line)
    return lines


def _follow(line: list[_Pixel], pixels: set[_Pixel]) -> _Pixel | None:
    """Return the pixel that goes on straightest from the end of a line, also beyond a crossing."""
    end, before = line[-1], line[max(0, len(line) - AHEAD)]
    near = _near(end, pixels)
    if near:
        return max(near, key=lambda pixel: _cosine(before, end, _look_ahead(end, pixel, pixels)))
    if len(line) < AHEAD:
        return None
    beyond = [pixel for pixel in _near(end, pixels, CROSSING_PX) if _cosine(before, end, pixel) > STRAIGHT]
    return min(beyond, key=lambda pixel: np.hypot(pixel[0] - end[0], pixel[1] - end[1]), default=None)


def _look_ahead(end: _Pixel, start: _Pixel, pixels: set[_Pixel]) -> _Pixel:
    """Return a pixel that lies some pixels further along a line."""
    seen = {end, start}
    for _ in range(AHEAD):
        near = [pixel for pixel in _near(start, pixels) if pixel not in seen]
        if not near:
            break
        start = max(near, key=lambda pixel: (pixel[0] - end[0]) ** 2 + (pixel[1] - end[1]) ** 2)
        seen.add(start)
    return start


def _near(pixel: _Pixel, pixels: Iterable[_Pixel], reach: int = 1) -> list[_Pixel]:
    """Return the pixels within a square around one, in reading order."""
    sides = range(-reach, reach + 1)
    around = ((pixel[0] + x, pixel[1] + y) for y in sides for x in sides if x or y)
    return [other for other in around if other in pixels]


def _cosine(before: _Pixel, end: _Pixel, after: _Pixel) -> float:
    """Return the cosine of the angle by which a line turns at its end."""
    first, second = np.subtract(end, before), np.subtract(after, end)
    return float(first @ second) / max(float(np.hypot(*first) * np.hypot(*second)), 1e-6)


def _smooth(line: Stroke) -> Stroke:
    """Average a line (P, 2) along itself, close it if it is a loop, and keep one of `STEP` points."""
    if len(line) > 3 * STEP and np.hypot(*(line[0] - line[-1])) <= 2:
        line = np.concatenate([line, line[:1]])
    padded = np.pad(line, ((SMOOTHING // 2, SMOOTHING // 2), (0, 0)), mode="edge")
    mean = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING, axis=0).mean(axis=-1)
    mean[0], mean[-1] = line[0], line[-1]
    return np.asarray(np.concatenate([mean[:-1:STEP], mean[-1:]]), np.float32)
