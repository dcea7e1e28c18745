"""What networks see of raw pixels: pages for the page finder, and strips of lines for line readers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box, Grey, median, shrink
from digitcli.strip_format import COLUMN_PX, STRIP_HEIGHT_PX, STRIP_PAPER

LEAST_CONTRAST = 12.0  # grey levels of 255; strips with less contrast keep their low contrast
END_SPACE = 0.4  # heights of the line that a strip shows beyond each end

SURROUNDINGS_PX = 16.0  # standard deviation of the Gaussian window of the local mean and deviation
SHRINK = 4  # sides of the pixels in which the surroundings are blurred
LEAST_DEVIATION = 3.0  # grey levels of 255; a smaller deviation is noise (chosen by hand)
NEUTRAL = 128  # the level of the local mean
CLIP = 6.0  # the largest distance from the local mean, in standard deviations


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
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        corners = [
            (x * length * cosine - y * height * sine, x * length * sine + y * height * cosine)
            for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
        ]
        return np.array([(self.x + x, self.y + y) for x, y in corners], np.float32)

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
    picture_size: the width and the height of the picture.
    is_faint: whether the strongest ink differs from the paper by less than `LEAST_CONTRAST`.
    """

    image: Grey
    to_picture: npt.NDArray[np.float64]
    picture_size: tuple[int, int]
    is_faint: bool = False

    def box_on_picture(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Return the upright box in the picture, x, y, width, height, around a box of the strip."""
        (across_x, down_x, from_x), (across_y, down_y, from_y) = self.to_picture.tolist()
        width, height = self.picture_size
        corners = [(x, y) for x in (x0, x1) for y in (y0, y1)]
        xs = [min(max(across_x * x + down_x * y + from_x, 0), width) for x, y in corners]
        ys = [min(max(across_y * x + down_y * y + from_y, 0), height) for x, y in corners]
        left, top = min(math.floor(min(xs)), width - 1), min(math.floor(min(ys)), height - 1)
        return left, top, max(1, math.ceil(max(xs)) - left), max(1, math.ceil(max(ys)) - top)

    def column_at(self, point: npt.NDArray[np.float64]) -> int:
        """Return the column, of `COLUMN_PX` pixels, that begins nearest to a point of the picture."""
        place = np.linalg.solve(self.to_picture[:, :2], point - self.to_picture[:, 2])
        return round(float(place[0]) / COLUMN_PX)


def cut_strip(grey: Grey, box: LineBox, margin: float) -> Strip:
    """Cut out a line with a margin above and below, in heights of the line.

    Beyond the edges of the picture is paper: the median of the strip. A repetition of its outermost pixels
    would draw out every stroke that touches an edge.
    """
    scale = box.height * (1 + 2 * margin) / STRIP_HEIGHT_PX  # pixels of the picture for each of the strip
    width = max(2, round((box.length + 2 * END_SPACE * box.height) / scale / COLUMN_PX)) * COLUMN_PX
    along = np.array([np.cos(box.angle), np.sin(box.angle)]) * scale
    across = np.array([-along[1], along[0]])
    corner = box.corners(width * scale, STRIP_HEIGHT_PX * scale)[0]
    to_picture = np.column_stack([along, across, corner])
    crop = _resample(grey, to_picture, width, fineness=max(1, int(np.ceil(scale - 0.25))))
    return _normalize(np.stack(shrink(crop, STRIP_HEIGHT_PX, width)), to_picture, grey.shape)


def cut_whole(grey: Grey) -> Strip:
    """Return a whole picture as a strip."""
    height, width = grey.shape
    columns = max(2, round(width / height * STRIP_HEIGHT_PX / COLUMN_PX)) * COLUMN_PX
    to_picture = np.array([[width / columns, 0, 0], [0, height / STRIP_HEIGHT_PX, 0]])
    return _normalize(np.stack(shrink(grey, STRIP_HEIGHT_PX, columns)), to_picture, grey.shape)


def _resample(grey: Grey, to_picture: npt.NDArray[np.float64], width: int, fineness: int) -> Grey:
    """Return the pixels that a strip of a width covers, `fineness` for each of its pixels on either side."""
    fine = to_picture.copy()
    fine[:, :2] /= fineness
    # Centres of pixels lie half a pixel further.
    fine[:, 2] += (to_picture[:, 0] + to_picture[:, 1]) * (0.5 / fineness) - 0.5
    size = width * fineness, STRIP_HEIGHT_PX * fineness
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(grey, fine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    corners = fine @ np.array([[0, size[0], size[0], 0], [0, 0, size[1], size[1]], [1, 1, 1, 1]])  # 2, 4
    if (corners < 0).any() or (grey.shape[::-1] < corners.T).any():
        (paper,) = quantiles(np.asarray(crop, np.uint8), (0.5,))
        crop = cv2.warpAffine(grey, fine, size, flags=flags, borderValue=paper)  # a constant border
    return np.asarray(crop, np.uint8)


def quantiles(levels: Grey, shares: Sequence[float]) -> list[float]:
    """Return quantiles of uint8 levels, as `np.quantile` does but from their histogram, which is faster."""
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    places = np.array(shares) * (levels.size - 1)
    low, high = (
        np.searchsorted(counts, place, side="right") for place in (np.floor(places), np.ceil(places))
    )
    return [float(each) for each in low + (high - low) * (places % 1)]


def _normalize(channels: Grey, to_picture: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Strip:
    """Shift the paper to `STRIP_PAPER`; scale so that the strongest ink, dark or light, is 127 from it."""
    low, paper, high = quantiles(channels[0], (0.005, 0.5, 0.995))
    contrast = max(paper - low, high - paper)
    scale = np.float32(127 / max(contrast, LEAST_CONTRAST))
    values = (channels.astype(np.float32) - np.float32(paper)) * scale + STRIP_PAPER
    image = np.asarray(np.clip(values, 1, 255), np.uint8)
    return Strip(image, to_picture, (shape[1], shape[0]), contrast < LEAST_CONTRAST)


def finder_input(grey: Grey, height: int, width: int) -> Grey:
    """Return the input of a page finder, uint8 (4, height, width), for a grey picture, uint8 (H, W).

    The first three channels are the mean, the darkest and the lightest value of each block of pixels. They
    are normalized by the mean and the standard deviation of their surroundings: 128 is the mean, and 21
    levels are a standard deviation. The last channel is the mean grey, not normalized.
    """
    mean, darkest, lightest = shrink(grey, height, width)
    local_mean = _blurred(mean.astype(np.float32))
    local_square = _blurred(np.asarray(cv2.multiply(mean, mean, dtype=cv2.CV_32F), np.float32))
    deviation = np.sqrt(np.maximum(local_square - local_mean * local_mean, LEAST_DEVIATION**2))
    factor = np.float32(127 / CLIP) / deviation
    scale, offset = (
        cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR)
        for each in (factor, NEUTRAL - local_mean * factor)
    )
    page, scaled = np.empty((4, height, width), np.uint8), np.empty((height, width), np.float32)
    for channel, values in zip(page, (mean,) if darkest is mean else (mean, darkest, lightest), strict=False):
        cv2.multiply(values, scale, dst=scaled, dtype=cv2.CV_32F)
        cv2.add(scaled, offset, dst=channel, dtype=cv2.CV_8U)  # rounds and clips
    if darkest is mean:
        page[1:3] = page[0]
    np.maximum(page[:3], 1, out=page[:3])
    page[3] = mean
    return page


def _blurred(level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Blur by `SURROUNDINGS_PX`, and shrink by `SHRINK`, which changes an input by about a level."""
    small_size = -(-level.shape[1] // SHRINK), -(-level.shape[0] // SHRINK)
    small = cv2.resize(level, small_size, interpolation=cv2.INTER_AREA)
    sigma = SURROUNDINGS_PX / SHRINK
    return np.asarray(cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


@dataclass(frozen=True)
class TurnedPage:
    """A page that was turned.

    picture: uint8 (H, W), all of the page and, around it, the median of its edges.
    angle: the slope of the lines of the page, down to the right in radians, that are level here.
    to_page: (2, 3), the matrix from pixels of the picture to pixels of the page.
    """

    picture: Grey
    angle: float
    to_page: npt.NDArray[np.float64]

    def box_on_page(self, box: LineBox) -> LineBox:
        """Return where a box of the picture lies on the page."""
        x, y = self.to_page @ (box.x, box.y, 1.0)
        return replace(box, x=float(x), y=float(y), angle=box.angle + self.angle)


def turned_shape(shape: tuple[int, ...], angle: float) -> tuple[int, int]:
    """Return the height and the width of a page after `turn`."""
    cosine, sine = abs(np.cos(angle)), abs(np.sin(angle))
    height, width = shape
    return int(np.ceil(cosine * height + sine * width)), int(np.ceil(sine * height + cosine * width))


def turn(page: Grey, angle: float) -> TurnedPage:
    """Turn a page, uint8 (H, W), so that lines of a slope, down to the right in radians, become level."""
    height, width = turned_shape(page.shape, angle)
    cosine, sine = np.cos(angle), np.sin(angle)
    to_page = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
    to_page[:, 2] = np.array(page.shape[::-1]) / 2 - to_page[:, :2] @ (width / 2, height / 2)
    centres = to_page.copy()  # of pixels, which lie half a pixel further
    centres[:, 2] += to_page[:, :2].sum(axis=1) / 2 - 0.5
    edges = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(page, centres, (width, height), flags=flags, borderValue=median(edges))
    return TurnedPage(np.asarray(picture, np.uint8), angle, to_page)
