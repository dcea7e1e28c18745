"""Photograph a page: what pens do to ink, the paper with its print and light, and what a camera makes of it.

Each kind is one function; `shares.toml` says how often it occurs. All sizes were chosen by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from digitcli.synthesis.glyphs import Mask
from digitcli.synthesis.page import Layers
from digitcli.synthesis.paper import (
    Light,
    blur,
    cut_noise,
    draw_surface,
    fold,
    ruled_paper,
    security_pattern,
    shadow,
    smooth_noise,
)
from digitcli.synthesis.shares import sample

GRAINS = 5  # kinds of prepared noise, from fine to coarse
SCREEN_SHARE = 0.08  # of the pictures are drawn on a screen, as with a mouse or a stylus
REVERSED_SHARE = 0.12  # of the pictures are light on dark: blackboards, displays
PALE_SHARE = 0.2  # of the pictures have pale ink

Pen = Callable[[np.random.Generator, Light, float], Light]
Paper = Callable[[np.random.Generator, Light, Light, float, float], Light]
Camera = Callable[[np.random.Generator, Light, float], Light]


def photograph_page(
    random: np.random.Generator,
    layers: Layers,
    digit_px: float,
    screen_share: float = SCREEN_SHARE,
    dark: float | None = None,
) -> Mask:
    """Return a grey picture (H, W) of a page, dark on light or light on dark.

    digit_px: the height of a digit, to which blur and grain are relative.
    screen_share: of the pictures are drawn on a screen: plain ink on plain ground, which no camera has seen.
    dark: the darkness of the ink, by default random.
    """
    shape = layers.writing.shape
    strokes, marks = (np.asarray(ink / np.float32(255), np.float32) for ink in (layers.writing, layers.rules))
    if random.random() < screen_share:
        covered = np.maximum(strokes, np.float32(random.uniform(0.2, 1)) * marks)
        dark_on_light = 1 - np.float32(random.uniform(0.7, 1)) * covered
        light = dark_on_light if random.random() < 0.5 else 1 - dark_on_light
        return np.asarray(255 * light + 0.5, np.uint8)
    for name in sample(random, "pens"):
        strokes = PENS[name](random, strokes, digit_px)
    if dark is None:
        dark = random.uniform(0.35, 0.97) if random.random() >= PALE_SHARE else random.uniform(0.12, 0.4)
    light = np.full(shape, random.uniform(0.4, 1), np.float32)
    for name in sample(random, "papers"):
        light = PAPERS[name](random, light, strokes, dark, digit_px)
    light = light * (1 - np.float32(min(0.97, 0.95 * dark * random.uniform(0.2, 1.2))) * marks)
    light *= 1 - np.float32(dark) * strokes
    if layers.reversed.any():
        light = np.where(layers.reversed > 127, _reverse(random, light), light)
    if random.random() < REVERSED_SHARE:
        light = _reverse(random, light)
    if not layers.sheet.all():
        light = np.where(layers.sheet > 127, light, draw_surface(random, shape))
    for name in sample(random, "cameras"):
        light = np.asarray(CAMERAS[name](random, light, digit_px), np.float32)
    return np.asarray(np.clip(255 * light, 0, 255), np.uint8)


def _reverse(random: np.random.Generator, light: Light) -> Light:
    """Return light ink on dark paper."""
    return np.float32(random.uniform(0.85, 1)) - np.float32(random.uniform(0.6, 0.95)) * light


# Pens: ink (H, W), 1 on 0, before and after.


def _pencil(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    grain = np.abs(cut_noise(random, ink.shape, int(random.integers(0, 4))))
    return ink * np.clip(1 - np.float32(random.uniform(0.1, 0.45)) * grain, 0, 1)


def _pressure(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    return np.asarray(
        ink * np.clip(1 - 0.25 * _waves(random, ink.shape, random.uniform(0.3, 2) * digit_px), 0.3, 1),
        np.float32,
    )


def _skipping(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    left = np.clip(1.6 + 2 * _waves(random, ink.shape, random.uniform(0.08, 0.3) * digit_px), 0.15, 1)
    return ink * np.asarray(left, np.float32)


def _blotted(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    wet = blur(ink, max(0.6, random.uniform(0.02, 0.05) * digit_px))
    return np.asarray(np.clip((wet + 0.12 * cut_noise(random, ink.shape, 3) - 0.25) * 4, 0, 1), np.float32)


def _doubled(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    x, y = random.normal(0, 0.05 * digit_px, 2)
    moved = cv2.warpAffine(ink, np.array([[1, 0, x], [0, 1, y]], np.float32), ink.shape[::-1])
    return np.asarray(np.maximum(ink, np.float32(random.uniform(0.3, 0.9)) * moved), np.float32)


def _hollow(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    side = max(3, round(0.06 * digit_px))
    inside = cv2.erode(ink, np.ones((side, side), np.uint8))
    return np.asarray(ink - np.float32(random.uniform(0.6, 1)) * inside, np.float32)


def _dotted(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    period, (height, width) = max(2.5, random.uniform(0.06, 0.13) * digit_px), ink.shape
    x, y = (np.cos(2 * np.pi * np.arange(side) / period).astype(np.float32) for side in (width, height))
    return np.asarray(ink * np.clip(1.2 + 1.5 * (x[None] + y[:, None]), 0, 1), np.float32)


def _chalk(random: np.random.Generator, ink: Light, digit_px: float) -> Light:
    return ink * (cut_noise(random, ink.shape, int(random.integers(1, GRAINS))) > random.uniform(-1.2, -0.2))


PENS: dict[str, Pen] = {
    "pencil": _pencil,
    "pressure": _pressure,
    "skipping": _skipping,
    "blotted": _blotted,
    "doubled": _doubled,
    "hollow": _hollow,
    "dotted": _dotted,
    "chalk": _chalk,
}

# Papers: light (H, W) before and after. `strokes` is the ink of the writing, which papers come before.


def _security(
    random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float
) -> Light:
    height, width = light.shape
    reduced = max(8, round(height * 12 / digit_px)), max(8, round(width * 12 / digit_px))
    pattern = security_pattern(random, reduced) * np.float32(random.uniform(0.03, 0.5) * dark)
    return light * (1 - cv2.resize(pattern, (width, height), interpolation=cv2.INTER_LINEAR))


def _ruled(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    return light * (
        1 - np.float32(random.uniform(0.05, 0.6) * dark) * ruled_paper(random, light.shape, digit_px)
    )


def _dots(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    step, (height, width) = max(4.0, random.uniform(0.3, 1.2) * digit_px), light.shape
    grid = np.zeros(light.shape, np.uint8)
    xs, ys = (np.arange(random.uniform(0, step), side, step).astype(int) for side in (width, height))
    grid[np.ix_(ys, xs)] = 255
    radius = max(1, round(random.uniform(0.02, 0.06) * digit_px))
    grid = np.asarray(cv2.dilate(grid, np.ones((radius, radius), np.uint8)), np.uint8)
    return light * (1 - np.float32(random.uniform(0.2, 0.8) * dark / 255) * grid)


def _millimetre(
    random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float
) -> Light:
    step, every, (height, width) = (
        max(3.0, random.uniform(0.08, 0.25) * digit_px),
        random.choice([5, 10]),
        light.shape,
    )
    level = np.float32(random.uniform(0.1, 0.5) * dark)
    lines = np.ones(light.shape, np.float32)
    for axis, side in enumerate((height, width)):
        for index, place in enumerate(np.arange(random.uniform(0, step), side, step).astype(int)):
            row = (place, slice(None)) if axis == 0 else (slice(None), place)
            lines[row] *= 1 - level * (1 if index % every == 0 else np.float32(0.5))
    return np.asarray(light * lines, np.float32)


def _print(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    """Print rows of small words, of which only their shape is seen."""
    size, (height, width) = max(3.0, random.uniform(0.15, 0.45) * digit_px), light.shape
    print_ = np.zeros(light.shape, np.uint8)
    for y in np.arange(random.uniform(0, 2) * size, height, random.uniform(1.6, 3) * size):
        x = random.uniform(0, 4) * size
        while x < width:
            for _ in range(int(random.integers(2, 9))):
                half, foot = 0.35 * size, size * random.choice([0.55, 0.55, 0.9])
                points = np.array([x, y]) + random.uniform([0, 0], [2 * half, foot], (3, 2))
                cv2.polylines(print_, [np.round(points).astype(np.int32)], False, 255, 1, cv2.LINE_AA)
                x += 0.75 * size
            x += 0.8 * size
    return light * (1 - np.float32(random.uniform(0.1, 0.8) * dark / 255) * print_)


def _boxes(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    height, width = light.shape
    tone = random.uniform(0.6, 0.95) if random.random() < 0.7 else random.uniform(1.02, 1.2)
    light = light.copy()
    for _ in range(int(random.integers(1, 8))):
        x, y = int(random.uniform(0, width)), int(random.uniform(0, height))
        w, h = int(random.uniform(1, 12) * digit_px), int(random.uniform(0.8, 4) * digit_px)
        light[y : y + h, x : x + w] *= np.float32(tone)
    return light


def _blotches(
    random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float
) -> Light:
    return light * (
        1 + np.float32(0.1 * random.random() ** 2 + 0.005) * smooth_noise(random, light.shape, (2, 12))
    )


def _fibres(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    height, width = light.shape
    rows, columns = (
        max(2, round(side / max(1.5, random.uniform(0.05, 0.5) * digit_px))) for side in light.shape
    )
    along = (rows, max(2, columns // 8)) if random.random() < 0.5 else (max(2, rows // 8), columns)
    noise = random.standard_normal(along).astype(np.float32)
    fibres = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return light * (1 + np.float32(random.uniform(0.02, 0.12)) * fibres)


def _slope(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    height, width = light.shape
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(random.normal(0, 0.4))
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.float32(random.normal(0, 0.4))
    return light * np.maximum(1 + x + y, np.float32(0.15))


def _vignette(
    random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float
) -> Light:
    return light * (1 - np.float32(random.uniform(0.1, 0.4)) * _distance(random, light.shape, 0.2))


def _glare(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    spot = np.exp(-_distance(random, light.shape, 1.0) * np.float32(random.uniform(2, 12)))
    return np.asarray(light + np.float32(random.uniform(0.1, 0.5)) * (1 - light) * spot, np.float32)


def _shadow(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    return light * shadow(random, light.shape)


def _fold(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    return light * fold(random, light.shape)


def _crumple(
    random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float
) -> Light:
    for _ in range(int(random.integers(3, 9))):
        light = light * (0.5 + 0.5 * fold(random, light.shape))
    return light


def _stain(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    stain, (height, width) = np.zeros(light.shape, np.uint8), light.shape
    place = (int(random.uniform(0, width)), int(random.uniform(0, height)))
    radius = max(3, int(random.uniform(2, 8) * digit_px))  # far larger than a zero
    cv2.circle(stain, place, radius, int(random.uniform(0, 120)), -1, cv2.LINE_AA)
    cv2.circle(stain, place, radius, 255, max(1, int(0.08 * radius)), cv2.LINE_AA)
    ring = blur(np.asarray(stain / np.float32(255), np.float32), 0.04 * radius)
    return light * (1 - np.float32(random.uniform(0.05, 0.3)) * ring)


def _tape(random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float) -> Light:
    return light * _band(random, light.shape, random.uniform(1, 4) * digit_px, random.uniform(0.8, 1.15), 90)


def _highlighter(
    random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float
) -> Light:
    return light * _band(
        random, light.shape, random.uniform(0.8, 1.6) * digit_px, random.uniform(0.7, 0.95), 4
    )


def _through(
    random: np.random.Generator, light: Light, strokes: Light, dark: float, digit_px: float
) -> Light:
    mirrored = blur(np.ascontiguousarray(strokes[:, ::-1], np.float32), 0.08 * digit_px)
    return light * (1 - np.float32(random.uniform(0.05, 0.3) * dark) * mirrored)


PAPERS: dict[str, Paper] = {
    "security": _security,
    "ruled": _ruled,
    "dots": _dots,
    "millimetre": _millimetre,
    "print": _print,
    "boxes": _boxes,
    "blotches": _blotches,
    "fibres": _fibres,
    "slope": _slope,
    "vignette": _vignette,
    "glare": _glare,
    "shadow": _shadow,
    "fold": _fold,
    "crumple": _crumple,
    "stain": _stain,
    "tape": _tape,
    "highlighter": _highlighter,
    "through": _through,
}

# Cameras: light (H, W) before and after.


def _defocus(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    return blur(light, random.uniform(0.2, 0.05 * digit_px + 0.4))


def _motion(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    length = max(2, round(random.uniform(0.04, 0.14) * digit_px))
    angle = random.uniform(0, np.pi)
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    step = length * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(int(round(length + side * each)) for each in step) for side in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(light, -1, kernel / kernel.sum()), np.float32)


def _sharpened(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    return light + np.float32(random.uniform(0.3, 1.5)) * (
        light - blur(light, random.uniform(0.6, 0.06 * digit_px + 0.8))
    )


def _fewer_pixels(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    least = min(0.95, max(0.3, 11 / digit_px))  # a digit keeps 11 pixels
    share, (height, width) = random.uniform(least, 0.95), light.shape
    fewer = max(4, int(width * share)), max(8, int(height * share))
    small = cv2.resize(light, fewer, interpolation=cv2.INTER_AREA)
    way = cv2.INTER_LINEAR if random.random() < 0.7 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(small, (width, height), interpolation=way), np.float32)


def _grain(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    noise = cut_noise(random, light.shape, int(random.integers(0, GRAINS)))
    return light + np.float32(0.045 * random.random() ** 2) * noise


def _contrast(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    return np.clip(light, 0, 1) ** np.float32(np.exp(random.normal(0, 0.5)))


def _bilevel(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    """Compare with the surroundings, as scanners do that know only black and white."""
    difference = light - blur(light, 0.8 * digit_px)
    low, high = np.percentile(difference[:: max(1, len(difference) // 64)], (1, 99))
    threshold = random.uniform(0.25, 0.6) * (low if -low > high else high)
    return np.asarray(difference > threshold, np.float32)


def _few_tones(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    count = int(random.integers(4, 17))
    return np.round(np.clip(light, 0, 1) * count) / np.float32(count)


def _speckles(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    noise = np.abs(cut_noise(random, light.shape, int(random.integers(0, 2))))
    return np.where(noise > random.uniform(2.8, 3.6), np.float32(random.integers(2)), light)


def _scanlines(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    period = max(2.0, random.uniform(0.04, 0.12) * digit_px)
    rows = np.cos(2 * np.pi * np.arange(len(light), dtype=np.float32) / period)[:, None]
    return np.asarray(light * (1 + np.float32(random.uniform(0.03, 0.15)) * rows), np.float32)


def _compressed(random: np.random.Generator, light: Light, digit_px: float) -> Light:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(20, 95))]
    grey = np.clip(255 * light, 0, 255).astype(np.uint8)
    stored = np.asarray(cv2.imdecode(cv2.imencode(".jpg", grey, quality)[1], cv2.IMREAD_GRAYSCALE))
    return np.asarray(stored / np.float32(255), np.float32)


CAMERAS: dict[str, Camera] = {
    "defocus": _defocus,
    "motion": _motion,
    "sharpened": _sharpened,
    "fewer_pixels": _fewer_pixels,
    "grain": _grain,
    "contrast": _contrast,
    "bilevel": _bilevel,
    "few_tones": _few_tones,
    "speckles": _speckles,
    "scanlines": _scanlines,
    "compressed": _compressed,
}


def _waves(random: np.random.Generator, shape: tuple[int, ...], length_px: float) -> Light:
    """Return smooth noise (H, W) of variance about 0.5 whose bumps are this long."""
    height, width = shape
    cells = tuple(max(2, min(round(side / max(length_px, 1.0)), side)) for side in (height, width))
    noise = random.standard_normal(cells).astype(np.float32)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _distance(random: np.random.Generator, shape: tuple[int, ...], spread: float) -> Light:
    """Return the squared distance (H, W) from a place near the middle, 1 at the edges; `spread` moves it."""
    height, width = shape
    x0, y0 = random.uniform(-spread, spread, 2)
    x = np.linspace(-1, 1, width, dtype=np.float32) - np.float32(x0)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(y0)
    return np.asarray((x**2 + y**2) / 2, np.float32)


def _band(
    random: np.random.Generator, shape: tuple[int, ...], width_px: float, tone: float, tilt: float
) -> Light:
    """Return the light (H, W) under a straight band of another tone, tilted by up to `tilt` degrees."""
    height, width = shape
    light = np.ones(shape, np.float32)
    angle = np.radians(random.uniform(-tilt, tilt))
    along = np.array([np.cos(angle), np.sin(angle)]) * random.uniform(0.2, 1.2) * max(height, width)
    across = np.array([-np.sin(angle), np.cos(angle)]) * width_px / 2
    centre = random.uniform([0, 0], [width, height])
    corners = [
        centre - along - across,
        centre + along - across,
        centre + along + across,
        centre - along + across,
    ]
    cv2.fillPoly(light, [np.round(np.array(corners)).astype(np.int32)], float(tone))
    return light
