"""Scan, fax or photograph the sheets of the calibration with Pillow. All values were chosen by hand."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scenes import DrawnScene

from calibrating.ink import Light, Paper
from digitcli.synthesis.page import Label

LARGEST_PX = 2200
LEAST_GAP = 0.3  # between a number and other writing beside it, in heights of the number
LEAST_DIGIT_PX, LEAST_CONTRAST = 10, 35  # of a number that a person can read, in pixels and grey levels


def scan(paper: Paper) -> DrawnScene:
    """Lay a sheet on a scanner: a little skewed, evenly lit, at times too bright."""
    degrees = paper.random.normal(0, 0.8)
    tilt(paper, _rotation(paper, degrees), 1.0)
    paper.light = paper.light * paper.random.uniform(0.9, 1.1)
    return _record(paper, blur=paper.random.uniform(0.3, 1.0), noise=paper.random.uniform(0, 0.015))


def fax(paper: Paper) -> DrawnScene:
    """Send a sheet by fax: few pixels, black and white, with broken rows."""
    random, (width, height) = paper.random, paper.size
    image = _as_image(paper.light).resize((width, height * 2 // 3), Image.Resampling.BOX)
    bits = np.asarray(image, np.float32) / 255 + random.normal(0, 0.06, (image.height, width))
    bits = (bits > random.uniform(0.5, 0.75)).astype(np.float32)
    for row in random.integers(0, image.height, int(random.integers(0, 6))).tolist():
        bits[row] = random.integers(0, 2)
    paper.light = (
        np.asarray(_as_image(bits).resize((width, height), Image.Resampling.NEAREST), np.float32) / 255
    )
    return _record(paper, blur=random.uniform(0, 0.6), noise=0.0)


def photograph(paper: Paper, ground: Light | None = None, steep: float = 0.08) -> DrawnScene:
    """Photograph a sheet from aside, on a ground, under a lamp; `steep` is how far its corners move."""
    random, (width, height) = paper.random, paper.size
    quad = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    quad += random.normal(0, steep / 2, (4, 2)).clip(-steep, steep) * min(width, height)
    quad = quad @ _turn(random.normal(0, 4))
    tilt(paper, quad, random.uniform(1.0, 1.15), ground)
    y, x = np.mgrid[0 : 1 : paper.light.shape[0] * 1j, 0 : 1 : paper.light.shape[1] * 1j]
    lamp = random.uniform(-0.3, 1.3, 2)
    distance = (x - lamp[0]) ** 2 + (y - lamp[1]) ** 2
    paper.light = (paper.light * (1.05 - random.uniform(0, 0.45) * distance)).astype(np.float32)
    return _record(paper, blur=random.uniform(0.4, 1.6), noise=random.uniform(0.005, 0.05))


def tilt(paper: Paper, quad: npt.NDArray[np.float64], margin: float, ground: Light | None = None) -> None:
    """Move the corners of a sheet to `quad` (4, 2), with some of the ground around it."""
    low, high = quad.min(axis=0), quad.max(axis=0)
    size = np.ceil((high - low) * margin).astype(int)
    quad = quad - low + (size - (high - low)) / 2
    width, height = paper.size
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    forward = _homography(flat, quad)
    back = np.linalg.inv(forward)
    coefficients = (back / back[2, 2]).ravel()[:8].tolist()
    shape = tuple(size.tolist())
    sheet = _as_image(paper.light).transform(
        shape, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC, fillcolor=255
    )
    mask = Image.new("L", (width, height), 255).transform(shape, Image.Transform.PERSPECTIVE, coefficients)
    below = np.full(shape[::-1], 0.95, np.float32) if ground is None else _tile(ground, shape)
    share = np.asarray(mask, np.float32) / 255
    paper.light = share * (np.asarray(sheet, np.float32) / 255) + (1 - share) * below
    paper.labels = [_moved(label, forward) for label in paper.labels]


def texture(random: np.random.Generator, width: int, height: int) -> Light:
    """Return a rough surface: noise of several sizes that falls off with the frequency."""
    spectrum = np.fft.rfft2(random.standard_normal((height, width)))
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    stretch = np.exp(random.normal(0, 0.7, 2))
    spectrum *= 1 / (np.hypot(stretch[0] * y, stretch[1] * x) + 1 / max(width, height)) ** random.uniform(
        0.7, 1.6
    )
    surface = np.fft.irfft2(spectrum, (height, width))
    surface = (surface - surface.mean()) / max(float(surface.std()), 1e-9)
    return (random.uniform(0.25, 0.8) + random.uniform(0.03, 0.18) * surface).clip(0, 1).astype(np.float32)


def _record(paper: Paper, blur: float, noise: float) -> DrawnScene:
    random, (width, height) = paper.random, paper.size
    scale = min(1.0, LARGEST_PX / max(width, height))
    image = _as_image(paper.light).filter(ImageFilter.GaussianBlur(blur))
    image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX)
    light = np.asarray(image, np.float32) / 255
    light = light + noise * random.standard_normal(light.shape)
    image = _as_image(light)
    if random.random() < 0.5:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=int(random.integers(35, 95)))
        image = Image.open(content).convert("L")
    grey = np.asarray(image, np.uint8)
    labels = [replace(label, corners=label.corners * np.float32(scale)) for label in paper.labels]
    numbers = [label for label in labels if label.text]
    readable = [label for label in numbers if _is_readable(grey, label) and _is_apart(label, labels)]
    unclear = [label for label in numbers if all(label is not each for each in readable)]
    other = [label for label in labels if not label.text]
    return DrawnScene(grey, (*readable, *other), tuple(_bounds(label) for label in unclear))


def _is_readable(grey: npt.NDArray[np.uint8], label: Label) -> bool:
    x0, y0, x1, y1 = _bounds(label)
    if x0 < -1 or y0 < -1 or x1 > grey.shape[1] + 1 or y1 > grey.shape[0] + 1:
        return False
    part = grey[max(0, round(y0)) : round(y1), max(0, round(x0)) : round(x1)]
    if part.size == 0 or y1 - y0 < LEAST_DIGIT_PX:
        return False
    dark, light = np.percentile(part, [5, 90])
    return bool(light - dark >= LEAST_CONTRAST)


def _is_apart(label: Label, labels: Sequence[Label]) -> bool:
    """Tell whether no other writing lies within the box of a number, or close to its ends."""
    x0, y0, x1, y1 = _bounds(label)
    gap = LEAST_GAP * (y1 - y0)
    others = (_bounds(other) for other in labels if other is not label)
    return not any(
        left < x1 + gap and right > x0 - gap and top < y1 and bottom > y0
        for left, top, right, bottom in others
    )


def _bounds(label: Label) -> tuple[float, float, float, float]:
    points = label.corners.reshape(-1, 2)
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _moved(label: Label, matrix: npt.NDArray[np.float64]) -> Label:
    points = np.concatenate([label.corners, np.ones((*label.corners.shape[:2], 1))], axis=2) @ matrix.T
    return replace(label, corners=(points[..., :2] / points[..., 2:]).astype(np.float32))


def _homography(old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the matrix (3, 3) that moves four points (4, 2) to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(old, new, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def _rotation(paper: Paper, degrees: float) -> npt.NDArray[np.float64]:
    width, height = paper.size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64) @ _turn(degrees)


def _turn(degrees: float) -> npt.NDArray[np.float64]:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def _tile(ground: Light, size: tuple[int, int]) -> Light:
    return np.asarray(_as_image(ground).resize(size, Image.Resampling.BICUBIC), np.float32) / 255


def _as_image(light: Light) -> Image.Image:
    return Image.fromarray((255 * light + 0.5).clip(0, 255).astype(np.uint8))
