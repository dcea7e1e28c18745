"""The lines of ruled and squared paper: thin, straight, from one edge of the picture to the other.

Along such a line even the faintest ruling adds up, so it is sought in the darkness before any threshold cuts
it into pieces; dotted lines are found as well.
"""

from __future__ import annotations

import cv2
import numpy as np

SMALLEST_SIDE_PX = 32  # smaller pictures are cut too tight to show ruled paper
_WINDOW = 8  # darkness is averaged along one part in so many of a line
_SPAN = 0.93  # of the picture: how far a line must reach
_SLOPE = 0.05  # how far a line may rise, in shares of its length
_SIGMAS = 4.0  # how far above the averaged noise a line must stand
_DARK = 0.3  # darkness above this counts as this, lest strokes outweigh lines
_FAINTEST = 0.01  # of the paper's brightness: what is lighter is no line


def find_ruling(darkness: np.ndarray, ink: np.ndarray, noise: float) -> np.ndarray:
    """Where the ruling lies, but for the places where strokes cross it: uint8 (H, W), 0 or 1.

    `darkness` is float32 (H, W), in shares of the paper's brightness, `noise` its spread on bare paper; `ink`
    marks with 1, uint8 (H, W), what is dark enough to be ink.
    """
    if min(darkness.shape) < SMALLEST_SIDE_PX:
        return np.zeros(darkness.shape, np.uint8)
    level = _level_ruling(darkness, ink, noise)
    upright = _level_ruling(np.ascontiguousarray(darkness.T), np.ascontiguousarray(ink.T), noise).T
    rungs = _rungs(ink, level) | _rungs(ink.T, upright.T).T
    ruling: np.ndarray = level | upright | rungs
    return ruling


def _level_ruling(darkness: np.ndarray, ink: np.ndarray, noise: float) -> np.ndarray:
    lines = _level_lines(darkness, noise)
    if not lines.any():
        return lines
    taller = np.ones((_thickness_px(ink & lines) + 2, 1), np.uint8)
    strokes = cv2.morphologyEx(ink, cv2.MORPH_OPEN, taller)
    return cv2.dilate(lines, np.ones((3, 1), np.uint8)) * (1 - strokes)


def _level_lines(darkness: np.ndarray, noise: float) -> np.ndarray:
    """The courses of the level lines, strokes that cross them included: uint8 (H, W)."""
    height, width = darkness.shape
    thin = max(2, min(height, width) // 100)  # half of what may be a line's width
    window = max(5, width // _WINDOW) | 1
    wide = cv2.dilate(np.clip(darkness, 0, _DARK), np.ones((3, 1), np.uint8))
    ridge = _ridge(wide, window, 2 * thin + 1)
    lines = (ridge > max(_FAINTEST, _SIGMAS * noise / window**0.5)).astype(np.uint8)
    lines = cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((3, window), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    spans = stats[:, cv2.CC_STAT_WIDTH] >= _SPAN * width
    spans &= stats[:, cv2.CC_STAT_HEIGHT] < 2 * thin + 3 + _SLOPE * width
    spans[0] = False
    if spans.any():
        near = _ridge(wide, max(3, window // 3) | 1, 2 * thin + 1)
        for line in np.flatnonzero(spans):
            top, side = stats[line, [cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT]]
            rows = slice(top, top + side)
            spans[line] = _is_unbroken(labels[rows] == line, near[rows])
    courses: np.ndarray = spans[labels].astype(np.uint8)
    return courses


def _rungs(ink: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The bars between two level lines, no thicker than these: the sides of a form's cells. uint8 (H, W)."""
    rungs = np.zeros_like(ink)
    if not level.any():
        return rungs
    thickest = _thickness_px(level) + 2
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink & (1 - level), connectivity=8)
    for bar in np.flatnonzero(
        stats[:, cv2.CC_STAT_WIDTH] <= thickest + _SLOPE * stats[:, cv2.CC_STAT_HEIGHT]
    ):
        x, y, width, height, _ = stats[bar]
        above, below = level[max(y - 2, 0) : y, x : x + width], level[y + height :][:2, x : x + width]
        if height > 2 * width and above.any() and below.any():
            rungs |= (labels == bar).astype(np.uint8)
    return rungs


def _ridge(wide: np.ndarray, window: int, far: int) -> np.ndarray:
    """How much darker a stretch of `window` pixels is than those `far` above and below it."""
    along = cv2.blur(wide, (window, 1), borderType=cv2.BORDER_REFLECT_101)
    padded = cv2.copyMakeBorder(along, far, far, 0, 0, cv2.BORDER_CONSTANT, value=0)  # a frame at the rim
    ridge: np.ndarray = along - np.maximum(padded[: -2 * far], padded[2 * far :])
    return ridge


def _is_unbroken(line: np.ndarray, ridge: np.ndarray) -> bool:
    """Whether a line is dark all along, unlike the tops of a row of digits."""
    course = np.where(line, ridge, -1).max(axis=0)
    typical = float(np.median(course))
    return float(np.mean(course > 0.3 * typical)) > 0.75


def _thickness_px(lines: np.ndarray) -> int:
    """The median height of the runs of marks in each column, uint8 (H, W)."""
    starts = lines[1:] & (1 - lines[:-1])
    runs = int(starts.sum()) + int(lines[0].sum())
    return round(int(lines.sum()) / max(runs, 1))
