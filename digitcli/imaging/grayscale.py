"""Convert an image of any Pillow mode to grey: float32 (H, W), 0 black, 1 white, without losing the ink.

`Image.convert("L")` would turn transparent paper black, 16-bit paper white and float paper black, and yellow
ink on white or red ink on green would vanish.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Grey = npt.NDArray[np.uint8]  # (H, W), 0 black, 255 white
Box = tuple[int, int, int, int]  # x, y, width, height in pixels

_FULL_SCALES = (255, 1023, 4095, 16383, 65535)  # the white of 8, 10, 12, 14 and 16 bits
_FLOAT_UNIT_MAX = 4  # floats below this are taken as 0 to 1 with some glare above 1
_SAMPLE_PIXELS = 250_000  # enough to measure the contrast of a whole picture
_CHANNEL_GAIN = 3  # a colour channel replaces luma if its contrast is this many times as large
_MIN_SPREAD = 0.05  # of white; a smaller standard deviation means that white paper hides the ink


def convert_to_grey(image: Image.Image) -> np.ndarray:
    """Return the grey of a loaded image of any mode: float32 (H, W) in [0, 1]."""
    if image.mode.startswith("I"):
        return _scale_to_unit(np.asarray(image).astype(np.float32), is_float=False)
    if image.mode == "F":
        return _scale_to_unit(np.array(image, dtype=np.float32), is_float=True)
    if image.mode == "LAB":
        return _bytes_to_unit(np.asarray(image.getchannel(0)))
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        straight = image.convert("LA") if image.mode == "La" else image
        rgba = np.asarray(straight if straight.mode == "RGBA" else straight.convert("RGBA"))
        rgb, alpha = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), rgba[..., 3]
        return _bytes_to_unit(_luma(rgb)) if (alpha == 255).all() else _lay_on_background(rgb, alpha)
    if image.mode in ("1", "L"):
        return _bytes_to_unit(np.asarray(image.convert("L")))
    return _bytes_to_unit(_luma(np.asarray(image if image.mode == "RGB" else image.convert("RGB"))))


def _bytes_to_unit(grey: np.ndarray) -> np.ndarray:
    unit: np.ndarray = np.multiply(grey, np.float32(1 / 255), dtype=np.float32)
    return unit


def _scale_to_unit(values: np.ndarray, *, is_float: bool) -> np.ndarray:
    """Divide by the smallest full scale that holds all values; replace NaN and infinity by the median.

    Values below 0 or above 16 bits have no known scale: they are stretched from their least to their
    greatest.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    if not finite.all():
        values = np.where(finite, values, np.median(values[finite]))
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > _FULL_SCALES[-1]:
        return (values - low) / np.float32(max(high - low, 1e-12))
    if is_float and high < _FLOAT_UNIT_MAX:
        return values / np.float32(max(high, 1.0))
    return values / np.float32(next(scale for scale in _FULL_SCALES if high <= scale))


def _luma(rgb: np.ndarray) -> np.ndarray:
    """Return the luma of uint8 (H, W, 3), or the channel with most contrast if luma hides the ink.

    Luma hides yellow ink on white paper, for example.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    step = _sample_step(grey)
    sample, grey_sample = (np.ascontiguousarray(pixels[::step, ::step]) for pixels in (rgb, grey))
    spread = cv2.meanStdDev(sample)[1].ravel()
    strongest = int(np.argmax(spread))
    if spread[strongest] > _CHANNEL_GAIN * float(cv2.meanStdDev(grey_sample)[1][0, 0]) + 1:
        return np.ascontiguousarray(rgb[..., strongest])
    return grey


def _sample_step(pixels: np.ndarray) -> int:
    """Return the step between rows and columns that samples about `_SAMPLE_PIXELS` of a picture (H, W)."""
    return max(1, int(round((pixels.size / _SAMPLE_PIXELS) ** 0.5)))


def _lay_on_background(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay uint8 (H, W, 3) of an opacity (H, W) on white, or on black if white would hide light ink."""
    grey, opacity = _bytes_to_unit(_luma(rgb)), _bytes_to_unit(alpha)
    grey *= opacity  # in place, because these arrays are large
    step = _sample_step(alpha)
    on_black = grey[::step, ::step]
    on_white = on_black + (1 - opacity[::step, ::step])
    if on_white.std() >= min(_MIN_SPREAD, on_black.std()):
        np.subtract(1, opacity, out=opacity)
        grey += opacity
    return grey


def quantile(values: np.ndarray, share: float) -> float:
    """Return the value below which a share of the values lies, interpolated as in `np.quantile`."""
    flat = values.flatten()
    rank = share * (flat.size - 1)
    low = int(rank)
    high = min(low + 1, flat.size - 1)
    flat.partition((low, high))
    below, above = float(flat[low]), float(flat[high])
    return below + (above - below) * (rank - low)


def median(values: np.ndarray) -> float:
    """Return the middle of the values, or the mean of the two in the middle."""
    return quantile(values, 0.5)


def rotate(picture: np.ndarray, degrees: int) -> np.ndarray:
    """Return a picture (H, W) turned clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(picture, -degrees // 90))


def shrink(grey: Grey, height: int, width: int) -> tuple[Grey, Grey, Grey]:
    """Resize a picture; return the mean, the darkest and the lightest value of the pixels in each new pixel.

    The mean of a block of pixels hardly shows a stroke that is much thinner than the block. Its darkest and
    lightest values do.
    """
    factor = max(grey.shape[0] / height, grey.shape[1] / width)
    mean = darkest = lightest = grey
    while factor >= 4:  # halving it first keeps the windows below small, and areas of any size are slow
        mean = np.asarray(
            cv2.resize(_even(mean), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8
        )
        darkest, lightest = _halve(darkest, np.minimum), _halve(lightest, np.maximum)
        factor /= 2
    size = width, height
    if factor <= 1:
        mean = np.asarray(cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        return mean, mean, mean
    side = 2 * int(np.ceil((factor - 1) / 2)) + 1
    window = np.ones((side, side), np.uint8)
    nearest = cv2.INTER_NEAREST_EXACT
    return (
        np.asarray(cv2.resize(mean, size, interpolation=cv2.INTER_AREA), np.uint8),
        np.asarray(cv2.resize(cv2.erode(darkest, window), size, interpolation=nearest), np.uint8),
        np.asarray(cv2.resize(cv2.dilate(lightest, window), size, interpolation=nearest), np.uint8),
    )


def _halve(channel: Grey, reduce: np.ufunc) -> Grey:
    """Return the least or the greatest of each two by two pixels."""
    channel = _even(channel)
    rows = reduce(channel[::2], channel[1::2])
    return np.asarray(reduce(rows[:, ::2], rows[:, 1::2]), np.uint8)


def _even(channel: Grey) -> Grey:
    """Repeat an odd last row or column."""
    height, width = channel.shape
    if not height % 2 and not width % 2:
        return channel
    return np.asarray(
        cv2.copyMakeBorder(channel, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8
    )
