"""Find the lines of ruled and squared paper: thin, straight, from one edge of the picture to the other.

Along such a line even the faintest darkness adds up. Lines are therefore sought in the darkness itself,
before any threshold cuts them into pieces, and dotted lines are found, too.
"""

from __future__ import annotations

import cv2
import numpy as np

from digitcli.imaging.grayscale import median, quantile

# The values below were chosen by hand. Darkness is a share of the paper's brightness.
MIN_SIDE_PX = 32  # smaller pictures are cropped too tightly to show ruled paper
_WINDOW_PART = 8  # darkness is averaged along an eighth of a line
_MIN_SPAN = 0.93  # of the picture's side; a shorter line is not ruling
_MAX_SLOPE = 0.05  # rise of a line, as a share of its length
_NOISE_SIGMAS = 4.0  # a line must exceed the averaged noise by this many standard deviations
_DARKNESS_LIMIT = 0.3  # darker pixels count as this dark, so that strokes do not outweigh lines
_FAINTEST = 0.01  # darkness; a fainter line is none
_MIN_COURSE = 0.3  # of a line's typical darkness, for a point of it to count as dark
_MIN_DARK_SHARE = 0.75  # of a line must be dark where nothing stands on it


def find_ruled_lines(darkness: np.ndarray, ink: np.ndarray, noise: float) -> np.ndarray:
    """Return where the ruled lines lie, except where strokes cross them: uint8 (H, W), 0 or 1.

    Args:
        darkness: float32 (H, W), as a share of the paper's brightness.
        ink: uint8 (H, W), 1 where a pixel is dark enough to be ink.
        noise: the standard deviation of darkness on bare paper.
    """
    if min(darkness.shape) < MIN_SIDE_PX:
        return np.zeros(darkness.shape, np.uint8)
    ink_transposed = np.ascontiguousarray(ink.T)
    rows = _find_level_lines(darkness, ink, noise)
    columns = _find_level_lines(np.ascontiguousarray(darkness.T), ink_transposed, noise)
    level = _remove_strokes(rows, ink)
    upright = _remove_strokes(columns, ink_transposed).T
    rungs = _find_rungs(ink, level) | _find_rungs(ink_transposed, upright.T).T
    # Where level and upright lines cross, each looks like a stroke across the other.
    crossings = cv2.dilate(rows & columns.T, np.ones((3, 3), np.uint8))
    if crossings.any():
        side = max(_measure_thickness(ink & rows), _measure_thickness((ink & columns.T).T)) + 2
        crossings = crossings * (1 - cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)))
    ruled_lines: np.ndarray = level | upright | rungs | crossings
    return ruled_lines


def _remove_strokes(lines: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Return level lines without the strokes that cross them: uint8 (H, W)."""
    if not lines.any():
        return lines
    taller = np.ones((_measure_thickness(ink & lines & (1 - _find_isolated(ink))) + 2, 1), np.uint8)
    strokes = cv2.morphologyEx(ink, cv2.MORPH_OPEN, taller)
    return cv2.dilate(lines, np.ones((3, 1), np.uint8)) * (1 - strokes)


def _find_level_lines(darkness: np.ndarray, ink: np.ndarray, noise: float) -> np.ndarray:
    """Return the level lines, together with the strokes that cross them: uint8 (H, W)."""
    width = darkness.shape[1]
    thin = _half_max_thickness(darkness)
    window = max(5, width // _WINDOW_PART) | 1
    thickened = cv2.dilate(np.clip(darkness, 0, _DARKNESS_LIMIT), np.ones((3, 1), np.uint8))
    ridge = _measure_ridge(thickened, window, 2 * thin + 1)
    lines = (ridge > max(_FAINTEST, _NOISE_SIGMAS * noise / window**0.5)).astype(np.uint8)
    lines = cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((3, window), np.uint8))
    if np.count_nonzero(lines.any(axis=0)) < _MIN_SPAN * width:
        return np.zeros_like(lines)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    is_line = stats[:, cv2.CC_STAT_WIDTH] >= _MIN_SPAN * width
    is_line &= stats[:, cv2.CC_STAT_HEIGHT] < 2 * thin + 3 + _MAX_SLOPE * width
    is_line[0] = False
    if is_line.any():
        bare = 1 - cv2.dilate(_find_isolated(ink), np.ones((3, 5), np.uint8))
        bare_ridge = _measure_ridge(thickened, max(3, window // 3) | 1, 2 * thin + 1, bare)
        for label in np.flatnonzero(is_line):
            top, line_height = stats[label, [cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT]]
            rows = slice(top, top + line_height)
            is_line[label] = _is_unbroken(labels[rows] == label, ridge[rows], bare_ridge[rows], bare[rows])
    if not is_line.any():
        return np.zeros_like(lines)
    level_lines: np.ndarray = is_line[labels].astype(np.uint8)
    return level_lines


def _find_rungs(ink: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the bars between two level lines that are no thicker than these: the sides of a form's cells."""
    rungs = np.zeros_like(ink)
    if not level.any():
        return rungs
    max_width = _measure_thickness(ink & level) + 2
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink & (1 - level), connectivity=8)
    slim = stats[:, cv2.CC_STAT_WIDTH] <= max_width + _MAX_SLOPE * stats[:, cv2.CC_STAT_HEIGHT]
    for label in np.flatnonzero(slim):
        x, y, width, height, area = stats[label]
        above, below = level[max(y - 2, 0) : y, x : x + width], level[y + height :][:2, x : x + width]
        if height > 2 * width and area <= max_width * height and above.any() and below.any():
            region = slice(y, y + height), slice(x, x + width)
            rungs[region] |= labels[region] == label
    return rungs


def _find_isolated(ink: np.ndarray) -> np.ndarray:
    """Return the ink that is taller than a line but narrower than half of the picture, like digits."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    is_isolated = stats[:, cv2.CC_STAT_HEIGHT] > 2 * _half_max_thickness(ink) + 1
    is_isolated &= stats[:, cv2.CC_STAT_WIDTH] < ink.shape[1] / 2
    is_isolated[0] = False
    isolated: np.ndarray = is_isolated[labels].astype(np.uint8)
    return isolated


def _half_max_thickness(picture: np.ndarray) -> int:
    """Return half of the greatest thickness of a line, in pixels."""
    return max(2, int(min(picture.shape)) // 100)


def _measure_ridge(
    darkness: np.ndarray, window: int, distance: int, bare: np.ndarray | None = None
) -> np.ndarray:
    """Return how much darker a stretch of `window` pixels is than the stretches `distance` above and below.

    If `bare` is given, only its pixels are averaged.
    """
    along = cv2.blur(darkness, (window, 1), borderType=cv2.BORDER_REFLECT_101)
    if bare is not None:
        weights = bare.astype(np.float32)
        total_weight = np.maximum(cv2.blur(weights, (window, 1)), 0.5 / window)
        along = cv2.blur(darkness * weights, (window, 1)) / total_weight
    # Beyond the border it is bright, so that a frame along the border is a ridge, too.
    padded = cv2.copyMakeBorder(along, distance, distance, 0, 0, cv2.BORDER_CONSTANT, value=0)
    ridge: np.ndarray = along - np.maximum(padded[: -2 * distance], padded[2 * distance :])
    return ridge


def _is_unbroken(line: np.ndarray, ridge: np.ndarray, bare_ridge: np.ndarray, bare: np.ndarray) -> bool:
    """Return whether a line is dark all along, also between digits that stand on it.

    The bars of a row of equal digits, which look like a line otherwise, are not.
    """
    typical = max(median(np.where(line, ridge, -1).max(axis=0)), _FAINTEST)
    course = np.where(line, bare_ridge, -1).max(axis=0)
    between = np.where(line, bare, 1).min(axis=0) > 0
    is_dark = course[between] > _MIN_COURSE * typical
    return bool(between.any()) and float(np.mean(is_dark)) > _MIN_DARK_SHARE


def _measure_thickness(lines: np.ndarray) -> int:
    """Return the thickness in pixels of lines, uint8 (H, W): the lower quartile of the runs down a column.

    Most runs cross a line; the runs along strokes are longer.
    """
    edges = np.diff(np.pad(lines.T.astype(np.int8), ((0, 0), (1, 1))), axis=1).ravel()  # W * (H + 1)
    runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return max(1, round(quantile(runs, 0.25))) if len(runs) else 1
