"""Stage 2 of the reading pipeline, crop: cut the inputs of the networks out of a page.

The stages are listed in `pipeline.py`. Stage 1 found the regions of the page: a region is the place of one
number, and its components are the connected ink that may be its digits (`segmentation.py`).

The input of a line network is a line crop: the picture of one line, which is rotated until the line is level
and scaled to a height of `LINE_HEIGHT_PX`, with light ink on dark paper. The input of a digit network is a
digit crop: one component, normalized to 28 x 28 pixels like the digits of MNIST. Every line and every digit
is cropped twice, with different margins or sizes, and the answers to both crops are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from digitcli.imaging.binarization import is_ink_light
from digitcli.imaging.components import Box
from digitcli.imaging.grayscale import median
from digitcli.imaging.normalization import LINE_HEIGHT_PX, line_ink, normalize_digit
from digitcli.recognition.segmentation import PageLayout, Region

# All values were chosen by hand, by looking at pictures and the answers to them.

# Side in pixels of the square that the digit fills in its first and in its second crop; 20 is MNIST's side.
DIGIT_SIZES_PX = (20, 16)
# Margin above and below the line in its first and in its second crop, in digit heights.
LINE_MARGINS = (0.2, 0.35)
# Margin to the left and right of a line, as a multiple of the margin above it.
SIDE_MARGIN = 1.5
# Height in pixels of the line in the first and in the second crop of a picture that is one line from top to
# bottom.
WHOLE_HEIGHTS_PX = (40, 36)
# Least darkness that becomes full ink in a line crop, as a fraction of the brightness of the paper. It is low
# because stage 1 found components in the region, so that even faint marks are probably writing.
FAINTEST_INK = 0.04
# Least slope of a line that is rotated, in rows per column (1.5 degrees). A flatter line counts as level.
LEAST_SLOPE = 0.026
# Greatest slope of a line that is rotated, in rows per column (20 degrees). A steeper slope is probably
# measured wrongly.
MOST_SLOPE = 0.36
# Least number of digits from which a slope is measured.
SLOPE_DIGITS = 3
# Least length of a line from which a slope is measured, in digit heights.
SLOPE_LENGTH = 3
# Least width of a line crop in pixels. A line network reduces four columns to one and needs two of these.
MIN_WIDTH_PX = 8
# Greatest width of a line crop in pixels. It bounds the memory that a line network takes.
MAX_WIDTH_PX = 4000


@dataclass(frozen=True)
class LineCrop:
    """The input of a line network: the picture of one line, and its place on the page.

    image: uint8 (40, W), ink 255 on paper 0; or a strip, uint8 (3, 40, W), see `imaging.strips`.
    to_page: affine matrix (2, 3) from points of the crop to points of the page, both in pixels.
    page_size: width and height of the page in pixels.
    is_faint: whether the ink of a strip hardly differs from the paper.
    """

    image: np.ndarray
    to_page: np.ndarray
    page_size: tuple[int, int]
    is_faint: bool = False

    def box_on_page(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Return the upright box on the page, x, y, width, height, around a box of the crop."""
        corners = np.array([[x, y, 1] for x in (x0, x1) for y in (y0, y1)]) @ self.to_page.T
        corners = np.clip(corners, 0, self.page_size)
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        left, top = min(left, self.page_size[0] - 1), min(top, self.page_size[1] - 1)
        return int(left), int(top), max(1, int(right - left)), max(1, int(bottom - top))

    def with_page_size(self, page_size: tuple[int, int]) -> LineCrop:
        """Return the same image with coordinates on the same page at another size."""
        scale = np.array(page_size) / self.page_size
        return LineCrop(self.image, scale[:, None] * self.to_page, page_size)


@dataclass(frozen=True)
class RegionCrops:
    """A region, which is the place of one number on the page, and its crops.

    region: the region without the ink of its components, to save memory.
    lines: the two line crops of the region; empty if no line network reads the page.
    digits: the digit crops, uint8 (N, 2, 28, 28), ink 255 on paper 0: two for each of N components. N is 0
        for a region in which digits may touch, because only a line network can read it.
    """

    region: Region
    lines: tuple[LineCrop, ...]
    digits: np.ndarray


def crop_numbers(layout: PageLayout, with_lines: bool = False) -> tuple[RegionCrops, ...]:
    """Crop every region of a page; `with_lines` says whether a line network needs line crops."""
    return tuple(
        RegionCrops(
            _without_ink(region), _crop_lines(layout, region) if with_lines else (), _crop_digits(region)
        )
        for region in layout.regions
    )


def _without_ink(region: Region) -> Region:
    return replace(region, components=tuple(replace(component, ink=None) for component in region.components))


def _crop_lines(layout: PageLayout, region: Region) -> tuple[LineCrop, ...]:
    if region.is_whole_picture:
        return crop_whole_picture(layout.grey)
    return crop_line(layout.grey, layout.ink, [component.box for component in region.components])


def _crop_digits(region: Region) -> np.ndarray:
    crops = [
        [normalize_digit(component.ink, size_px) for size_px in DIGIT_SIZES_PX]
        for component in region.components
        if component.ink is not None
    ]
    return np.array(crops, np.uint8).reshape(-1, len(DIGIT_SIZES_PX), 28, 28)


def crop_whole_picture(grey: np.ndarray) -> tuple[LineCrop, ...]:
    """Return two crops of a picture that is one line; `grey` is float32 (H, W), 0 is black and 1 is white."""
    height, width = grey.shape
    place = _Place(0.0, 0.0, float(width), float(height))
    return tuple(_crop(grey, place, height_px, None) for height_px in WHOLE_HEIGHTS_PX)


def crop_line(grey: np.ndarray, ink: np.ndarray, boxes: Sequence[Box]) -> tuple[LineCrop, ...]:
    """Return two crops of the line that the bounding boxes of its digits form, rotated until it is level.

    The first crop is cut out of the picture, and the second one out of its ink.

    Args:
        grey: the picture, float32 (H, W), 0 is black and 1 is white.
        ink: the ink of the picture without ruled lines, float32 (h, w), 0 is paper and 1 is ink. It may have
            fewer pixels than the picture.
        boxes: the bounding boxes of the digits: x, y, width, height in pixels of `grey`.
    """
    shrink = np.array([ink.shape[1], ink.shape[0]] * 2) / np.array([grey.shape[1], grey.shape[0]] * 2)
    on_page = np.array(boxes, np.float64)
    return (
        _crop_boxes(grey, on_page, LINE_MARGINS[0], None),
        _crop_boxes(1 - ink, on_page * shrink, LINE_MARGINS[1], False).with_page_size(
            (grey.shape[1], grey.shape[0])
        ),
    )


@dataclass(frozen=True)
class _Place:
    """The place of a line on a page, in pixels: a rectangle that is rotated about its centre.

    left, right: the first and the last column of the line.
    top, bottom: the upper and the lower edge of the line at its centre column.
    angle: the angle in radians by which the line slopes down to the right; 0 for a level line.
    """

    left: float
    top: float
    right: float
    bottom: float
    angle: float = 0.0


def _crop_boxes(picture: np.ndarray, boxes: np.ndarray, margin: float, is_light: bool | None) -> LineCrop:
    """Crop the line of some boxes (N, 4) with a margin in digit heights; for `is_light` see `_crop`."""
    x, y, width, height = boxes.T
    typical_px = median(height)
    digit_px = max(typical_px, float(height.max()) / 1.5)
    margin_px, side_margin_px = margin * digit_px, SIDE_MARGIN * margin * digit_px
    left = max(0.0, float(x.min()) - side_margin_px)
    right = min(float(picture.shape[1]), float((x + width).max()) + side_margin_px)
    slope, start = _slope(x + width / 2, y + height / 2, typical_px)
    if slope:
        middle, reach = start + slope * (left + right) / 2, digit_px / 2 + margin_px
        place = _Place(left, middle - reach, right, middle + reach, math.atan(slope))
    else:
        top = max(0.0, float(y.min()) - margin_px)
        place = _Place(left, top, right, min(float(len(picture)), float((y + height).max()) + margin_px))
    return _crop(picture, place, LINE_HEIGHT_PX, is_light)


def _slope(x: np.ndarray, y: np.ndarray, height_px: float) -> tuple[float, float]:
    """Fit a straight line to the centres of digits, x (N,) and y (N,); `height_px` is the height of a digit.

    Returns:
        The slope in rows per column, which is 0 for a short line and for a line that counts as level, and the
        row of the line at column 0.
    """
    if len(x) < SLOPE_DIGITS or np.ptp(x) < SLOPE_LENGTH * height_px:
        return 0.0, float(y.mean())
    slope, start = np.polyfit(x, y, 1)
    return (float(slope), float(start)) if LEAST_SLOPE < abs(slope) < MOST_SLOPE else (0.0, float(y.mean()))


def _crop(picture: np.ndarray, place: _Place, height_px: int, is_light: bool | None) -> LineCrop:
    """Cut out a line, rotate it until it is level, scale it to `height_px`, and centre it in a line crop.

    `is_light` says whether the ink is lighter than the paper; with None, the grey levels of the line decide.
    """
    high = max(place.bottom - place.top, 1.0)
    spread = abs(math.tan(place.angle)) * (place.right - place.left) / 2  # rows that the slope adds
    x0, y0 = max(0, math.floor(place.left)), max(0, math.floor(place.top - spread))
    part = picture[y0 : math.ceil(place.top + high + spread), x0 : math.ceil(place.right)]
    scale = height_px / high
    width_px = min(MAX_WIDTH_PX, max(MIN_WIDTH_PX, round(part.shape[1] * scale)))
    size = (width_px, max(1, round(part.shape[0] * scale)) if place.angle else height_px)
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    across, down = part.shape[1] / size[0], part.shape[0] / size[1]
    to_page = np.array([[across, 0, x0], [0, down, y0]])
    if place.angle:
        centre = size[0] / 2, (place.top + high / 2 - y0) / down
        turn = cv2.getRotationMatrix2D(centre, math.degrees(place.angle), 1)
        turn[1, 2] += height_px / 2 - centre[1]
        small = cv2.warpAffine(small, turn, (size[0], height_px), borderMode=cv2.BORDER_REPLICATE)
        to_page = to_page @ np.vstack([cv2.invertAffineTransform(turn), [0, 0, 1]])
    if is_light is None:
        is_light = is_ink_light(small)
    if is_light:
        small = 1 - small
    ink = line_ink(np.asarray(255 * small, np.float32), FAINTEST_INK)
    rows_above = (LINE_HEIGHT_PX - len(ink)) // 2
    ink = np.pad(ink, ((rows_above, LINE_HEIGHT_PX - len(ink) - rows_above), (0, 0)))
    to_page = to_page @ np.array([[1, 0, 0], [0, 1, -rows_above], [0, 0, 1]])
    return LineCrop(ink, to_page, (picture.shape[1], picture.shape[0]))
