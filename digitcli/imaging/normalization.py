"""Boxing and centring: ink in, a digit as MNIST was made out.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998: the digit
is rescale, keeping its aspect, into a box of 20 x 20 pixels, and laid into 28 x 28 with its centre of mass in
the middle. What differs: strokes thinner than MNIST's are thickened first, or scaling would make them vanish.
"""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.imaging.binarization import rescale
from digitcli.imaging.components import ConnectedComponents

SIDE_PX = 28
BOX_PX = 20
_STROKE_PX = 2.3  # strokes in MNIST's box are seldom thinner
_FINE = 4  # strokes are thickened at this many times MNIST's resolution


def normalize_central_digit(ink: np.ndarray) -> np.ndarray:
    """The most central digit in ink float32 (H, W), as uint8 (28, 28), white on black; zeros for no ink."""
    pieces = ConnectedComponents(ink)
    return normalize_digit(
        pieces.crop_ink(group) if (group := pieces.group_central_digit()) else np.zeros_like(ink)
    )


def normalize_digit(ink: np.ndarray, box_px: int = BOX_PX) -> np.ndarray:
    """All of the ink, float32 (H, W), as one digit: uint8 (28, 28), white on black; zeros for no ink.

    MNIST's box of 20 pixels may be made smaller, for another view of the digit.
    """
    digit = _cropped(ink)
    if digit is None:
        return np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    fine = _fitted(_without_hairlines(digit, box_px), box_px * _FINE)
    missing_px = _STROKE_PX - stroke_px(fine) / _FINE
    boxed = _fitted(_thickened(fine, missing_px, box_px) if missing_px > 0.2 else digit, box_px)
    return _by_centre_of_mass(np.clip(boxed * 255 + 0.5, 0, 255).astype(np.uint8))


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
    return rescale(ink, side_px / max(ink.shape))


def _without_hairlines(digit: np.ndarray, box_px: int) -> np.ndarray:
    """Strokes widened to what is one pixel at the fine resolution, lest hairlines pale in the shrinking."""
    pixels = -(-max(digit.shape) // (box_px * _FINE))
    return cv2.dilate(digit, np.ones((pixels, pixels), np.uint8))


def _thickened(fine: np.ndarray, missing_px: float, box_px: int) -> np.ndarray:
    """Strokes wider by `missing_px` of MNIST's pixels once this is fitted into the box, and cropped anew."""
    brush = round(missing_px * _FINE * box_px / (box_px - missing_px)) + 1
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
