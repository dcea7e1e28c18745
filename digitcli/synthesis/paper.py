"""Turn ink into a photograph: paper with printed patterns, light, pen, camera, and what the paper lies on."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

FINE_SIGMA_PX = 3.0  # least standard deviation, in its own pixels, of a blur that is computed on fewer pixels
_GRAINS_PX = (0.0, 0.5, 0.8, 1.2, 1.8)  # standard deviations of the blurs of the prepared noise
_NOISE_SHAPE = (400, 2600)  # of the prepared noise, from which windows are cut; wider than most lines

Light = npt.NDArray[np.float32]

# All values were chosen by hand.
MOST_LEAVES = 300  # their number is log-uniform from 1 on
SIZES = (0.01, 0.6)  # range of the radius of a leaf, in longer sides of the picture
SIZE_EXPONENT = 2.0  # of the power law of the radii; 3 is that of natural pictures, with more small leaves
TONES = (0.03, 0.97)  # range of the light of leaves
ROW_SHARE = 0.15  # of the leaves lie in a row of their like, as coins do
ROW_SIZES = (0.01, 0.15)  # log-uniform range of their radius
MOST_IN_ROW = 8
PITCH = (2.05, 3.5)  # range of their distance, in radii
NESTED_SHARE = 0.3  # of the leaves have smaller ones of the same shape in them, as cups and eyes do
SOFT_SHARE = 0.5  # of the pictures are out of focus
SOFTNESS_PX = (0.3, 6.0)  # range of the standard deviation of their blur
TEXTURE = 0.2  # largest contrast of the texture
GRID = (3, 96)  # range of the cells of the texture along each side; unlike sides make stripes, as in wood


def fold(random: np.random.Generator, shape: tuple[int, int]) -> Light:
    """Return the light on paper that was folded along a line: two tones and a thin edge."""
    height, width = shape
    tones = np.full(shape, random.uniform(0.8, 1), np.float32)
    ends = random.uniform([0, 0], [width, height], (2, 2))
    direction = ends[1] - ends[0]
    y, x = np.indices(shape, np.float32, sparse=True)
    side = (x - ends[0, 0]) * direction[1] - (y - ends[0, 1]) * direction[0]
    distance = side / max(float(np.hypot(*direction)), 1.0)
    tones = np.where(distance > 0, tones, 1).astype(np.float32)
    edge = np.float32(random.uniform(-0.2, 0.4)) * np.exp(-((distance / 1.5) ** 2))
    return np.asarray(tones * (1 - edge), np.float32)


def ruled_paper(random: np.random.Generator, shape: tuple[int, int], digit_px: float) -> Light:
    """Return the lines of ruled or squared paper, 1 on 0."""
    height, width = shape
    step, line_px = random.uniform(0.35, 2.2) * digit_px, max(1, round(random.uniform(0.02, 0.08) * digit_px))
    lines = np.zeros(shape, np.uint8)
    lean = random.normal(0, 0.01)
    for y in np.arange(random.uniform(0, step), height, step):
        cv2.line(lines, (0, int(y)), (width, int(y + lean * width)), 255, line_px, cv2.LINE_AA)
    if random.random() < 0.6:
        for x in np.arange(random.uniform(0, step), width, step):
            cv2.line(lines, (int(x), 0), (int(x - lean * height), height), 255, line_px, cv2.LINE_AA)
    return np.asarray(lines / np.float32(255), np.float32)


def shadow(random: np.random.Generator, shape: tuple[int, int]) -> Light:
    """Return the light under the shadow of something with a straight, sharp or soft edge."""
    height, width = shape
    side = np.full(shape, 1, np.float32)
    points = random.uniform([-0.5 * width, -0.5 * height], [1.5 * width, 1.5 * height], (3, 2))
    cv2.fillPoly(side, [np.round(points).astype(np.int32)], random.uniform(0.3, 0.9))
    return blur(side, random.uniform(0.5, 0.08 * max(shape)))


def security_pattern(random: np.random.Generator, shape: tuple[int, int]) -> Light:
    """Return a pattern of thin lines, straight, wavy or round, as on cheques: (H, W) from 0 to 1."""
    height, width = shape
    y, x = np.indices(shape, np.float32, sparse=True)
    pattern = np.zeros(shape, np.float32)
    for _ in range(random.integers(1, 4)):
        kind, angle = random.random(), random.uniform(0, np.pi)
        period_px = float(np.exp(random.uniform(np.log(2.5), np.log(11))))
        if 0.6 <= kind < 0.8:  # rings around a point that may lie outside of the paper
            centre_x, centre_y = random.uniform(-width, 2 * width), random.uniform(-3 * height, 4 * height)
            rings = np.hypot(x - np.float32(centre_x), y - np.float32(centre_y))
            phase = np.asarray(rings * np.float32(2 * np.pi / period_px), np.float32)
        else:
            phase = _plane_wave(x, y, angle, period_px)
        if kind < 0.6:  # wavy lines
            amplitude_px, wave_px = random.uniform(0, 12), random.uniform(15, 120)
            across = _plane_wave(x, y, random.uniform(0, np.pi), wave_px)
            wave = np.sin(across + np.float32(random.uniform(0, 2 * np.pi)))
            phase = np.asarray(phase + np.float32(2 * np.pi * amplitude_px / period_px) * wave, np.float32)
        sharpness = np.float32(random.uniform(0, 0.9))
        lines = np.clip((np.cos(phase) - sharpness) / (1 - sharpness), 0, 1)
        np.maximum(pattern, lines * np.float32(random.uniform(0.5, 1)), out=pattern)
    if random.random() < 0.3:  # it is denser and paler in turn
        period_px = random.uniform(20, 80)
        pattern *= 0.5 + 0.5 * np.sin(_plane_wave(x, y, 1.1, period_px) + np.float32(1))
    return pattern


def _plane_wave(x: Light, y: Light, angle: float, period_px: float) -> Light:
    """Return the phase, in radians, of a plane wave in a direction; x is (1, W) and y is (H, 1)."""
    scale = 2 * np.pi / period_px
    return x * np.float32(scale * np.cos(angle)) + y * np.float32(scale * np.sin(angle))


def cut_noise(random: np.random.Generator, shape: tuple[int, ...], grain: int) -> Light:
    """Return a random window (H, W) of prepared noise, which is faster than new noise."""
    height, width = shape
    pool = _prepare_noise()[grain]
    if width >= pool.shape[1] or height >= pool.shape[0]:
        pool = np.tile(pool, (height // pool.shape[0] + 1, width // pool.shape[1] + 1))
    y = int(random.integers(0, pool.shape[0] - height))
    x = int(random.integers(0, pool.shape[1] - width))
    return pool[y : y + height, x : x + width]


@functools.cache
def _prepare_noise() -> list[Light]:
    """Return noise of mean 0 and standard deviation 1 for each grain, the same in every process."""
    random = np.random.default_rng(0)
    pools = [blur(random.standard_normal(_NOISE_SHAPE).astype(np.float32), grain) for grain in _GRAINS_PX]
    return [pool / pool.std() for pool in pools]


def blur(light: Light, sigma_px: float) -> Light:
    """Return light (H, W) after a Gaussian blur; a wide one is computed on fewer pixels."""
    if not sigma_px:
        return light
    height, width = light.shape
    step = min(int(sigma_px / FINE_SIGMA_PX), height, width)
    if step <= 1:
        return np.asarray(cv2.GaussianBlur(light, (0, 0), sigma_px), np.float32)
    fewer = -(-width // step), -(-height // step)
    small = cv2.resize(light, fewer, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma_px / step)
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def draw_surface(random: np.random.Generator, shape: tuple[int, int]) -> Light:
    """Return the light (H, W) of a surface, from 0 to 1."""
    height, width = shape
    first, second = (np.full(shape, random.uniform(*TONES), np.float32) for _ in range(2))
    for _ in range(int(MOST_LEAVES ** random.random())):
        in_row = int(random.integers(2, MOST_IN_ROW + 1)) if random.random() < ROW_SHARE else 1
        if in_row == 1:  # the density of the radii falls as a power of them
            low, high = (size ** (1 - SIZE_EXPONENT) for size in SIZES)
            radius = max(shape) * float(random.uniform(high, low) ** (1 / (1 - SIZE_EXPONENT)))
        else:
            radius = max(shape) * _log_uniform(random, *ROW_SIZES)
        outline, place = _sample_leaf(random) * radius, random.uniform([0, 0], [width, height])
        moves, sizes = list(_row(random, radius, in_row)), [1.0]
        while random.random() < NESTED_SHARE:
            sizes.append(sizes[-1] * random.uniform(0.4, 0.95))
        for size in sizes:
            tones = random.uniform(*TONES, 2)
            for move in moves:
                points = np.round(outline * size + place + move).astype(np.int32)
                for canvas, tone in zip((first, second), tones, strict=True):
                    cv2.fillPoly(canvas, [points], float(tone))  # the light changes between both tones
    ramp = smooth_noise(random, shape, (2, 5))
    light = first + (second - first) * np.clip(ramp + np.float32(0.5), 0, 1)
    if random.random() < SOFT_SHARE:
        light = cv2.GaussianBlur(light, (0, 0), random.uniform(*SOFTNESS_PX)).astype(np.float32)
    light = light * (1 + np.float32(random.uniform(0, TEXTURE)) * smooth_noise(random, shape, GRID))
    return np.asarray(light.clip(0, 1), np.float32)


def _row(random: np.random.Generator, radius: float, count: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the places of a leaf and of its like in a row, which is mostly level or upright."""
    angle, pitch = random.integers(2) * np.pi / 2 + random.normal(0, 0.1), random.uniform(*PITCH) * radius
    for number in range(count):
        yield number * pitch * np.array([np.cos(angle), np.sin(angle)]) + random.normal(0, 0.05 * radius, 2)


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _sample_leaf(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the outline (P, 2) of a leaf of radius 1 in any direction."""
    kind = int(random.integers(4))
    if kind == 0:  # a polygon
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(3, 12))))
        radii = random.uniform(0.4, 1, (len(angles), 1))
        outline = radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind == 1:  # an ellipse
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        outline = np.stack([np.cos(angles), random.uniform(0.2, 1) * np.sin(angles)], axis=1)
    elif kind == 2:  # a box, or something as slim as a pen
        half = _log_uniform(random, 0.03, 1)
        outline = np.array([[-1, -half], [1, -half], [1, half], [-1, half]])
    else:  # a bent band of constant width: a cord, the edge of a plate, a fold of cloth
        along = np.linspace(-1, 1, 16)
        bend = random.normal(0, 0.6) * along**2 + random.normal(0, 0.4) * along**3
        half = random.uniform(0.02, 0.12)
        there, back = (np.stack([along, bend + side], axis=1) for side in (half, -half))
        outline = np.concatenate([there, back[::-1]])
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(outline @ turn, np.float64)


def smooth_noise(random: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Light:
    """Return smooth noise (H, W) of a variance below 1, with random numbers of cells in each direction."""
    rows, columns = (round(float(np.exp(random.uniform(*np.log(cells))))) for _ in shape)
    noise = random.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
