"""Pictures of the lines of a page as a line network takes them, and the way back from them to the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from digitcli.imaging.binarization import is_ink_light
from digitcli.imaging.components import Box
from digitcli.imaging.line_ink import LINE_HEIGHT_PX, line_ink
from digitcli.imaging.quantiles import median

MARGINS = (0.2, 0.35)  # above and below a line, in heights of its digits, in each view of it
SIDE_MARGIN = 1.5  # times as much at the left and the right
HEIGHTS_PX = (40, 36)  # of each view of a picture that is one line from top to bottom
FAINTEST = 0.04  # of white: where shapes were found, something is written, however faint
LEAST_SLOPE, MOST_SLOPE = 0.026, 0.36  # 1.5 and 20 degrees
MIN_WIDTH_PX, MAX_WIDTH_PX = 8, 4000


@dataclass(frozen=True)
class LineView:
    """A line, uint8 (40, W), ink 255 on paper 0; `to_page` (2, 3) takes its points to those of the page,
    which is `page_size` wide and high.
    """

    image: np.ndarray
    to_page: np.ndarray
    page_size: tuple[int, int]

    def box_on_page(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """The upright box around one in the view: x, y, width, height in pixels of the page, within it."""
        corners = np.array([[x, y, 1] for x in (x0, x1) for y in (y0, y1)]) @ self.to_page.T
        corners = np.clip(corners, 0, self.page_size)
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        left, top = min(left, self.page_size[0] - 1), min(top, self.page_size[1] - 1)
        return int(left), int(top), max(1, int(right - left)), max(1, int(bottom - top))

    def enlarged(self, page_size: tuple[int, int]) -> LineView:
        """The same on a page of another size."""
        by = np.array(page_size) / self.page_size
        return LineView(self.image, by[:, None] * self.to_page, page_size)


def view_whole(grey: np.ndarray) -> tuple[LineView, ...]:
    """A picture, float32 (H, W) in [0, 1], that is one line from top to bottom."""
    height, width = grey.shape
    place = _Place(0.0, 0.0, float(width), float(height))
    return tuple(_view(grey, place, height_px, None) for height_px in HEIGHTS_PX)


def view_line(grey: np.ndarray, ink: np.ndarray, boxes: Sequence[Box]) -> tuple[LineView, ...]:
    """A line of shapes with these boxes in a picture, float32 (H, W) in [0, 1], and in the ink found in it.

    The ink, float32 (h, w) of the same picture in perhaps fewer pixels, shows what is very faint, and no
    ruling. The line is set upright.
    """
    shrink = np.array([ink.shape[1], ink.shape[0]] * 2) / np.array([grey.shape[1], grey.shape[0]] * 2)
    on_page = np.array(boxes, np.float64)
    return (
        _view_boxes(grey, on_page, MARGINS[0], None),
        _view_boxes(1 - ink, on_page * shrink, MARGINS[1], False).enlarged((grey.shape[1], grey.shape[0])),
    )


@dataclass(frozen=True)
class _Place:
    """Where a line is on a page: its ends, and its first and last row in the middle between them; `angle` is
    that by which it slopes down, in radians.
    """

    left: float
    top: float
    right: float
    bottom: float
    angle: float = 0.0


def _view_boxes(picture: np.ndarray, boxes: np.ndarray, margin: float, light: bool | None) -> LineView:
    """A line of boxes (N, 4) with a margin around it, in heights of its digits; see `_view`."""
    x, y, width, height = boxes.T
    typical_px = median(height)
    digit_px = max(typical_px, float(height.max()) / 1.5)
    above, beside = margin * digit_px, SIDE_MARGIN * margin * digit_px
    left = max(0.0, float(x.min()) - beside)
    right = min(float(picture.shape[1]), float((x + width).max()) + beside)
    slope, start = _slope(x + width / 2, y + height / 2, typical_px)
    if slope:
        middle, reach = start + slope * (left + right) / 2, digit_px / 2 + above
        place = _Place(left, middle - reach, right, middle + reach, math.atan(slope))
    else:
        top = max(0.0, float(y.min()) - above)
        place = _Place(left, top, right, min(float(len(picture)), float((y + height).max()) + above))
    return _view(picture, place, LINE_HEIGHT_PX, light)


def _slope(x: np.ndarray, y: np.ndarray, height_px: float) -> tuple[float, float]:
    """Rows a column by which a line of middles (N,) slopes down, and its row at column 0.

    The slope is 0 for a line that is straight, or short.
    """
    if len(x) < 3 or np.ptp(x) < 3 * height_px:
        return 0.0, float(y.mean())
    slope, start = np.polyfit(x, y, 1)
    return (float(slope), float(start)) if LEAST_SLOPE < abs(slope) < MOST_SLOPE else (0.0, float(y.mean()))


def _view(picture: np.ndarray, place: _Place, height_px: int, light: bool | None) -> LineView:
    """A place set upright, so many pixels high in the middle of the 40.

    `light` says whether its ink is lighter than its paper; None where that has to be found out.
    """
    high = max(place.bottom - place.top, 1.0)
    spread = abs(math.tan(place.angle)) * (place.right - place.left) / 2  # rows a sloping line takes more
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
    if is_ink_light(small) if light is None else light:
        small = 1 - small
    ink = line_ink(np.asarray(255 * small, np.float32), FAINTEST)
    above = (LINE_HEIGHT_PX - len(ink)) // 2
    ink = np.pad(ink, ((above, LINE_HEIGHT_PX - len(ink) - above), (0, 0)))
    to_page = to_page @ np.array([[1, 0, 0], [0, 1, -above], [0, 0, 1]])
    return LineView(ink, to_page, (picture.shape[1], picture.shape[0]))
