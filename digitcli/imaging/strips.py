"""Cut strips out of a picture: raw lines of writing with their surroundings, as a line reader sees them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.finder_input import Grey, shrink

STRIP_HEIGHT_PX = 40
COLUMN_PX = 4  # a line network has a column of outputs for this many pixels
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

    def share_outside(self, size: tuple[int, ...]) -> float:
        """Return the share of the box that lies outside of a picture of a width and a height."""
        corners = self.corners(self.length, self.height)
        inside = np.clip(corners, 0, size).astype(np.float32)
        return float(1 - cv2.contourArea(inside) / max(cv2.contourArea(corners), 1e-6))


@dataclass(frozen=True)
class Strip:
    """A line as a line network sees it.

    image: uint8 (3, 40, W), the mean, the darkest and the lightest value of the pixels; 128 is the paper.
    to_picture: (2, 3), the matrix from pixels of the strip to pixels of the picture.
    """

    image: Grey
    to_picture: npt.NDArray[np.float64]


def cut_strip(grey: Grey, box: LineBox, margin: float) -> Strip:
    """Cut out a line with a margin above and below, in heights of the line.

    Beyond the edges of the picture, its outermost pixels are repeated.
    """
    scale = box.height * (1 + 2 * margin) / STRIP_HEIGHT_PX  # pixels of the picture for each of the strip
    columns = max(2, round((box.length + 2 * END_SPACE * box.height) / scale / COLUMN_PX))
    width = columns * COLUMN_PX
    fineness = max(1, int(np.ceil(scale - 0.25)))
    corner = box.corners(width * scale, STRIP_HEIGHT_PX * scale)[0]
    along = np.array([np.cos(box.angle), np.sin(box.angle)]) * scale
    across = np.array([-along[1], along[0]])
    to_picture = np.column_stack([along, across, corner])
    fine = to_picture.copy()
    fine[:, :2] /= fineness
    fine[:, 2] += (along + across) * (0.5 / fineness) - 0.5  # centres of pixels lie half a pixel further
    size = width * fineness, STRIP_HEIGHT_PX * fineness
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(grey, fine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    channels = shrink(np.asarray(crop, np.uint8), STRIP_HEIGHT_PX, width)
    return Strip(_normalize(np.stack(channels)), to_picture)


def cut_whole(grey: Grey) -> Strip:
    """Return a whole picture as a strip."""
    height, width = grey.shape
    length = width - 2 * END_SPACE * height
    return cut_strip(grey, LineBox(width / 2, height / 2, length, height, 0.0), 0.0)


def _normalize(channels: Grey) -> Grey:
    """Shift the paper to 128, and scale so that the strongest ink is 127 from it, be it dark or light."""
    paper = float(np.median(channels[0]))
    low, high = np.percentile(channels[0], [0.5, 99.5])
    contrast = max(paper - float(low), float(high) - paper, LEAST_CONTRAST)
    values = (channels.astype(np.float32) - np.float32(paper)) * np.float32(127 / contrast) + 128
    return np.asarray(np.clip(values, 1, 255), np.uint8)
