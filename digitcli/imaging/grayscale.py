"""From every mode of Pillow to one grey scale: float32 (H, W), 0 black, 1 white, without losing the ink.

`Image.convert("L")` would turn transparent paper black, 16-bit paper white and float paper black, and would
make yellow ink on white, or red on green, vanish.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

_FULL_SCALES = (255, 1023, 4095, 16383, 65535)


def grey_of(image: Image.Image) -> np.ndarray:
    """The grey of a loaded image of any mode: float32 (H, W) in [0, 1]."""
    if image.mode.startswith("I"):
        return _scaled(np.asarray(image).astype(np.float32), fractions=False)
    if image.mode == "F":
        return _scaled(np.array(image, dtype=np.float32), fractions=True)
    if image.mode == "LAB":
        return _unit(np.asarray(image.getchannel(0)))
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        rgba = np.asarray(_with_alpha(image))
        rgb, alpha = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), rgba[..., 3]
        return _unit(_luma(rgb)) if (alpha == 255).all() else _on_showing_background(rgb, alpha)
    if image.mode in ("1", "L"):
        return _unit(np.asarray(image.convert("L")))
    return _unit(_luma(np.asarray(image if image.mode == "RGB" else image.convert("RGB"))))


def _with_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":
        return image
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _unit(grey: np.ndarray) -> np.ndarray:
    unit: np.ndarray = np.multiply(grey, np.float32(1 / 255), dtype=np.float32)
    return unit


def _scaled(values: np.ndarray, *, fractions: bool) -> np.ndarray:
    """Deep greys, scaled by the smallest full scale that holds them; what is no number becomes paper."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    if not finite.all():
        values = np.where(finite, values, np.median(values[finite]))
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > _FULL_SCALES[-1]:
        return (values - low) / np.float32(max(high - low, 1e-12))
    if fractions and high < 4:
        return values / np.float32(max(high, 1.0))
    return values / np.float32(next(scale for scale in _FULL_SCALES if high <= scale))


def _luma(rgb: np.ndarray) -> np.ndarray:
    """Luma of (H, W, 3) uint8, or the one channel that shows ink which luma hides (yellow on white)."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    step = _step(grey)
    sample, grey_sample = (np.ascontiguousarray(picture[::step, ::step]) for picture in (rgb, grey))
    spread = cv2.meanStdDev(sample)[1].ravel()
    strongest = int(np.argmax(spread))
    if spread[strongest] > 3 * float(cv2.meanStdDev(grey_sample)[1][0, 0]) + 1:
        return np.ascontiguousarray(rgb[..., strongest])
    return grey


def _step(picture: np.ndarray) -> int:
    """Every so manieth pixel and row of a picture (H, W) tell what it looks like."""
    return max(1, int(round((picture.size / 250_000) ** 0.5)))


def _on_showing_background(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay (H, W, 3) uint8 of an opacity, (H, W), on white, or on black where white would hide light ink."""
    shown, opacity = _unit(_luma(rgb)), _unit(alpha)
    shown *= opacity  # in place, as these are large
    step = _step(alpha)
    on_black = shown[::step, ::step]
    on_white = on_black + (1 - opacity[::step, ::step])
    if on_white.std() >= min(0.05, on_black.std()):
        np.subtract(1, opacity, out=opacity)
        shown += opacity
    return shown
