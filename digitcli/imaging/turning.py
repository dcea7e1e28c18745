"""Turn a page by any angle, and find the places of the turned page on the page again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.finder_input import Grey
from digitcli.imaging.grayscale import median
from digitcli.imaging.strips import LineBox


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
