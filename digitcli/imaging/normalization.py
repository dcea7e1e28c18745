"""Normalize the ink of a digit to an image like those of MNIST, and the ink of a line to its contrast.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998: a digit is
scaled, keeping its aspect ratio, into a box of 20 x 20 pixels and placed in 28 x 28 pixels with its centre of
mass in the middle. One step is added: strokes thinner than MNIST's are thickened first, because they would
vanish when they are scaled down.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.binarization import rescale
from digitcli.imaging.components import ConnectedComponents
from digitcli.imaging.grayscale import quantile

SIDE_PX = 28  # of the image
BOX_PX = 20  # of the box in it that the digit fills
_MIN_STROKE_PX = 2.3  # strokes in MNIST's box are seldom thinner
_FINE = 4  # strokes are thickened at this multiple of MNIST's resolution
_MIN_CHANGE_PX = 0.2  # strokes that are thinner by less than this are left as they are
_MIN_INK = 0.1  # share of full ink; paler pixels do not count when a digit is cropped


def normalize_central_digit(ink: np.ndarray) -> np.ndarray:
    """Return the most central digit of ink, float32 (H, W), as uint8 (28, 28), white on black.

    The result is all zeros if there is no ink.
    """
    components = ConnectedComponents(ink)
    group = components.group_central_digit()
    return normalize_digit(components.crop_ink(group) if group else np.zeros_like(ink))


def normalize_digit(ink: np.ndarray, box_px: int = BOX_PX) -> np.ndarray:
    """Return all of the ink, float32 (H, W), as one digit: uint8 (28, 28), white on black; zeros for no ink.

    A box smaller than MNIST's gives another view of the same digit.
    """
    digit = _crop(ink)
    if digit is None:
        return np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    fine = _fit(_widen_hairlines(digit, box_px), box_px * _FINE)
    missing_px = _MIN_STROKE_PX - mean_stroke_width(fine) / _FINE
    boxed = _fit(_thicken(fine, missing_px, box_px) if missing_px > _MIN_CHANGE_PX else digit, box_px)
    return _place_by_centre_of_mass(np.clip(boxed * 255 + 0.5, 0, 255).astype(np.uint8))


def mean_stroke_width(ink: np.ndarray) -> float:
    """Return the mean width of the strokes in pixels: four times the mean distance of ink to its edge."""
    mask = cv2.copyMakeBorder((ink > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depths = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[mask > 0]
    return 4 * float(depths.mean()) if depths.size else 0.0


def _crop(ink: np.ndarray) -> np.ndarray | None:
    x, y, width, height = cv2.boundingRect((ink > _MIN_INK).astype(np.uint8))
    return ink[y : y + height, x : x + width] if width else None


def _fit(ink: np.ndarray, side_px: int) -> np.ndarray:
    """Scale ink so that its longer side has `side_px` pixels."""
    return rescale(ink, side_px / max(ink.shape))


def _widen_hairlines(digit: np.ndarray, box_px: int) -> np.ndarray:
    """Widen strokes by one pixel of the fine resolution; hairlines would grow pale when they are scaled
    down."""
    pixels = -(-max(digit.shape) // (box_px * _FINE))
    return cv2.dilate(digit, np.ones((pixels, pixels), np.uint8))


def _thicken(fine: np.ndarray, missing_px: float, box_px: int) -> np.ndarray:
    """Widen strokes so that they gain `missing_px` of MNIST's pixels once they are fitted into the box."""
    brush = round(missing_px * _FINE * box_px / (box_px - missing_px)) + 1
    fine = cv2.copyMakeBorder(fine, brush, brush, brush, brush, cv2.BORDER_CONSTANT, value=0)
    fine = cv2.dilate(fine, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (brush, brush)))
    cropped = _crop(fine)
    return fine if cropped is None else cropped


def _place_by_centre_of_mass(boxed: np.ndarray) -> np.ndarray:
    """Place a digit in 28 x 28 pixels, its centre of mass as near to the middle as the image allows."""
    height, width = boxed.shape
    moments = cv2.moments(boxed)
    mass = max(moments["m00"], 1e-6)
    left = round(SIDE_PX / 2 - moments["m10"] / mass)
    top = round(SIDE_PX / 2 - moments["m01"] / mass)
    left = min(max(left, 0), SIDE_PX - width)
    top = min(max(top, 0), SIDE_PX - height)
    image = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    image[top : top + height, left : left + width] = boxed
    return image


# These four values are part of how the shipped line reader was trained; other values need a new training.
LINE_HEIGHT_PX = 40  # height of a line crop in pixels
COLUMN_PX = 4  # pixels of a line crop for each column of the network's output
BOX_SCALE_PX = 20.0  # pixels; the unit of the distances that a network predicts
DARKEST_PAPER = 0.2  # share of the light; a line without anything darker counts as blank paper


def line_ink(
    grey: npt.NDArray[np.uint8] | npt.NDArray[np.float32], faintest: float = DARKEST_PAPER
) -> npt.NDArray[np.uint8]:
    """Return the ink, 255 on 0, of grey pixels (H, W) from 0 to 255 with dark writing on light paper.

    The light at a pixel is the brightest value within a quarter of the height, smoothed. The ink of a pixel
    is its darkness, as a share of the light, divided by full darkness. Full darkness is the darkness that
    only a hundredth of all pixels exceed, or `faintest` if that is larger.
    """
    pixels = grey.astype(np.float32)
    side = max(3, grey.shape[0] // 2) | 1
    brightest = cv2.dilate(cv2.blur(pixels, (3, 3)), np.ones((side, side), np.uint8))
    light = cv2.blur(brightest, (4 * side + 1, 4 * side + 1))
    darkness = 1 - pixels / np.maximum(light, 8)
    full = max(quantile(darkness, 0.99), faintest)
    return np.clip(darkness * np.float32(255 / full), 0, 255).astype(np.uint8)
