"""Pictures of the lines of a page as a line network takes them, and the way back from them to the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from digitcli.pictures.ink import ink_is_light
from digitcli.pictures.line_ink import LINE_HEIGHT_PX, line_ink
from digitcli.pictures.shapes import Box

MARGINS = (0.2, 0.35)  # above and below a line, in heights of its digits, in each view of it
SIDE_MARGIN = 1.5  # times as much at the left and the right
HEIGHTS_PX = (40, 36)  # of each view of a picture that is one line from top to bottom
FAINTEST = 0.04  # of white: where shapes were found, something is written, however faint
LEAST_TURN, MOST_TURN = math.radians(1.5), math.radians(20)
MIN_WIDTH_PX, MAX_WIDTH_PX = 8, 4000


@dataclass(frozen=True)
class LineView:
    """A line, uint8 (40, W), ink 255 on paper 0; `to_page` (2, 3) takes its points to the page's."""

    image: np.ndarray
    to_page: np.ndarray

    def box_on_page(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """The upright box around one in the view: x, y, width, height in pixels of the page."""
        corners = np.array([[x, y, 1] for x in (x0, x1) for y in (y0, y1)]) @ self.to_page.T
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        return int(left), int(top), max(1, int(right - left)), max(1, int(bottom - top))

    def enlarged(self, by: np.ndarray) -> LineView:
        """The same on a page that is so many times as wide and as high."""
        return LineView(self.image, by[:, None] * self.to_page)


def view_whole(grey: np.ndarray) -> tuple[LineView, ...]:
    """A picture, float32 (H, W) in [0, 1], that is one line from top to bottom."""
    height, width = grey.shape
    return tuple(_view(grey, (0.0, 0.0, width, height), 0.0, height_px) for height_px in HEIGHTS_PX)


def view_line(grey: np.ndarray, ink: np.ndarray, boxes: Sequence[Box]) -> tuple[LineView, ...]:
    """A line of shapes with these boxes in a picture, float32 (H, W) in [0, 1], and in the ink found in it.

    The ink, float32 (h, w) of the same picture in perhaps fewer pixels, shows what is very faint, and no
    ruling. The line is set upright.
    """
    shrink = np.array([ink.shape[1], ink.shape[0]] * 2) / np.array([grey.shape[1], grey.shape[0]] * 2)
    on_page = np.array(boxes, np.float64)
    return (
        _view_boxes(grey, on_page, MARGINS[0]),
        _view_boxes(1 - ink, on_page * shrink, MARGINS[1]).enlarged(1 / shrink[:2]),
    )


def _view_boxes(picture: np.ndarray, boxes: np.ndarray, margin: float) -> LineView:
    """A line of boxes (N, 4) with a margin around it, in heights of its digits."""
    x, y, width, height = boxes.T
    angle = _slope(x + width / 2, y + height / 2, float(np.median(height)))
    digit_px = max(float(np.median(height)), float(height.max()) / 1.5)
    top, bottom = float(y.min()), float((y + height).max())
    if angle:
        middle = float((y + height / 2).mean())
        top, bottom = middle - digit_px / 2, middle + digit_px / 2
    above, beside = margin * digit_px, SIDE_MARGIN * margin * digit_px
    left, right = float(x.min()) - beside, float((x + width).max()) + beside
    return _view(picture, (left, top - above, right, bottom + above), angle, LINE_HEIGHT_PX)


def _slope(x: np.ndarray, y: np.ndarray, height_px: float) -> float:
    """The angle in radians by which a line of middles (N,) slopes down; 0 for a straight or a short one."""
    if len(x) < 3 or np.ptp(x) < 3 * height_px:
        return 0.0
    angle = math.atan(float(np.polyfit(x, y, 1)[0]))
    return angle if LEAST_TURN < abs(angle) < MOST_TURN else 0.0


def _view(
    grey: np.ndarray, place: tuple[float, float, float, float], angle: float, height_px: int
) -> LineView:
    """The part of a page within left, top, right, bottom, turned about its middle, at a height of so many
    pixels in the middle of the 40.
    """
    left, top, right, bottom = _within(place, grey.shape, angle)
    scale = height_px / (bottom - top)
    spread = abs(math.sin(angle)) * (right - left) / 2  # rows that a sloping line takes beside its own
    x0, y0 = max(0, math.floor(left)), max(0, math.floor(top - spread))
    part = grey[y0 : math.ceil(bottom + spread), x0 : math.ceil(right)]
    width_px = min(MAX_WIDTH_PX, max(MIN_WIDTH_PX, round(part.shape[1] * scale)))
    size = (width_px, max(height_px, round(part.shape[0] * scale)) if angle else height_px)
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    to_part = np.array([[part.shape[1] / size[0], 0, x0], [0, part.shape[0] / size[1], y0]])
    if angle:
        turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), math.degrees(angle), 1)
        turn[1, 2] -= (size[1] - height_px) / 2
        small = cv2.warpAffine(small, turn, (size[0], height_px), borderMode=cv2.BORDER_REPLICATE)
        to_part = to_part @ np.vstack([cv2.invertAffineTransform(turn), [0, 0, 1]])
    if ink_is_light(small):
        small = 1 - small
    ink = line_ink(np.asarray(255 * small, np.float32), FAINTEST)
    above = (LINE_HEIGHT_PX - len(ink)) // 2
    ink = np.pad(ink, ((above, LINE_HEIGHT_PX - len(ink) - above), (0, 0)))
    to_page = to_part @ np.array([[1, 0, 0], [0, 1, -above], [0, 0, 1]])
    return LineView(ink, to_page)


def _within(
    place: tuple[float, float, float, float], shape: tuple[int, ...], angle: float
) -> tuple[float, float, float, float]:
    """The place without what lies outside a page of that shape; a turned one keeps its height."""
    left, top, right, bottom = place
    left, right = max(0.0, left), min(float(shape[1]), right)
    if angle == 0:
        top, bottom = max(0.0, top), min(float(shape[0]), bottom)
    return left, top, right, max(bottom, top + 1)
