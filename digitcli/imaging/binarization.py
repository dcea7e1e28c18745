"""Binarization: compute the amount of ink at every pixel of a grey picture.

The steps are: find the polarity, flatten the light, separate the ink from the paper's noise, remove ruled
lines. All of this is measured on a small copy; only the last step computes every pixel of the picture.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from digitcli.imaging.grayscale import median, quantile
from digitcli.imaging.ruled_lines import find_ruled_lines

# Most thresholds below were chosen by hand, on photographs, scans and drawn pictures like those of the tests.
# "Darkness" is how much darker a pixel is than its paper, as a share of the paper's brightness.
_WORK_SIDE_PX = 640  # longer side of the copy on which strokes and noise are measured
_LIGHT_SIDE_PX = 160  # longer side of the copy on which the light is measured; light changes slowly

# The light on the paper.
_MIN_SLOPE_SIDE_PX = 48  # smaller pictures are mostly ink, so no slope of the light is fitted to them
_MIN_PAPER_SHARE = 0.7  # of the pixels must fit one smooth light; else nobody knows which part is paper
_MAX_LIGHT_SPREAD = 0.05  # of white; how far paper may stray from a smooth light
_DARKEST_PAPER = 0.4  # of white; in deeper shadow, noise would become ink

# Ink and noise.
_MIN_CONTRAST = 0.06  # darkness; fainter marks are taken for paper
_FAINTEST_DARKNESS = 0.02  # fainter marks are not visible to people either
_NOISE_SIGMAS = 4.0  # a mark must exceed the paper's noise by this many standard deviations
_CERTAIN_SIGMAS = 12.0  # from here on, a mark of any size is ink
_MIN_MARK_EXTENT = 0.15  # of the picture's longer side; a mark below `_CERTAIN_SIGMAS` must be this long
_MIN_MARK_PX = 12  # pixels; it must also be this long
_BORDER_PART = 12  # a twelfth of each side is ignored when ink is measured: frames and vignettes lie there
_NARROW_BORDER_PART = 100  # a hundredth is ignored when the ink inside that border was not found
_BORDER_CONTRAST = 0.3  # darkness; ink near the border must be this dark, because the light is less certain

# Light ink on a dark ground (a blackboard) beside dark ink on a light ground.
_GROUND_PARTS = 12, 5  # a ground holds a square of this part of the longer side, or of the shorter side
_MIN_GROUND_SHARE = 0.12  # of the picture; smaller dark areas are not a ground
_MIN_GROUND_CONTRAST = 0.35  # of white, between the two grounds
_MIN_INK_SHARE = 0.005  # of a ground; with less ink, nothing is written on it
_MAX_INK_SHARE = 0.35  # of a ground; with more ink, it is not a ground
_SEAM_SHARE = 0.012  # of the picture's longer side; width of the strip that is filled where two grounds meet


def find_ink(grey: np.ndarray) -> np.ndarray:
    """Return the ink, float32 (H, W) from 0 (paper) to 1 (full ink), of grey float32 (H, W) in [0, 1].

    Strokes keep their soft edges. Light ink on dark paper is found as well as dark ink on light paper. Blank
    paper gives all zeros, even if it is noisy, textured, shaded or ruled.
    """
    small = limit_size(grey, _WORK_SIDE_PX)
    dark_ground = _find_dark_ground(small)
    if dark_ground is not None:
        grey = _invert_ground(grey, dark_ground)
        small = limit_size(grey, _WORK_SIDE_PX)
    elif is_ink_light(small):
        grey, small = 1 - grey, 1 - small
    paper = _estimate_paper(small)
    darkness = (paper - small) / np.maximum(paper, _DARKEST_PAPER)
    contrast = _MIN_CONTRAST
    levels = _measure_ink(_crop_border(darkness, _BORDER_PART), contrast)
    if levels is None:
        contrast = _BORDER_CONTRAST
        levels = _measure_ink(_crop_border(darkness, _NARROW_BORDER_PART), contrast)
    if levels is None:
        return np.zeros_like(grey)
    low, edge, high, noise = levels
    strokes = _cut_strokes(darkness, edge, max(edge, contrast))
    ruled_lines = find_ruled_lines(darkness, strokes, noise)
    strokes = cv2.dilate(strokes & (1 - ruled_lines), np.ones((3, 3), np.uint8)) & (1 - ruled_lines)
    if small.shape != grey.shape:
        size = (grey.shape[1], grey.shape[0])
        paper = cv2.resize(paper, size, interpolation=cv2.INTER_LINEAR)
        strokes = cv2.resize(strokes, size, interpolation=cv2.INTER_NEAREST)
        darkness = (paper - grey) / np.maximum(paper, _DARKEST_PAPER)
    ink: np.ndarray = np.clip((darkness - low) / (high - low), 0, 1) * strokes
    return ink


def enhance_faint_marks(grey: np.ndarray) -> np.ndarray | None:
    """Return a picture (H, W) in which marks that are too faint for `find_ink` are black on white.

    None if there are no such marks. Stains, show-through and the paper's texture are enhanced as well as
    pencil; the caller has to tell them apart. No slope of the light is fitted, because faint marks would
    become a part of it.
    """
    small = limit_size(grey, _WORK_SIDE_PX)
    paper = _remove_strokes(limit_size(small, _LIGHT_SIDE_PX))
    paper = cv2.resize(paper, small.shape[::-1], interpolation=cv2.INTER_LINEAR)
    darkness = (paper - small) / np.maximum(paper, _DARKEST_PAPER)
    smooth = cv2.GaussianBlur(darkness, (0, 0), max(small.shape) / _WORK_SIDE_PX)
    levels = _measure_ink(_crop_border(smooth, _BORDER_PART), _FAINTEST_DARKNESS)
    if levels is None:
        return None
    low, edge, full, _ = levels
    noise = _measure_noise(_crop_border(darkness, _BORDER_PART))[1]
    ruled_lines = find_ruled_lines(darkness, (darkness > edge).astype(np.uint8), noise)
    ruled_lines = cv2.dilate(ruled_lines, np.ones((3, 3), np.uint8))
    enhanced = 1 - np.clip((smooth - low) / (full - low), 0, 1) * (1 - ruled_lines)
    picture: np.ndarray = cv2.resize(enhanced, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return picture


def limit_size(grey: np.ndarray, side_px: int) -> np.ndarray:
    """Shrink a picture (H, W) so that its longer side has at most `side_px` pixels, averaging the pixels."""
    scale = side_px / max(grey.shape)
    return rescale(grey, scale) if scale < 1 else grey


def rescale(picture: np.ndarray, scale: float) -> np.ndarray:
    """Scale a picture (H, W), keeping at least one pixel in width and height."""
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized: np.ndarray = cv2.resize(picture, size, interpolation=interpolation)
    return resized


def is_ink_light(grey: np.ndarray) -> bool:
    """Return whether the ink of a picture (H, W) is lighter than its paper.

    Ink covers less than paper, so the sign of the skewness of the flattened brightness tells. If neither side
    is rare, for example in a picture cropped tightly around a bold digit, the border of the picture is paper.
    """
    small = limit_size(grey, _LIGHT_SIDE_PX)
    height, width = small.shape
    flat = small - cv2.blur(small, (width // 2 | 1, height // 2 | 1), borderType=cv2.BORDER_REPLICATE)
    flat = (flat - flat.mean()) / max(float(flat.std()), 1e-6)
    skewness = float(np.mean(flat * flat * flat))
    if abs(skewness) >= 0.5:
        return skewness > 0
    light = cv2.threshold(_to_bytes(small), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    return float(border.mean()) < 0.5


def _find_dark_ground(grey: np.ndarray) -> np.ndarray | None:
    """Return where a picture has light ink on a dark ground beside dark ink on a light ground.

    The result is bool (h, w), of a small copy, or None if the whole picture has one polarity.
    """
    small = limit_size(grey, _LIGHT_SIDE_PX)
    level, split = cv2.threshold(_to_bytes(small), 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    if split.mean() < _MIN_GROUND_SHARE:
        return None
    side = min(max(small.shape) // _GROUND_PARTS[0], min(small.shape) // _GROUND_PARTS[1]) | 1
    dark = np.asarray(cv2.morphologyEx(split, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)), np.uint8)
    _, holes = cv2.connectedComponents(1 - dark, connectivity=4)
    regions = np.asarray(holes, np.int32).ravel()
    sizes = np.bincount(regions)
    shares = np.bincount(regions, split.ravel()) / np.maximum(sizes, 1)
    dark |= (shares >= _MAX_INK_SHARE)[holes].astype(np.uint8)  # the ground around light ink
    if min(_largest_share(dark), _largest_share(1 - dark)) < _MIN_GROUND_SHARE:
        return None
    inside = cv2.erode(dark, np.ones((5, 5), np.uint8), borderValue=1) == 1
    outside = cv2.dilate(dark, np.ones((5, 5), np.uint8)) == 0
    if not (inside.any() and outside.any()):
        return None
    dark_level, light_level = median(small[inside]), median(small[outside])
    if light_level - dark_level < _MIN_GROUND_CONTRAST:
        return None
    light_ink = np.mean(small[inside] > (dark_level + level / 255) / 2)
    dark_ink = np.mean(small[outside] < (light_level + level / 255) / 2)
    has_ink = min(light_ink, dark_ink) > _MIN_INK_SHARE and max(light_ink, dark_ink) < _MAX_INK_SHARE
    return dark == 1 if has_ink else None


def _largest_share(mask: np.ndarray) -> float:
    """Return the share of a mask (H, W) that its largest connected component covers."""
    sizes = cv2.connectedComponentsWithStats(mask, connectivity=4)[2][1:, cv2.CC_STAT_AREA]
    return float(np.max(sizes, initial=0)) / mask.size


def _invert_ground(grey: np.ndarray, dark_ground: np.ndarray) -> np.ndarray:
    """Invert the dark ground of a picture (H, W) and fill the seam between the grounds with paper."""
    size = grey.shape[1], grey.shape[0]
    share = cv2.resize(dark_ground.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    inverted = np.where(share > 0.5, 1 - grey, grey)
    reach = max(3, round(_SEAM_SHARE * max(size))) | 1
    mask = (share > 0.5).astype(np.uint8)
    seam = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((reach, reach), np.uint8)) > 0
    around = cv2.dilate(cv2.blur(inverted, (3, 3)), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    filled: np.ndarray = np.where(seam, around, inverted).astype(np.float32)
    return filled


def _estimate_paper(grey: np.ndarray) -> np.ndarray:
    """Return the brightness of the bare paper at every pixel, (H, W).

    Strokes are removed twice: from the picture, and from the picture divided by the slope of the light.
    Without the slope, the brighter side would spread to the border; with it, a step of the light would become
    a slope. Both estimates are too bright where they are wrong, so the darker one is taken.
    """
    small = limit_size(grey, _LIGHT_SIDE_PX)
    slope = _fit_light(small)
    paper = _remove_strokes(small)
    if slope is not None:
        paper = np.minimum(paper, _remove_strokes(small / slope) * slope)
    if paper.shape == grey.shape:
        return paper
    # Without the erosion, sharp steps of the light, which are blurred in the copy, would be ink.
    paper = cv2.erode(paper, np.ones((3, 3), np.uint8))
    resized: np.ndarray = cv2.resize(paper, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_LINEAR)
    return resized


def _remove_strokes(grey: np.ndarray) -> np.ndarray:
    """Raise dark strokes to the level around them by a closing, and smooth the rest by a median: (H, W)."""
    brightest = max(float(grey.max()), 1e-6)
    side = max(grey.shape)
    reach = max(3, side // 3 if side >= 64 else side) | 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    closed = cv2.morphologyEx(_to_bytes(grey / brightest), cv2.MORPH_CLOSE, brush)
    smooth: np.ndarray = cv2.medianBlur(closed, (reach // 2) | 1) * np.float32(brightest / 255)
    return smooth


def _fit_light(grey: np.ndarray) -> np.ndarray | None:
    """Fit a surface of second order to the light on the paper, (H, W), with median 1; ignore darker pixels.

    None if no such surface fits most of the picture.
    """
    if min(grey.shape) < _MIN_SLOPE_SIDE_PX:
        return None
    height, width = grey.shape
    terms = _second_order_terms(height, width)
    values = grey.ravel()
    kept = np.ones(values.size, bool)
    for _ in range(4):
        kept_terms = terms.compress(kept, axis=1)
        normal_matrix = kept_terms @ kept_terms.T
        weights = np.linalg.lstsq(normal_matrix, kept_terms @ values[kept], rcond=None)[0]
        residuals = values - weights @ terms
        spread = median(np.abs(residuals[kept])) * 1.5  # about the standard deviation of normal residuals
        kept = np.abs(residuals) <= 3 * max(spread, 1 / 255)
    if kept.mean() < _MIN_PAPER_SHARE or spread > _MAX_LIGHT_SPREAD:
        return None
    surface = (weights @ terms).reshape(height, width)
    slope: np.ndarray = np.clip(surface / max(median(surface), 1e-3), 0.2, 2.0)
    return slope


@functools.lru_cache(maxsize=16)
def _second_order_terms(height: int, width: int) -> np.ndarray:
    """Return the terms of a polynomial of second order at each pixel: (6, H * W)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)


def _measure_ink(darkness: np.ndarray, contrast: float) -> tuple[float, float, float, float] | None:
    """Return the darkness at which paper ends, at which strokes are cut and of full ink, and the noise.

    None if there is no ink that is darker than the paper by `contrast` at least.

    Full ink lies above Otsu's threshold (N. Otsu, "A threshold selection method from gray-level histograms",
    1979). That threshold alone would divide blank paper, too, so marks must also exceed the paper's noise.
    """
    middle, noise = _measure_noise(darkness)
    middle = max(middle, 0.0)
    floor = middle + max(contrast, _NOISE_SIGMAS * noise)
    otsu = cv2.threshold(_to_bytes(darkness), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0] / 255
    marks = darkness > max(otsu, floor)
    if not marks.any():
        return None
    full = quantile(darkness[marks], 0.75)
    certain = full - middle > _CERTAIN_SIGMAS * max(noise, 1 / 255)
    stats = cv2.connectedComponentsWithStats(marks.astype(np.uint8), connectivity=8)[2]
    longest_px = int(np.max(stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]], initial=0))
    if not certain and longest_px < max(_MIN_MARK_EXTENT * max(marks.shape), _MIN_MARK_PX):
        return None
    low = middle + 2 * noise
    return low, max(middle + _NOISE_SIGMAS * noise, low + 0.3 * (full - low)), full, noise


def _cut_strokes(darkness: np.ndarray, edge: float, certain: float) -> np.ndarray:
    """Return the components darker than `edge` that have a pixel darker than `certain`: uint8 (H, W).

    This is the hysteresis of J. Canny, "A computational approach to edge detection", 1986.
    """
    strokes = (darkness > edge).astype(np.uint8)
    if certain == edge:
        return strokes
    _, labels = cv2.connectedComponents(strokes, connectivity=8)
    kept = np.zeros(int(labels.max()) + 1, np.uint8)
    kept[labels[darkness > certain]] = 1
    kept[0] = 0
    kept_strokes: np.ndarray = kept[labels]
    return kept_strokes


def _measure_noise(darkness: np.ndarray) -> tuple[float, float]:
    """Return the median darkness of the paper, and its standard deviation on the side without ink."""
    step = 1 if darkness.size < 100_000 else 2
    sample = darkness[::step, ::step]
    paper = sample[sample <= (quantile(sample, 0.16) + quantile(sample, 0.995)) / 2]
    middle = median(paper)
    return middle, middle - quantile(paper, 0.16)


def _crop_border(picture: np.ndarray, part: int) -> np.ndarray:
    """Return the picture without one part in `part` at each side, where desks, frames and vignettes lie."""
    height, width = picture.shape
    return picture[height // part : height - height // part, width // part : width - width // part]


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    """Convert shares in [0, 1] to uint8; clip the values outside."""
    levels: np.ndarray = cv2.convertScaleAbs(np.maximum(shares, 0), alpha=255)
    return levels
