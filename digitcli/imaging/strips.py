"""Cut strips out of a picture: raw lines of writing with their surroundings, as a line reader sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.finder_input import Grey, shrink
from digitcli.imaging.normalization import line_ink
from digitcli.strip_format import COLUMN_PX, STRIP_HEIGHT_PX, STRIP_PAPER

LEAST_CONTRAST = 12.0  # grey levels of 255; strips with less contrast keep their low contrast
END_SPACE = 0.4  # heights of the line that a strip shows beyond each end


@dataclass(frozen=True)
class LineBox:
    """A box around a line of writing that may slope.

    x, y: its centre, in pixels.
    length, height: its sides along and across the line, in pixels.
    angle: the angle by which the line slopes down to the right, in radians.
    """

    x: float
    y: float
    length: float
    height: float
    angle: float

    def corners(self, length: float, height: float) -> npt.NDArray[np.float32]:
        """Return the corners (4, 2), clockwise from the upper left, of this box with other sides."""
        along = np.array([np.cos(self.angle), np.sin(self.angle)]) * length / 2
        across = np.array([-np.sin(self.angle), np.cos(self.angle)]) * height / 2
        sides = np.stack([-along - across, along - across, along + across, -along + across])
        return (np.array([self.x, self.y]) + sides).astype(np.float32)

    def overlap(self, other: LineBox) -> float:
        """Return the share of the smaller of two boxes that both cover."""
        corners = [each.corners(each.length, each.height) for each in (self, other)]
        area, _ = cv2.intersectConvexConvex(corners[0], corners[1])
        return float(area) / max(min(self.length * self.height, other.length * other.height), 1e-6)

    def share_outside(self, size: tuple[int, ...]) -> float:
        """Return the share of the box that lies outside of a picture of a width and a height."""
        width, height = size[:2]
        picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        inside, _ = cv2.intersectConvexConvex(self.corners(self.length, self.height), picture)
        return 1 - float(inside) / max(self.length * self.height, 1e-6)


@dataclass(frozen=True)
class Strip:
    """A line as a line network sees it.

    image: uint8 (3, 40, W), the mean, the darkest and the lightest value of the pixels; the paper is at
        `STRIP_PAPER`, and ink is darker or lighter.
    to_picture: (2, 3), the matrix from pixels of the strip to pixels of the picture.
    is_faint: whether the strongest ink differs from the paper by less than `LEAST_CONTRAST`.
    """

    image: Grey
    to_picture: npt.NDArray[np.float64]
    is_faint: bool = False


def cut_strip(grey: Grey, box: LineBox, margin: float) -> Strip:
    """Cut out a line with a margin above and below, in heights of the line.

    Beyond the edges of the picture is paper: the median of the strip. A repetition of its outermost pixels
    would draw out every stroke that touches an edge.
    """
    scale, width = _size_of_strip(box, margin)
    fineness = max(1, int(np.ceil(scale - 0.25)))
    to_picture = _to_picture(box, scale, width * scale, STRIP_HEIGHT_PX * scale)
    crop = _resample(grey, to_picture, width, STRIP_HEIGHT_PX, fineness)
    return _normalize(np.stack(shrink(crop, STRIP_HEIGHT_PX, width)), to_picture)


def cut_whole(grey: Grey) -> Strip:
    """Return a whole picture as a strip."""
    height, width = grey.shape
    columns = max(2, round(width / height * STRIP_HEIGHT_PX / COLUMN_PX)) * COLUMN_PX
    to_picture = np.array([[width / columns, 0, 0], [0, height / STRIP_HEIGHT_PX, 0]])
    return _normalize(np.stack(shrink(grey, STRIP_HEIGHT_PX, columns)), to_picture)


def strip_ink(strip: Grey) -> Grey:
    """Return the ink, uint8 (40, W), 255 on 0, of a strip, for networks that were trained on ink.

    Ink is what differs most from the paper: it is dark, or light on dark paper.
    """
    low, high = _quantiles(strip[0], (0.005, 0.995))
    is_light = high - STRIP_PAPER > STRIP_PAPER - low
    return line_ink(255 - strip[0] if is_light else strip[0])


def _size_of_strip(box: LineBox, margin: float) -> tuple[float, int]:
    """Return how many pixels of the picture a pixel of the strip covers, and the width of the strip."""
    scale = box.height * (1 + 2 * margin) / STRIP_HEIGHT_PX
    columns = max(2, round((box.length + 2 * END_SPACE * box.height) / scale / COLUMN_PX))
    return scale, columns * COLUMN_PX


def _to_picture(box: LineBox, scale: float, length: float, height: float) -> npt.NDArray[np.float64]:
    """Return the matrix (2, 3) from pixels of a crop, `scale` pixels of the picture each, to the picture."""
    along = np.array([np.cos(box.angle), np.sin(box.angle)]) * scale
    across = np.array([-along[1], along[0]])
    return np.column_stack([along, across, box.corners(length, height)[0]])


def _resample(
    grey: Grey, to_picture: npt.NDArray[np.float64], width: int, height: int, fineness: int = 1
) -> Grey:
    """Return the pixels that a crop of a width and a height covers, `fineness` for each on either side."""
    fine = to_picture.copy()
    fine[:, :2] /= fineness
    # Centres of pixels lie half a pixel further.
    fine[:, 2] += (to_picture[:, 0] + to_picture[:, 1]) * (0.5 / fineness) - 0.5
    size = width * fineness, height * fineness
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(grey, fine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    corners = fine @ np.array([[0, size[0], size[0], 0], [0, 0, size[1], size[1]], [1, 1, 1, 1]])  # 2, 4
    if (corners < 0).any() or (grey.shape[::-1] < corners.T).any():
        (paper,) = _quantiles(np.asarray(crop, np.uint8), (0.5,))
        crop = cv2.warpAffine(
            grey, fine, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=paper
        )
    return np.asarray(crop, np.uint8)


def _quantiles(levels: Grey, shares: Sequence[float]) -> list[float]:
    """Return quantiles of uint8 levels, as `np.quantile` does but from their histogram, which is faster."""
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    places = np.array(shares) * (levels.size - 1)
    low, high = (
        np.searchsorted(counts, place, side="right") for place in (np.floor(places), np.ceil(places))
    )
    return [float(each) for each in low + (high - low) * (places % 1)]


def _normalize(channels: Grey, to_picture: npt.NDArray[np.float64]) -> Strip:
    """Shift the paper to `STRIP_PAPER`; scale so that the strongest ink, dark or light, is 127 from it."""
    low, paper, high = _quantiles(channels[0], (0.005, 0.5, 0.995))
    contrast = max(paper - low, high - paper)
    scale = np.float32(127 / max(contrast, LEAST_CONTRAST))
    values = (channels.astype(np.float32) - np.float32(paper)) * scale + STRIP_PAPER
    return Strip(np.asarray(np.clip(values, 1, 255), np.uint8), to_picture, contrast < LEAST_CONTRAST)
