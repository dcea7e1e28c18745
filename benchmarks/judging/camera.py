"""Turn the sheets of `judged_scenes.py` into photographs: surfaces, folds, light and camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
from scenes import Box, DrawnScene

from digitcli.synthesis.page import Corners, Label
from judging.sheet import Light, Sheet, bounds, digits_box

# All sizes, tones and shares were chosen by hand, so that a person can read every number.
MIN_CONTRAST = 40  # grey levels between the ink and the paper of a labelled number
MIN_DIGIT_PX = 11  # height of the digits of a labelled number
LEAST_GAP = 0.3  # of a labelled number from other writing beside it, in heights of a digit
MAX_OVERLAP = 0.05  # area that other writing may share with it, in squared heights of a digit
LARGEST_PX = 2500  # longer side of a picture


def smooth_noise(random: np.random.Generator, shape: tuple[int, ...], rows: int, columns: int) -> Light:
    """Return noise of this many waves down and across."""
    grid = random.standard_normal((rows + 1, columns + 1)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def displace(sheet: Sheet, shift: npt.NDArray[np.float32]) -> None:
    """Show at each pixel what lies `shift` (2, H, W) pixels, x and y, away from it."""
    height, width = sheet.light.shape
    y, x = np.indices((height, width), np.float32)
    sheet.light = np.asarray(
        cv2.remap(sheet.light, x + shift[0], y + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.float32,
    )

    def moved(corners: Corners) -> Corners:
        points = corners
        for _ in range(4):
            column = points[..., 0].round().astype(int).clip(0, width - 1)
            row = points[..., 1].round().astype(int).clip(0, height - 1)
            points = corners - np.stack([shift[0][row, column], shift[1][row, column]], axis=-1)
        return points.astype(np.float32)

    _move_labels(sheet, moved)
    _set_aside_cut_off(sheet)


def _move_labels(sheet: Sheet, moved: Callable[[Corners], Corners]) -> None:
    sheet.labels = [replace(label, corners=moved(label.corners)) for label in sheet.labels]
    sheet.ignored = [moved(corners) for corners in sheet.ignored]


def _set_aside(sheet: Sheet, is_readable: Callable[[Label], bool]) -> None:
    """Turn the labels of numbers that nobody can be sure of into ignored places."""
    doubtful = [label for label in sheet.labels if label.text and not is_readable(label)]
    sheet.ignored += [label.corners for label in doubtful]
    sheet.labels = [label for label in sheet.labels if all(label is not other for other in doubtful)]


def _set_aside_cut_off(sheet: Sheet) -> None:
    size = np.array(sheet.light.shape[::-1])
    _set_aside(sheet, lambda label: bool((label.corners >= -1).all() and (label.corners <= size + 1).all()))


def crumple(sheet: Sheet, strength: float) -> None:
    """Crumple a sheet: its facets catch different light, and what is written is displaced."""
    random, shape = sheet.random, sheet.light.shape
    for count, depth, edge in ((12, 0.1, 0.5), (60, 0.07, 0.15), (250, 0.03, 0.08)):
        seeds = np.ones(shape, np.uint8)
        seeds[random.integers(0, shape[0], count), random.integers(0, shape[1], count)] = 0
        _, cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        facets = random.normal(0, depth, count + 1).astype(np.float32).clip(-0.2, 0.12)[cells]
        sheet.light *= 1 + np.float32(strength) * cv2.GaussianBlur(facets, (0, 0), edge * sheet.digit_px)
    waves = [max(2, round(side / sheet.digit_px / 4)) for side in shape]
    shift = np.stack([smooth_noise(random, shape, *waves) for _ in range(2)])
    displace(sheet, shift * np.float32(0.15 * strength * sheet.digit_px))


def fold(sheet: Sheet) -> None:
    """Fold a sheet up to twice: the parts reflect differently, and the folds are worn."""
    random, (height, width) = sheet.random, sheet.light.shape
    for axis in range(2):
        if not sheet.chance(0.4):
            continue
        at = round((height, width)[axis] * sheet.uniform(0.3, 0.7))
        part = sheet.light[at:] if axis == 0 else sheet.light[:, at:]
        part *= np.float32(sheet.uniform(0.82, 1.0))
        crease = sheet.light[at : at + 2] if axis == 0 else sheet.light[:, at : at + 2]
        crease *= np.float32(random.choice([0.75, 1.15]))


def bow(sheet: Sheet) -> None:
    """Bend a sheet like a leaf of an open book."""
    height, width = sheet.light.shape
    wave = np.sin(np.linspace(0, sheet.uniform(1, 4), width, dtype=np.float32) + sheet.uniform(0, 6))
    drop = np.broadcast_to(wave * np.float32(sheet.random.normal(0, 0.35) * sheet.digit_px), (height, width))
    sheet.light = sheet.light * (
        1 + 0.08 * np.gradient(wave) / max(float(np.abs(np.gradient(wave)).max()), 1e-6)
    ).astype(np.float32)
    displace(sheet, np.stack([np.zeros_like(drop), drop]))


def speckled(sheet: Sheet, tone: float) -> Callable[[tuple[int, int]], Light]:
    """Return what draws a wall or a stone table of a size."""

    def draw(shape: tuple[int, int]) -> Light:
        speckles = cv2.GaussianBlur(sheet.random.standard_normal(shape).astype(np.float32), (0, 0), 1.5)
        return np.asarray(
            tone * (1 + 0.25 * speckles + 0.1 * smooth_noise(sheet.random, shape, 3, 3)), np.float32
        )

    return draw


def wood(sheet: Sheet) -> Callable[[tuple[int, int]], Light]:
    """Return what draws a wooden table of a size."""

    def draw(shape: tuple[int, int]) -> Light:
        grain = smooth_noise(sheet.random, shape, 24, 2) + 0.4 * smooth_noise(sheet.random, shape, 90, 3)
        return np.asarray(sheet.random.uniform(0.2, 0.65) * (1 + 0.12 * np.sin(5 * grain)), np.float32)

    return draw


def lay(
    sheet: Sheet,
    surface: Callable[[tuple[int, int]], Light],
    degrees: float,
    tilt: float,
    margin: float = 0.1,
) -> None:
    """Lay a sheet on a surface and look at it in perspective; it may end outside of the picture."""
    _set_aside_cut_off(sheet)
    random, (height, width) = sheet.random, sheet.light.shape
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    seen = flat @ np.array([[cosine, sine], [-sine, cosine]]) + random.normal(0, tilt, (4, 2)).clip(
        -2 * tilt, 2 * tilt
    ) * min(height, width)
    margins = random.uniform(-0.01, margin, 4) * min(height, width)
    seen += margins[:2] - seen.min(axis=0)
    size = tuple(int(side) for side in np.ceil(seen.max(axis=0) + margins[2:]))
    view = cv2.getPerspectiveTransform(flat, seen.astype(np.float32))
    picture = surface((size[1], size[0]))
    shadow = cv2.warpPerspective(np.ones_like(sheet.light), view, size)
    picture *= 1 - 0.5 * cv2.GaussianBlur(shadow, (0, 0), 0.4 * sheet.digit_px)
    cv2.warpPerspective(sheet.light, view, size, picture, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    sheet.light = picture
    _move_labels(
        sheet,
        lambda corners: cv2.perspectiveTransform(corners.reshape(1, -1, 2), view).reshape(corners.shape),
    )


def shade(sheet: Sheet) -> None:
    """Let the shadow of the phone and of a hand fall on a sheet."""
    random, shape = sheet.random, sheet.light.shape
    shadow = np.zeros(shape, np.float32)
    centre, axes = (random.uniform(low, high, 2) * shape[::-1] for low, high in ((0, 1), (0.2, 0.5)))
    angle, depth = random.uniform(0, 180), random.uniform(0.1, 0.45)
    cv2.ellipse(shadow, centre.astype(int).tolist(), axes.astype(int).tolist(), angle, 0, 360, depth, -1)
    side = round(2 * sheet.digit_px) | 1
    sheet.light *= 1 - cv2.blur(shadow, (side, side))


def reflect(sheet: Sheet) -> None:
    """Let windows and lamps mirror in the glass before a sheet."""
    random, shape = sheet.random, sheet.light.shape
    mirrored = np.zeros(shape, np.float32)
    for _ in range(int(random.integers(0, 3))):
        centre = random.uniform(0, 1, 2) * shape[::-1]
        sides = random.uniform(0.1, 0.5, 2) * min(shape)
        quad = (
            centre
            + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * sides
            + random.normal(0, 0.1, (4, 2)) * min(shape)
        )
        cv2.fillPoly(mirrored, [quad.round().astype(np.int32)], random.uniform(0.1, 0.45))
    mirrored = cv2.GaussianBlur(mirrored, (0, 0), random.uniform(0.5, 0.05 * min(shape)))
    sheet.light += mirrored * (1 - sheet.light)


def take_picture(sheet: Sheet) -> DrawnScene:
    """Photograph a sheet, and set aside the numbers that are cut off, faint or too small."""
    random, light = sheet.random, sheet.light
    scale = min(1.0, LARGEST_PX / max(light.shape))
    light = cv2.resize(light, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else light
    y, x = np.ogrid[-1 : 1 : light.shape[0] * 1j, -1 : 1 : light.shape[1] * 1j]
    light = light * (1 - random.uniform(0, 0.3) * (x * x + y * y)).astype(np.float32)  # vignetting
    if random.random() < 0.3:  # a moving hand
        length = max(1, round(random.uniform(0.02, 0.08) * sheet.digit_px * scale))
        light = cv2.blur(light, (length, 1) if random.random() < 0.5 else (1, length))
    light = light * random.uniform(0.75, 1.1) + random.uniform(0, 0.08)
    light = light + np.sqrt(light.clip(0)) * random.uniform(0, 0.035) * random.standard_normal(
        light.shape
    )  # shot noise
    light = light.clip(0, 1) ** random.uniform(0.75, 1.3)
    soft = cv2.GaussianBlur(light, (0, 0), random.uniform(0.4, 0.9))
    light = soft + random.uniform(0, 0.9) * (
        soft - cv2.GaussianBlur(soft, (0, 0), 1.5)
    )  # sharpening by the phone
    grey = np.clip(255 * light, 0, 255).astype(np.uint8)
    if random.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(45, 95))]
        grey = np.asarray(
            cv2.imdecode(cv2.imencode(".jpg", grey, quality)[1], cv2.IMREAD_GRAYSCALE), np.uint8
        )
    _move_labels(sheet, lambda corners: corners * np.float32(scale))
    sheet.light = light
    _set_aside_cut_off(sheet)
    _set_aside(sheet, lambda label: _is_readable(grey, digits_box(label)) and _is_free(sheet, label))
    return DrawnScene(grey, tuple(sheet.labels), tuple(bounds(corners) for corners in sheet.ignored))


def _is_free(sheet: Sheet, label: Label) -> bool:
    """Tell whether a number stands apart from other writing, so that it is clear where it ends."""
    _, y0, _, y1 = digits_box(label)
    gap = np.array([LEAST_GAP * (y1 - y0), 0], np.float32)
    outline = cv2.convexHull(np.concatenate([label.corners - gap, label.corners + gap]).reshape(-1, 2))
    others = [cv2.convexHull(other.corners.reshape(-1, 2)) for other in sheet.labels if other is not label]
    limit = MAX_OVERLAP * (y1 - y0) ** 2
    return all(cv2.intersectConvexConvex(outline, other)[0] <= limit for other in others)


def _is_readable(picture: npt.NDArray[np.uint8], box: Box) -> bool:
    x0, y0, x1, y1 = (max(0, round(side)) for side in box)
    if y1 - y0 < MIN_DIGIT_PX:
        return False
    low, high = np.percentile(picture[y0:y1, x0:x1], [4, 90])
    return bool(high - low >= MIN_CONTRAST)
