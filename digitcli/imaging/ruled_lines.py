"""The lines of ruled and squared paper: thin, straight, from one edge of the picture to the other.

Along such a line even the faintest ruling adds up, so it is sought in the darkness before any threshold cuts
it into pieces; dotted lines are found as well.
"""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.imaging.quantiles import median, quantile

SMALLEST_SIDE_PX = 32  # smaller pictures are cut too tight to show ruled paper
_WINDOW = 8  # darkness is averaged along one part in so many of a line
_SPAN = 0.93  # of the picture: how far a line must reach
_SLOPE = 0.05  # how far a line may rise, in shares of its length
_SIGMAS = 4.0  # how far above the averaged noise a line must stand
_DARK = 0.3  # darkness above this counts as this, lest strokes outweigh lines
_FAINTEST = 0.01  # of the paper's brightness: what is lighter is no line


def find_ruled_lines(darkness: np.ndarray, ink: np.ndarray, noise: float) -> np.ndarray:
    """Where the ruling lies, but for the places where strokes cross it: uint8 (H, W), 0 or 1.

    `darkness` is float32 (H, W), in shares of the paper's brightness, `noise` its spread on bare paper; `ink`
    marks with 1, uint8 (H, W), what is dark enough to be ink.
    """
    if min(darkness.shape) < SMALLEST_SIDE_PX:
        return np.zeros(darkness.shape, np.uint8)
    turned = np.ascontiguousarray(ink.T)
    rows = _level_lines(darkness, ink, noise)
    columns = _level_lines(np.ascontiguousarray(darkness.T), turned, noise)
    level = _but_for_strokes(rows, ink)
    upright = _but_for_strokes(columns, turned).T
    rungs = _rungs(ink, level) | _rungs(turned, upright.T).T
    ruling: np.ndarray = level | upright | rungs | _crossings(rows, columns.T, ink)
    return ruling


def _but_for_strokes(lines: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Level lines without what crosses them: uint8 (H, W)."""
    if not lines.any():
        return lines
    taller = np.ones((_thickness_px(ink & lines & (1 - _standing_alone(ink))) + 2, 1), np.uint8)
    strokes = cv2.morphologyEx(ink, cv2.MORPH_OPEN, taller)
    return cv2.dilate(lines, np.ones((3, 1), np.uint8)) * (1 - strokes)


def _crossings(rows: np.ndarray, columns: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Where level and upright lines meet, each looking like a stroke across the other: uint8 (H, W)."""
    meeting = cv2.dilate(rows & columns, np.ones((3, 3), np.uint8))
    if not meeting.any():
        return meeting
    side = max(_thickness_px(ink & rows), _thickness_px((ink & columns).T)) + 2
    solid = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    return meeting * (1 - solid)


def _level_lines(darkness: np.ndarray, ink: np.ndarray, noise: float) -> np.ndarray:
    """The courses of the level lines, strokes that cross them included: uint8 (H, W)."""
    height, width = darkness.shape
    thin = _thin_px(darkness)
    window = max(5, width // _WINDOW) | 1
    wide = cv2.dilate(np.clip(darkness, 0, _DARK), np.ones((3, 1), np.uint8))
    ridge = _ridge(wide, window, 2 * thin + 1)
    lines = (ridge > max(_FAINTEST, _SIGMAS * noise / window**0.5)).astype(np.uint8)
    lines = cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((3, window), np.uint8))
    if np.count_nonzero(lines.any(axis=0)) < _SPAN * width:
        return np.zeros_like(lines)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    spans = stats[:, cv2.CC_STAT_WIDTH] >= _SPAN * width
    spans &= stats[:, cv2.CC_STAT_HEIGHT] < 2 * thin + 3 + _SLOPE * width
    spans[0] = False
    if spans.any():
        bare = 1 - cv2.dilate(_standing_alone(ink), np.ones((3, 5), np.uint8))
        near = _ridge(wide, max(3, window // 3) | 1, 2 * thin + 1, bare)
        for line in np.flatnonzero(spans):
            top, side = stats[line, [cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT]]
            rows = slice(top, top + side)
            spans[line] = _is_unbroken(labels[rows] == line, ridge[rows], near[rows], bare[rows])
    if not spans.any():
        return np.zeros_like(lines)
    courses: np.ndarray = spans[labels].astype(np.uint8)
    return courses


def _rungs(ink: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The bars between two level lines, no thicker than these: the sides of a form's cells. uint8 (H, W)."""
    rungs = np.zeros_like(ink)
    if not level.any():
        return rungs
    thickest = _thickness_px(ink & level) + 2
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink & (1 - level), connectivity=8)
    for bar in np.flatnonzero(
        stats[:, cv2.CC_STAT_WIDTH] <= thickest + _SLOPE * stats[:, cv2.CC_STAT_HEIGHT]
    ):
        x, y, width, height, area = stats[bar]
        above, below = level[max(y - 2, 0) : y, x : x + width], level[y + height :][:2, x : x + width]
        if height > 2 * width and area <= thickest * height and above.any() and below.any():
            there = slice(y, y + height), slice(x, x + width)
            rungs[there] |= labels[there] == bar
    return rungs


def _standing_alone(ink: np.ndarray) -> np.ndarray:
    """What is taller than a line but far from spanning the picture, such as digits: uint8 (H, W)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    alone = stats[:, cv2.CC_STAT_HEIGHT] > 2 * _thin_px(ink) + 1
    alone &= stats[:, cv2.CC_STAT_WIDTH] < ink.shape[1] / 2
    alone[0] = False
    standing: np.ndarray = alone[labels].astype(np.uint8)
    return standing


def _thin_px(picture: np.ndarray) -> int:
    """Half of what may be a line's width."""
    return max(2, int(min(picture.shape)) // 100)


def _ridge(wide: np.ndarray, window: int, far: int, bare: np.ndarray | None = None) -> np.ndarray:
    """How much darker a stretch of `window` pixels is than those `far` above and below it.

    Only what is `bare` is looked at, where that is given.
    """
    along = cv2.blur(wide, (window, 1), borderType=cv2.BORDER_REFLECT_101)
    if bare is not None:
        seen = bare.astype(np.float32)
        along = cv2.blur(wide * seen, (window, 1)) / np.maximum(cv2.blur(seen, (window, 1)), 0.5 / window)
    padded = cv2.copyMakeBorder(along, far, far, 0, 0, cv2.BORDER_CONSTANT, value=0)  # a frame at the rim
    ridge: np.ndarray = along - np.maximum(padded[: -2 * far], padded[2 * far :])
    return ridge


def _is_unbroken(line: np.ndarray, ridge: np.ndarray, near: np.ndarray, bare: np.ndarray) -> bool:
    """Whether a line is dark all along, also between what stands on it: unlike the bars of some digits."""
    typical = max(median(np.where(line, ridge, -1).max(axis=0)), _FAINTEST)
    course = np.where(line, near, -1).max(axis=0)
    between = np.where(line, bare, 1).min(axis=0) > 0
    return bool(between.any()) and float(np.mean(course[between] > 0.3 * typical)) > 0.75


def _thickness_px(lines: np.ndarray) -> int:
    """How thick lines are, uint8 (H, W): most runs of marks down a column; strokes that cross are longer."""
    edges = np.diff(np.pad(lines.T.astype(np.int8), ((0, 0), (1, 1))), axis=1).ravel()  # W times H + 1
    runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return max(1, round(quantile(runs, 0.25))) if len(runs) else 1
