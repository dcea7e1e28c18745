"""Finding the ink: a grey picture in, how much ink lies on every pixel out.

The light is flattened, the polarity found, and the ink told from the paper's own noise; all of this is
measured on a small copy, and only the last step touches every pixel.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from digitcli.imaging.quantiles import median, quantile
from digitcli.imaging.ruled_lines import find_ruled_lines

_LIGHT_SIDE_PX = 160  # the light changes slowly: this many pixels show it
_SLOPED_SIDE_PX = 48  # smaller pictures are mostly ink
_MOSTLY_PAPER = 0.7  # of a picture must fit one smooth light, or it is not known which part is paper
_SMOOTH = 0.05  # of white: how far paper strays from a smooth light
_WORK_SIDE_PX = 640  # strokes and noise are measured at this size
_DARKEST_PAPER = 0.4  # of white; in deeper shadow noise would be lifted to ink
_MIN_CONTRAST = 0.06  # of the paper's brightness; fainter marks are taken for paper
_FAINTEST = 0.02  # of the paper's brightness; what is less dark no person sees for certain
_NOISE_SIGMAS = 4.0  # how far above the paper's noise a mark must stand,
_SURE_SIGMAS = 12.0  # and from where on a mark of any size is ink;
_MARK_EXTENT = 0.15  # below that it must be this long, in shares of the picture,
_MARK_PX = 12  # and in pixels
_GROUND_BRUSH = 12, 5  # a ground holds such a part of the longer side, or of the shorter one, squared,
_LEAST_GROUND = 0.12  # has this share of it at least,
_GROUND_CONTRAST = 0.35  # of white, between two grounds,
_LEAST_INK, _MOST_INK = 0.005, 0.35  # and so much ink, as a share of it
_SEAM = 0.012  # of the longer side of a picture: so wide it is cut where grounds meet
_RIM = 12  # one part in so many of height and width is left out at each side when ink is measured;
_OUTER_RIM = 100  # where nothing is found so, only this is left out,
_RIM_CONTRAST = 0.3  # and ink must be this much darker than paper: at the rim the light is known less well


def find_ink(grey: np.ndarray) -> np.ndarray:
    """How much ink: float32 (H, W), 0 paper to 1 ink, from grey float32 (H, W) in [0, 1].

    Strokes keep their soft edges. Paper is what most of the neighbourhood shows, so light ink on dark paper
    will do as well as dark on light. Blank paper, noisy, textured, shaded or ruled, gives all zeros.
    """
    small = limit_size(grey, _WORK_SIDE_PX)
    dark_ground = _ground_of_light_ink(small)
    if dark_ground is not None:
        grey = _turned_over(grey, dark_ground)
        small = limit_size(grey, _WORK_SIDE_PX)
    elif is_ink_light(small):
        grey, small = 1 - grey, 1 - small
    paper = _paper(small)
    darkness = (paper - small) / np.maximum(paper, _DARKEST_PAPER)
    contrast = _MIN_CONTRAST
    levels = _ink_levels(_inner(darkness, _RIM), contrast)
    if levels is None:
        contrast = _RIM_CONTRAST
        levels = _ink_levels(_inner(darkness, _OUTER_RIM), contrast)
    if levels is None:
        return np.zeros_like(grey)
    low, edge, high, noise = levels
    strokes = _strokes(darkness, edge, max(edge, contrast))
    ruling = find_ruled_lines(darkness, strokes, noise)
    strokes = cv2.dilate(strokes & (1 - ruling), np.ones((3, 3), np.uint8)) & (1 - ruling)
    if small.shape != grey.shape:
        size = (grey.shape[1], grey.shape[0])
        paper = cv2.resize(paper, size, interpolation=cv2.INTER_LINEAR)
        strokes = cv2.resize(strokes, size, interpolation=cv2.INTER_NEAREST)
        darkness = (paper - grey) / np.maximum(paper, _DARKEST_PAPER)
    ink: np.ndarray = np.clip((darkness - low) / (high - low), 0, 1) * strokes
    return ink


def enhance_faint_marks(grey: np.ndarray) -> np.ndarray | None:
    """A picture (H, W) with dark marks too faint for `find_ink` in black on white; None if there are none.

    Stains, show-through and the paper's own texture are lifted as well as pencil: what they are is for others
    to say. The light is not taken for a smooth slope, of which such marks would seem a part.
    """
    small = limit_size(grey, _WORK_SIDE_PX)
    paper = _without_strokes(limit_size(small, _LIGHT_SIDE_PX))
    paper = cv2.resize(paper, small.shape[::-1], interpolation=cv2.INTER_LINEAR)
    darkness = (paper - small) / np.maximum(paper, _DARKEST_PAPER)
    smooth = cv2.GaussianBlur(darkness, (0, 0), max(small.shape) / _WORK_SIDE_PX)
    levels = _ink_levels(_inner(smooth, _RIM), _FAINTEST)
    if levels is None:
        return None
    low, edge, full, _ = levels
    noise = _paper_noise(_inner(darkness, _RIM))[1]
    ruling = find_ruled_lines(darkness, (darkness > edge).astype(np.uint8), noise)
    ruling = cv2.dilate(ruling, np.ones((3, 3), np.uint8))
    lifted = 1 - np.clip((smooth - low) / (full - low), 0, 1) * (1 - ruling)
    picture: np.ndarray = cv2.resize(lifted, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return picture


def limit_size(grey: np.ndarray, side_px: int) -> np.ndarray:
    """A copy of (H, W) whose longer side has at most `side_px` pixels, each the mean of what it covers."""
    scale = side_px / max(grey.shape)
    return rescale(grey, scale) if scale < 1 else grey


def rescale(picture: np.ndarray, scale: float) -> np.ndarray:
    """A picture (H, W) made smaller or larger, but never less than a pixel wide or high."""
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized: np.ndarray = cv2.resize(picture, size, interpolation=interpolation)
    return resized


def is_ink_light(grey: np.ndarray) -> bool:
    """Whether the marks are lighter than the paper: ink is the rarer side, which skews what is flattened.

    Where neither side is rare, as in a picture cut tight around a fat digit, paper is what the border shows.
    """
    small = limit_size(grey, _LIGHT_SIDE_PX)
    height, width = small.shape
    flat = small - cv2.blur(small, (width // 2 | 1, height // 2 | 1), borderType=cv2.BORDER_REPLICATE)
    flat = (flat - flat.mean()) / max(float(flat.std()), 1e-6)
    skewness = float(np.mean(flat * flat * flat))
    if abs(skewness) >= 0.5:
        return skewness > 0
    light = cv2.threshold(_bytes(small), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    return float(border.mean()) < 0.5


def _ground_of_light_ink(grey: np.ndarray) -> np.ndarray | None:
    """Where a picture has light ink on a dark ground, if beside it there is dark ink on a light one.

    Bool (h, w), of a small copy; None where the whole picture has one polarity.
    """
    small = limit_size(grey, _LIGHT_SIDE_PX)
    level, split = cv2.threshold(_bytes(small), 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    if split.mean() < _LEAST_GROUND:
        return None
    side = min(max(small.shape) // _GROUND_BRUSH[0], min(small.shape) // _GROUND_BRUSH[1]) | 1
    dark = np.asarray(cv2.morphologyEx(split, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)), np.uint8)
    _, holes = cv2.connectedComponents(1 - dark, connectivity=4)
    sizes = np.bincount(holes.ravel())
    shares = np.bincount(holes.ravel(), split.ravel()) / np.maximum(sizes, 1)
    dark |= (shares >= _MOST_INK)[holes].astype(np.uint8)  # what lies around light ink
    if min(_largest_share(dark), _largest_share(1 - dark)) < _LEAST_GROUND:
        return None
    well_inside = cv2.erode(dark, np.ones((5, 5), np.uint8), borderValue=1) == 1
    well_outside = cv2.dilate(dark, np.ones((5, 5), np.uint8)) == 0
    if not (well_inside.any() and well_outside.any()):
        return None
    dark_level, light_level = median(small[well_inside]), median(small[well_outside])
    if light_level - dark_level < _GROUND_CONTRAST:
        return None
    light_ink = np.mean(small[well_inside] > (dark_level + level / 255) / 2)
    dark_ink = np.mean(small[well_outside] < (light_level + level / 255) / 2)
    return (
        dark == 1 if min(light_ink, dark_ink) > _LEAST_INK and max(light_ink, dark_ink) < _MOST_INK else None
    )


def _largest_share(mask: np.ndarray) -> float:
    """The share of a mask (H, W) that its largest connected part has."""
    sizes = cv2.connectedComponentsWithStats(mask, connectivity=4)[2][1:, cv2.CC_STAT_AREA]
    return float(np.max(sizes, initial=0)) / mask.size


def _turned_over(grey: np.ndarray, dark_ground: np.ndarray) -> np.ndarray:
    """A picture (H, W) whose dark ground is made light; where the grounds meet there is paper."""
    size = grey.shape[1], grey.shape[0]
    share = cv2.resize(dark_ground.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    turned = np.where(share > 0.5, 1 - grey, grey)
    reach = max(3, round(_SEAM * max(size))) | 1
    mask = (share > 0.5).astype(np.uint8)
    seam = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((reach, reach), np.uint8)) > 0
    around = cv2.dilate(cv2.blur(turned, (3, 3)), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    filled: np.ndarray = np.where(seam, around, turned).astype(np.float32)
    return filled


def _paper(grey: np.ndarray) -> np.ndarray:
    """The brightness of the bare paper, (H, W).

    The slope of the light is taken out, or the brighter side would be carried to the rim. Where the light has
    a step instead, that makes a slope of it; but no paper is brighter than what is found either way.
    """
    small = limit_size(grey, _LIGHT_SIDE_PX)
    slope = _slope_of_light(small)
    paper = _without_strokes(small)
    if slope is not None:
        paper = np.minimum(paper, _without_strokes(small / slope) * slope)
    if paper.shape == grey.shape:
        return paper
    paper = cv2.erode(paper, np.ones((3, 3), np.uint8))  # or sharp steps, blurred in the small copy, were ink
    resized: np.ndarray = cv2.resize(paper, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_LINEAR)
    return resized


def _without_strokes(level: np.ndarray) -> np.ndarray:
    """A closing lifts dark strokes to what is around them, a median smooths the rest: (H, W)."""
    brightest = max(float(level.max()), 1e-6)
    side = max(level.shape)
    reach = max(3, side // 3 if side >= 64 else side) | 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    closed = cv2.morphologyEx(_bytes(level / brightest), cv2.MORPH_CLOSE, brush)
    smooth: np.ndarray = cv2.medianBlur(closed, (reach // 2) | 1) * np.float32(brightest / 255)
    return smooth


def _slope_of_light(grey: np.ndarray) -> np.ndarray | None:
    """A smooth surface of second order through the paper, (H, W), around 1; what is darker is left out.

    None where no such surface goes through most of the picture.
    """
    if min(grey.shape) < _SLOPED_SIDE_PX:
        return None
    height, width = grey.shape
    terms = _second_order(height, width)
    values = grey.ravel()
    kept = np.ones(values.size, bool)
    for _ in range(4):
        some = terms.compress(kept, axis=1)
        weights = np.linalg.lstsq(some @ some.T, some @ values[kept], rcond=None)[0]
        rest = values - weights @ terms
        spread = median(np.abs(rest[kept])) * 1.5
        kept = np.abs(rest) <= 3 * max(spread, 1 / 255)
    if kept.mean() < _MOSTLY_PAPER or spread > _SMOOTH:
        return None
    surface = (weights @ terms).reshape(height, width)
    slope: np.ndarray = np.clip(surface / max(median(surface), 1e-3), 0.2, 2.0)
    return slope


@functools.lru_cache(maxsize=16)
def _second_order(height: int, width: int) -> np.ndarray:
    """The terms of a polynomial of second order at each pixel: (6, H * W)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)


def _ink_levels(darkness: np.ndarray, contrast: float) -> tuple[float, float, float, float] | None:
    """The darkness where paper ends, strokes are cut out and ink is full, and the paper's noise.

    None if nothing is ink; what stands out by less than `contrast` is none.

    The full ink is what lies above Otsu's threshold (N. Otsu, "A threshold selection method from gray-level
    histograms", 1979), which alone would cut blank paper in two as well: hence the paper's noise.
    """
    middle, noise = _paper_noise(darkness)
    middle = max(middle, 0.0)
    floor = middle + max(contrast, _NOISE_SIGMAS * noise)
    otsu = cv2.threshold(_bytes(darkness), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0] / 255
    marks = darkness > max(otsu, floor)
    if not marks.any():
        return None
    full = quantile(darkness[marks], 0.75)
    sure = full - middle > _SURE_SIGMAS * max(noise, 1 / 255)
    if not sure and _longest_px(marks) < max(_MARK_EXTENT * max(marks.shape), _MARK_PX):
        return None
    low = middle + 2 * noise
    return low, max(middle + _NOISE_SIGMAS * noise, low + 0.3 * (full - low)), full, noise


def _strokes(darkness: np.ndarray, edge: float, sure: float) -> np.ndarray:
    """What is darker than `edge` and holds something darker than `sure`: uint8 (H, W).

    J. Canny, "A computational approach to edge detection", 1986, calls it hysteresis.
    """
    strokes = (darkness > edge).astype(np.uint8)
    if sure == edge:
        return strokes
    _, labels = cv2.connectedComponents(strokes, connectivity=8)
    kept = np.zeros(int(labels.max()) + 1, np.uint8)
    kept[labels[darkness > sure]] = 1
    kept[0] = 0
    found: np.ndarray = kept[labels]
    return found


def _paper_noise(darkness: np.ndarray) -> tuple[float, float]:
    """The paper's median darkness and its spread on the side where no ink is, the darker pixels left out."""
    step = 1 if darkness.size < 100_000 else 2
    sample = darkness[::step, ::step]
    paper = sample[sample <= (quantile(sample, 0.16) + quantile(sample, 0.995)) / 2]
    middle = median(paper)
    return middle, middle - quantile(paper, 0.16)


def _longest_px(marks: np.ndarray) -> int:
    """The longest side of the box around any connected mark."""
    stats = cv2.connectedComponentsWithStats(marks.astype(np.uint8), connectivity=8)[2]
    return int(np.max(stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]], initial=0))


def _inner(picture: np.ndarray, rim: int) -> np.ndarray:
    """The picture without one part in `rim` at each side, where tables, frames and vignettes are."""
    height, width = picture.shape
    return picture[height // rim : height - height // rim, width // rim : width - width // rim]


def _bytes(shares: np.ndarray) -> np.ndarray:
    """Shares in [0, 1] as uint8; what lies outside is clipped."""
    levels: np.ndarray = cv2.convertScaleAbs(np.maximum(shares, 0), alpha=255)
    return levels
