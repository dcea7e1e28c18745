"""Draw what a page lies on, or what stands there in its place: things of all sizes that hide each other.

Lee, Mumford & Huang, "Occlusion models for natural images: a statistical study of the scale-invariant dead
leaves model", 2001: such pictures have the statistics of natural ones, and networks that learn from them
recognize real pictures (Baradad et al., "Learning to see by looking at noise", 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

Light = npt.NDArray[np.float32]
Outline = npt.NDArray[np.float64]

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


def draw_surface(random: np.random.Generator, shape: tuple[int, int]) -> Light:
    """Return the light (H, W) of a surface, from 0 to 1."""
    height, width = shape
    first, second = (np.full(shape, random.uniform(*TONES), np.float32) for _ in range(2))
    for _ in range(int(MOST_LEAVES ** random.random())):
        in_row = int(random.integers(2, MOST_IN_ROW + 1)) if random.random() < ROW_SHARE else 1
        radius = max(shape) * (_sample_radius(random) if in_row == 1 else _log_uniform(random, *ROW_SIZES))
        outline, place = _sample_leaf(random) * radius, random.uniform([0, 0], [width, height])
        moves, sizes = list(_row(random, radius, in_row)), list(_nested(random))
        for size in sizes:
            tones = random.uniform(*TONES, 2)
            for move in moves:
                points = np.round(outline * size + place + move).astype(np.int32)
                for canvas, tone in zip((first, second), tones, strict=True):
                    cv2.fillPoly(canvas, [points], float(tone))  # the light changes between both tones
    ramp = _smooth(random, shape, (2, 5))
    light = first + (second - first) * np.clip(ramp + np.float32(0.5), 0, 1)
    if random.random() < SOFT_SHARE:
        light = cv2.GaussianBlur(light, (0, 0), random.uniform(*SOFTNESS_PX)).astype(np.float32)
    light = light * (1 + np.float32(random.uniform(0, TEXTURE)) * _smooth(random, shape, GRID))
    return np.asarray(light.clip(0, 1), np.float32)


def _row(random: np.random.Generator, radius: float, count: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the places of a leaf and of its like in a row, which is mostly level or upright."""
    angle, pitch = random.integers(2) * np.pi / 2 + random.normal(0, 0.1), random.uniform(*PITCH) * radius
    for number in range(count):
        yield number * pitch * np.array([np.cos(angle), np.sin(angle)]) + random.normal(0, 0.05 * radius, 2)


def _nested(random: np.random.Generator) -> Iterator[float]:
    """Yield the sizes of a leaf, 1, and of those in it."""
    yield (size := 1.0)
    while random.random() < NESTED_SHARE:
        size *= random.uniform(0.4, 0.95)
        yield size


def _sample_radius(random: np.random.Generator) -> float:
    """Return a radius whose density falls as a power of it."""
    low, high = (size ** (1 - SIZE_EXPONENT) for size in SIZES)
    return float(random.uniform(high, low) ** (1 / (1 - SIZE_EXPONENT)))


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _sample_leaf(random: np.random.Generator) -> Outline:
    """Return the outline (P, 2) of a leaf of radius 1 in any direction."""
    kinds: tuple[Callable[[np.random.Generator], Outline], ...] = (_polygon, _ellipse, _rectangle, _cord)
    outline = kinds[int(random.integers(len(kinds)))](random)
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(outline @ turn, np.float64)


def _polygon(random: np.random.Generator) -> Outline:
    angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(3, 12))))
    radii = random.uniform(0.4, 1, (len(angles), 1))
    return np.asarray(radii * np.stack([np.cos(angles), np.sin(angles)], axis=1), np.float64)


def _ellipse(random: np.random.Generator) -> Outline:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([np.cos(angles), random.uniform(0.2, 1) * np.sin(angles)], axis=1)


def _rectangle(random: np.random.Generator) -> Outline:
    """Return a box, or something as slim as a pen."""
    half = _log_uniform(random, 0.03, 1)
    return np.array([[-1, -half], [1, -half], [1, half], [-1, half]])


def _cord(random: np.random.Generator) -> Outline:
    """Return a bent band of constant width: a cord, the edge of a plate, a fold of cloth."""
    along = np.linspace(-1, 1, 16)
    bend = random.normal(0, 0.6) * along**2 + random.normal(0, 0.4) * along**3
    half = random.uniform(0.02, 0.12)
    there, back = (np.stack([along, bend + side], axis=1) for side in (half, -half))
    return np.concatenate([there, back[::-1]])


def _smooth(random: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Light:
    """Return smooth noise (H, W) of a variance below 1, with random numbers of cells in each direction."""
    rows, columns = (round(float(np.exp(random.uniform(*np.log(cells))))) for _ in shape)
    noise = random.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
