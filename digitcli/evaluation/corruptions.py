"""What befalls digits outside a dataset: a fixed suite of corruptions, each from its definition.

After Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", 2019, and Mu & Gilmer, "MNIST-C: a robustness benchmark for computer vision", 2019. Here each
has one strength, at which a person still reads nearly all digits. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]  # H, W; ink 1 on paper 0
SEED = 2026

SLANT, TURN_DEGREES, SMALLER, SHIFT_PX = 0.5, 25.0, 0.65, 4.0
BLUR_PX, NOISE, IMPULSES, JPEG_QUALITY = 1.2, 0.25, 0.12, 8
FOG, SHADOW, STRIPE_PX, LINES = 0.6, 0.5, 5, 2


@dataclass(frozen=True)
class Corruption:
    """What it does to an image, and the ways of augmentation that it is like."""

    name: str
    change: Callable[[Image, np.random.Generator], Image]
    like: tuple[str, ...] = ()


def corrupt(images: npt.NDArray[np.uint8], corruption: Corruption) -> npt.NDArray[np.uint8]:
    """The images (N, H, W), uint8 with ink 255, each changed; the same whenever it is called."""
    changed = np.empty_like(images)
    for index, image in enumerate(images):
        random = np.random.default_rng((SEED, index))
        values = corruption.change(image.astype(np.float32) / 255, random)
        changed[index] = np.rint(values.clip(0, 1) * 255)
    return changed


def thick(image: Image, random: np.random.Generator) -> Image:
    """Strokes two pixels wider."""
    return np.asarray(cv2.dilate(image, np.ones((3, 3), np.uint8)), np.float32)


def thin(image: Image, random: np.random.Generator) -> Image:
    """Strokes a pixel or so narrower: half of what an erosion by a cross takes."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray((image + cv2.erode(image, cross)) / 2, np.float32)


def slant(image: Image, random: np.random.Generator) -> Image:
    """Sheared to the left or to the right."""
    lean = _sign(random) * SLANT
    return _warped(image, np.array([[1, lean], [0, 1]]))


def rotation(image: Image, random: np.random.Generator) -> Image:
    """Turned by 25 degrees, either way."""
    angle = np.deg2rad(_sign(random) * TURN_DEGREES)
    return _warped(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def scale(image: Image, random: np.random.Generator) -> Image:
    """Made smaller by a third."""
    return _warped(image, np.eye(2) / SMALLER)


def shift(image: Image, random: np.random.Generator) -> Image:
    """Moved by four pixels, in any direction."""
    angle = random.uniform(0, 2 * np.pi)
    return _warped(image, np.eye(2), SHIFT_PX * np.array([np.cos(angle), np.sin(angle)]))


def blur(image: Image, random: np.random.Generator) -> Image:
    """Out of focus: under a Gaussian."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR_PX), np.float32)


def noise(image: Image, random: np.random.Generator) -> Image:
    """Normal noise on every pixel."""
    return (image + random.normal(0, NOISE, image.shape)).astype(np.float32)


def impulses(image: Image, random: np.random.Generator) -> Image:
    """Some pixels black or white, at random."""
    hit = random.random(image.shape) < IMPULSES
    return np.where(hit, random.integers(0, 2, image.shape), image).astype(np.float32)


def fog(image: Image, random: np.random.Generator) -> Image:
    """A cloud before all of it: noise of all sizes, the larger the stronger."""
    height, width = image.shape
    cloud = np.zeros(image.shape, np.float32)
    for cells in (2, 4, 8, 16):
        coarse = random.random((cells, cells), dtype=np.float32)
        cloud += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / cells
    cloud = (cloud - cloud.min()) / (cloud.max() - cloud.min())
    return np.asarray((1 - FOG) * image + FOG * cloud, np.float32)


def stripes(image: Image, random: np.random.Generator) -> Image:
    """The colours exchanged in a band at either side."""
    changed = image.copy()
    for band in (changed[:, :STRIPE_PX], changed[:, -STRIPE_PX:]):
        band[:] = 1 - band
    return changed


def shadow(image: Image, random: np.random.Generator) -> Image:
    """Half of it, beyond a line through the middle, darker, as paper is under a hand."""
    height, width = image.shape
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width]
    beyond = (columns - width / 2) * np.cos(angle) + (rows - height / 2) * np.sin(angle)
    darker = SHADOW * (1 - image) * beyond.clip(0, 1)
    return np.asarray(image + darker, np.float32)


def jpeg(image: Image, random: np.random.Generator) -> Image:
    """Stored as JPEG of low quality."""
    pixels = np.rint(image * 255).astype(np.uint8)
    _, stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.asarray(pixels / 255, np.float32)


def lines(image: Image, random: np.random.Generator) -> Image:
    """Two thin lines across, as of a form or a pen that slipped."""
    height, width = image.shape
    changed = np.rint(image * 255).astype(np.uint8)
    for _ in range(LINES):
        left, right = (int(row) for row in random.integers(0, height, 2))
        cv2.line(changed, (0, left), (width - 1, right), 255, 1, cv2.LINE_AA)
    return np.asarray(changed / 255, np.float32)


def inversion(image: Image, random: np.random.Generator) -> Image:
    """Paper and ink exchanged."""
    return np.asarray(1 - image, np.float32)


CORRUPTIONS = (
    Corruption("thick", thick, ("stroke_width",)),
    Corruption("thin", thin, ("stroke_width",)),
    Corruption("slant", slant, ("affine",)),
    Corruption("rotation", rotation, ("affine",)),
    Corruption("scale", scale, ("affine",)),
    Corruption("shift", shift, ("affine",)),
    Corruption("blur", blur, ("random_convolution", "synthetic")),
    Corruption("noise", noise, ("random_erasing", "synthetic")),
    Corruption("impulses", impulses, ("random_erasing",)),
    Corruption("fog", fog),
    Corruption("stripes", stripes, ("random_erasing",)),
    Corruption("shadow", shadow),
    Corruption("jpeg", jpeg),
    Corruption("lines", lines, ("random_lines",)),
    Corruption("inversion", inversion, ("random_convolution",)),
)


def _sign(random: np.random.Generator) -> int:
    return int(random.integers(0, 2)) * 2 - 1


def _warped(image: Image, matrix: npt.NDArray[np.float64], shift_px: npt.ArrayLike = (0, 0)) -> Image:
    """Where the matrix (2, 2), about the middle, and the shift say each pixel comes from."""
    height, width = image.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle - matrix @ middle + np.asarray(shift_px)
    whole = np.column_stack([matrix, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, whole, (width, height), flags=flags), np.float32)
