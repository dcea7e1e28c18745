"""What the page finder learns from a scene: maps at a quarter of the resolution."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.page import Kind, Label, line_box

STRIDE_PX = 4  # of the maps
MAPS = 7
REFERENCE_PX = 28.0  # the height whose logarithm is 0
HEIGHT_LIMITS_PX = (11.0, 70.0)  # heights of lines that a level of the image pyramid is responsible for
# Lower and higher lines are background, so that a level neither joins rows that a finer level separates nor
# takes a loop for a digit. Nothing is learned of lines between these limits and those above.
BACKGROUND_PX = (7.0, 110.0)
LARGEST_CUT = 0.3  # share of a line outside of the picture, above which nothing is learned of it
CORE = 0.52  # share of the height of a line that belongs to its core
SHORTENED = 0.18  # heights by which the core is shorter than the line at each end
LEAST_CORE_PX = 5.0  # of the length and the height of a core, so that narrow digits have one
BORDER_WEIGHT = 0.5  # of the loss in the rest of the box of a line

_Maps = npt.NDArray[np.float32]


def draw_targets(labels: Sequence[Label], scale: float, height: int, width: int) -> _Maps:
    """Return maps (7, height / 4, width / 4) of labels whose pixels are multiplied by `scale`.

    The maps are the cores of numbers and of other writing, log2 of the height over 28 pixels, the distance to
    the axis of the line in heights, the sine of its angle, and the weights of the loss of the two cores.
    """
    rows, columns = height // STRIDE_PX, width // STRIDE_PX
    maps = np.zeros((MAPS, rows, columns), np.float32)
    maps[5:] = 1
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    x, y = (x + 0.5) * STRIDE_PX, (y + 0.5) * STRIDE_PX
    for label in labels:
        if not len(label.corners):
            continue
        box = line_box(Label(label.kind, label.text, label.corners * np.float32(scale)))
        if not BACKGROUND_PX[0] <= box.height <= BACKGROUND_PX[1]:
            continue
        map_index = 0 if label.kind is Kind.NUMBER else 1
        whole = _mask(box.corners(box.length + 2, box.height + 2), rows, columns)
        is_known = HEIGHT_LIMITS_PX[0] <= box.height <= HEIGHT_LIMITS_PX[1] and (
            label.text or label.kind is Kind.OTHER
        )
        if not is_known or box.share_outside((width, height)) > LARGEST_CUT:
            maps[5:, whole] = 0
            continue
        core_length = max(box.length - 2 * SHORTENED * box.height, min(LEAST_CORE_PX, box.height / 2))
        core = _mask(box.corners(core_length, max(CORE * box.height, LEAST_CORE_PX)), rows, columns)
        row, column = (
            int(np.clip(value / STRIDE_PX, 0, limit - 1))
            for value, limit in ((box.y, rows), (box.x, columns))
        )
        core[row, column] = True
        maps[5 + map_index, whole & ~core] = np.minimum(maps[5 + map_index, whole & ~core], BORDER_WEIGHT)
        maps[map_index, core] = 1
        maps[2, core] = np.log2(box.height / REFERENCE_PX)
        across = (y - box.y) * np.cos(box.angle) - (x - box.x) * np.sin(box.angle)
        maps[3, core] = across[core] / box.height
        maps[4, core] = np.sin(box.angle)
    return maps


def _mask(corners: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Return the cells whose centres lie in a convex polygon (4, 2)."""
    mask = np.zeros((rows, columns), np.uint8)
    points = np.round((corners / STRIDE_PX - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, points, 1, cv2.LINE_8, 4)
    return mask.astype(bool)
