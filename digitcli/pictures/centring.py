"""Boxing and centring: ink in, a digit as MNIST was made out.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998: the digit
is scaled, keeping its aspect, into a box of 20 x 20 pixels, and laid into 28 x 28 with its centre of mass in
the middle. What differs: strokes thinner than MNIST's are thickened first, or scaling would make them vanish.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE_PX = 28
BOX_PX = 20
_STROKE_PX = 2.3  # strokes in MNIST's box are seldom thinner
_FINE = 4  # strokes are thickened at this many times MNIST's resolution
_MASK = 0.25  # ink above this is part of a shape
_NEAR = 0.2  # of the digit's longer side: how far off its parts may lie
_PART = 0.03  # of the digit's area: smaller parts are specks
_RULED_SIDE_PX = 32  # smaller pictures are cut too tight to show ruled paper


def centre_digit(ink: np.ndarray) -> np.ndarray:
    """The digit in ink float32 (H, W), as uint8 (28, 28), white on black; all zeros where there is no ink."""
    digit = _cropped(select_digit(ink))
    if digit is None:
        return np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    fine = _fitted(_without_hairlines(digit), BOX_PX * _FINE)
    missing_px = _STROKE_PX - stroke_px(fine) / _FINE
    boxed = _fitted(_thickened(fine, missing_px) if missing_px > 0.2 else digit, BOX_PX)
    return _by_centre_of_mass(np.clip(boxed * 255 + 0.5, 0, 255).astype(np.uint8))


def select_digit(ink: np.ndarray) -> np.ndarray:
    """The component with most ink in the middle, and its parts; no borders, lines, specks or neighbours."""
    ink = without_ruling(ink)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((ink > _MASK).astype(np.uint8), connectivity=8)
    if count <= 2:
        return ink
    height, width = ink.shape
    central = (ink * np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])).ravel()
    central_ink = np.bincount(labels.ravel(), central, count)
    central_ink[0] = 0
    best = int(np.argmax(central_ink))
    x, y, w, h, area = stats.T
    touches = (x == 0) | (y == 0) | (x + w == width) | (y + h == height)
    gap_x = np.maximum(x, x[best]) - np.minimum(x + w, x[best] + w[best])
    gap_y = np.maximum(y, y[best]) - np.minimum(y + h, y[best] + h[best])
    near = np.hypot(np.maximum(gap_x, 0), np.maximum(gap_y, 0)) < _NEAR * max(w[best], h[best])
    belongs = near & (area > _PART * area[best]) & (~touches | touches[best])
    belongs[0], belongs[best] = False, True
    return ink * cv2.dilate(belongs[labels].astype(np.uint8), np.ones((3, 3), np.uint8))


def without_ruling(ink: np.ndarray) -> np.ndarray:
    """Drop the lines of ruled or squared paper: thin, and straight from one edge to the other."""
    height, width = ink.shape
    if min(height, width) < _RULED_SIDE_PX:
        return ink
    mask = (ink > _MASK / 2).astype(np.uint8)
    ruling = _ruling(mask) | _ruling(mask.T).T
    ruling = cv2.dilate(ruling, np.ones((3, 3), np.uint8))
    rest = ink * (1 - ruling)
    return rest if rest.sum() > 0.1 * ink.sum() else ink


def _ruling(mask: np.ndarray) -> np.ndarray:
    """The level lines in a mask (H, W), both uint8, but for the places where strokes cross them."""
    height, width = mask.shape
    thin = max(3, height // 40)
    level = cv2.morphologyEx(
        cv2.dilate(mask, np.ones((thin, 1), np.uint8)), cv2.MORPH_OPEN, np.ones((1, width // 6), np.uint8)
    )
    count, labels, stats, _ = cv2.connectedComponentsWithStats(level, connectivity=8)
    straight = stats[:, cv2.CC_STAT_HEIGHT] < 2 * thin + 0.05 * width
    spans = straight & (stats[:, cv2.CC_STAT_WIDTH] > 0.9 * width)
    spans[0] = False
    strokes = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2 * thin, 1), np.uint8))
    ruling: np.ndarray = mask & spans[labels].astype(np.uint8) & (1 - strokes)
    return ruling


def stroke_px(ink: np.ndarray) -> float:
    """The mean width of the strokes, in pixels: four times the mean distance to the edge."""
    mask = cv2.copyMakeBorder((ink > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[mask > 0]
    return 4 * float(inside.mean()) if inside.size else 0.0


def _cropped(ink: np.ndarray) -> np.ndarray | None:
    x, y, width, height = cv2.boundingRect((ink > 0.1).astype(np.uint8))
    return ink[y : y + height, x : x + width] if width else None


def _fitted(ink: np.ndarray, side_px: int) -> np.ndarray:
    """Scaled so that the longer side has `side_px` pixels."""
    height, width = ink.shape
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(ink, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _without_hairlines(digit: np.ndarray) -> np.ndarray:
    """Strokes widened to what is one pixel at the fine resolution, lest hairlines pale in the shrinking."""
    pixels = -(-max(digit.shape) // (BOX_PX * _FINE))
    return cv2.dilate(digit, np.ones((pixels, pixels), np.uint8))


def _thickened(fine: np.ndarray, missing_px: float) -> np.ndarray:
    """Strokes wider by `missing_px` of MNIST's pixels once this is fitted into the box, and cropped anew."""
    brush = round(missing_px * _FINE * BOX_PX / (BOX_PX - missing_px)) + 1
    fine = cv2.copyMakeBorder(fine, brush, brush, brush, brush, cv2.BORDER_CONSTANT, value=0)
    fine = cv2.dilate(fine, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (brush, brush)))
    cropped = _cropped(fine)
    return fine if cropped is None else cropped


def _by_centre_of_mass(boxed: np.ndarray) -> np.ndarray:
    """Laid into 28 x 28, the centre of mass as near the middle as the frame allows."""
    height, width = boxed.shape
    moments = cv2.moments(boxed)
    mass = max(moments["m00"], 1e-6)
    left = round(SIDE_PX / 2 - moments["m10"] / mass)
    top = round(SIDE_PX / 2 - moments["m01"] / mass)
    left = min(max(left, 0), SIDE_PX - width)
    top = min(max(top, 0), SIDE_PX - height)
    canvas = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    canvas[top : top + height, left : left + width] = boxed
    return canvas
