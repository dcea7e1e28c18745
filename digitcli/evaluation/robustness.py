"""Corrupt digits in fifteen ways, and measure the accuracy of a model on the corrupted digits."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.architectures.recipe import augmentations
from digitcli.data.dataset import Digits
from digitcli.evaluation.metrics import accuracy
from digitcli.inference.checkpoint import recipes_of
from digitcli.inference.predictor import DigitClassifier

Image = npt.NDArray[np.float32]  # H, W; ink 1 on a background of 0

SEED = 2026
SHEAR = 0.5  # pixels to the side for each pixel of height
ROTATION_DEGREES = 25.0
SCALE = 0.65
SHIFT_PX = 4.0
BLUR_SIGMA_PX = 1.2
NOISE_DEVIATION = 0.25  # of ink that is 1
IMPULSE_SHARE = 0.12  # of the pixels
JPEG_QUALITY = 8  # of 100
FOG_SHARE = 0.6  # of the fog in the mixture with the image
SHADOW_DARKNESS = 0.5  # of the background, which is 0
STRIPE_WIDTH_PX = 5
LINE_COUNT = 2


@dataclass(frozen=True)
class Corruption:
    """One way to corrupt an image, and the settings of training that corrupt digits in a similar way."""

    name: str
    change: Callable[[Image, np.random.Generator], Image]
    similar_settings: tuple[str, ...] = ()


def corrupt(images: npt.NDArray[np.uint8], corruption: Corruption) -> npt.NDArray[np.uint8]:
    """Return images (N, H, W), uint8 with ink 255, corrupted; the result is the same in every call."""
    corrupted = np.empty_like(images)
    for index, image in enumerate(images):
        random = np.random.default_rng((SEED, index))
        values = corruption.change(image.astype(np.float32) / 255, random)
        corrupted[index] = np.rint(values.clip(0, 1) * 255)
    return corrupted


def thick(image: Image, random: np.random.Generator) -> Image:
    """Widen the strokes by two pixels."""
    return np.asarray(cv2.dilate(image, np.ones((3, 3), np.uint8)), np.float32)


def thin(image: Image, random: np.random.Generator) -> Image:
    """Narrow the strokes by about a pixel: remove half of the ink that an erosion by a cross removes."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray((image + cv2.erode(image, cross)) / 2, np.float32)


def slant(image: Image, random: np.random.Generator) -> Image:
    """Shear to the left or to the right."""
    shear = _random_sign(random) * SHEAR
    return _warp(image, np.array([[1, shear], [0, 1]]))


def rotation(image: Image, random: np.random.Generator) -> Image:
    """Rotate by 25 degrees in either direction."""
    angle = np.deg2rad(_random_sign(random) * ROTATION_DEGREES)
    return _warp(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def scale(image: Image, random: np.random.Generator) -> Image:
    """Reduce the size by a third."""
    return _warp(image, np.eye(2) / SCALE)


def shift(image: Image, random: np.random.Generator) -> Image:
    """Move by four pixels in any direction."""
    angle = random.uniform(0, 2 * np.pi)
    return _warp(image, np.eye(2), SHIFT_PX * np.array([np.cos(angle), np.sin(angle)]))


def blur(image: Image, random: np.random.Generator) -> Image:
    """Blur with a Gaussian, as a camera out of focus does."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA_PX), np.float32)


def noise(image: Image, random: np.random.Generator) -> Image:
    """Add Gaussian noise to every pixel."""
    return (image + random.normal(0, NOISE_DEVIATION, image.shape)).astype(np.float32)


def impulses(image: Image, random: np.random.Generator) -> Image:
    """Turn random pixels black or white."""
    is_hit = random.random(image.shape) < IMPULSE_SHARE
    return np.where(is_hit, random.integers(0, 2, image.shape), image).astype(np.float32)


def fog(image: Image, random: np.random.Generator) -> Image:
    """Mix with a cloud: noise of several sizes, the larger ones stronger."""
    height, width = image.shape
    cloud = np.zeros(image.shape, np.float32)
    for cells in (2, 4, 8, 16):
        coarse = random.random((cells, cells), dtype=np.float32)
        cloud += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / cells
    cloud = (cloud - cloud.min()) / (cloud.max() - cloud.min())
    return np.asarray((1 - FOG_SHARE) * image + FOG_SHARE * cloud, np.float32)


def stripes(image: Image, random: np.random.Generator) -> Image:
    """Exchange ink and background in a vertical band at either side."""
    striped = image.copy()
    for band in (striped[:, :STRIPE_WIDTH_PX], striped[:, -STRIPE_WIDTH_PX:]):
        band[:] = 1 - band
    return striped


def shadow(image: Image, random: np.random.Generator) -> Image:
    """Darken the background on one side of a line through the middle, as a hand over the paper does."""
    height, width = image.shape
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width]
    distances = (columns - width / 2) * np.cos(angle) + (rows - height / 2) * np.sin(angle)
    darkness = SHADOW_DARKNESS * (1 - image) * distances.clip(0, 1)
    return np.asarray(image + darkness, np.float32)


def jpeg(image: Image, random: np.random.Generator) -> Image:
    """Compress as JPEG of low quality."""
    pixels = np.rint(image * 255).astype(np.uint8)
    _, stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.asarray(pixels / 255, np.float32)


def lines(image: Image, random: np.random.Generator) -> Image:
    """Draw two thin lines across the image, as a form or a slipped pen does."""
    height, width = image.shape
    lined = np.rint(image * 255).astype(np.uint8)
    for _ in range(LINE_COUNT):
        left, right = (int(row) for row in random.integers(0, height, 2))
        cv2.line(lined, (0, left), (width - 1, right), 255, 1, cv2.LINE_AA)
    return np.asarray(lined / 255, np.float32)


def inversion(image: Image, random: np.random.Generator) -> Image:
    """Exchange ink and background."""
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


def _random_sign(random: np.random.Generator) -> int:
    return int(random.integers(0, 2)) * 2 - 1


def _warp(image: Image, matrix: npt.NDArray[np.float64], shift_px: npt.ArrayLike = (0, 0)) -> Image:
    """Take each pixel from the place that a matrix (2, 2) about the middle and a shift give."""
    height, width = image.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle - matrix @ middle + np.asarray(shift_px)
    affine = np.column_stack([matrix, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, affine, (width, height), flags=flags), np.float32)


DEFAULTS_OF_OLD_RECIPES = {"affine": True, "stroke_width": True}  # from before these settings existed


@dataclass(frozen=True)
class CorruptionResult:
    """The accuracy under one corruption, and whether training corrupted digits in a similar way."""

    name: str
    accuracy: float
    trained: bool


@dataclass(frozen=True)
class Robustness:
    """Accuracies on clean digits and on the same digits corrupted.

    clean: the accuracy without corruption.
    mean: the mean over all corruptions.
    unseen: the mean over the corruptions that resemble nothing in the training of the models.
    worst, worst_name: the lowest accuracy, and its corruption.
    gap: `clean` minus `mean`.
    """

    clean: float
    mean: float
    unseen: float
    worst: float
    worst_name: str
    gap: float
    corruptions: tuple[CorruptionResult, ...]


def measure_robustness(
    classifier: DigitClassifier,
    digits: Digits,
    clean_accuracy: float,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Robustness:
    """Evaluate a model on digits under each corruption; `on_progress` receives the numbers of images."""
    results = []
    for number, corruption in enumerate(CORRUPTIONS, start=1):
        logits = classifier.logits(corrupt(digits.images, corruption))
        on_progress(number * len(digits), len(CORRUPTIONS) * len(digits))
        is_trained = _is_trained_with(classifier, corruption)
        results.append(CorruptionResult(corruption.name, accuracy(logits, digits.labels), is_trained))
    mean = statistics.fmean(result.accuracy for result in results)
    worst = min(results, key=lambda result: result.accuracy)
    return Robustness(
        clean=clean_accuracy,
        mean=mean,
        unseen=statistics.fmean(result.accuracy for result in results if not result.trained),
        worst=worst.accuracy,
        worst_name=worst.name,
        gap=clean_accuracy - mean,
        corruptions=tuple(results),
    )


def _is_trained_with(classifier: DigitClassifier, corruption: Corruption) -> bool:
    """Return whether a recipe of any model corrupts or synthesizes digits in a similar way.

    What a network has learned before it was fine-tuned counts, too.
    """
    return any(
        recipe.get(setting, DEFAULTS_OF_OLD_RECIPES.get(setting))
        for header in classifier.headers
        for recipe in recipes_of(header)
        for setting in corruption.similar_settings
        if recipe.get("augment") or setting not in augmentations()
    )
