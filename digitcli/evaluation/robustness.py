"""Measure how a model answers to corrupted digits, and to pictures that are no digits."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.architectures.recipe import augmentations
from digitcli.data.dataset import Digits
from digitcli.data.mnist_c import CORRUPTIONS, corrupt
from digitcli.evaluation.metrics import accuracy
from digitcli.inference.checkpoint import recipes_of
from digitcli.inference.predictor import DigitClassifier

# The corruptions that each setting of training resembles; there is none for fog.
SIMILAR_CORRUPTIONS = {
    "affine": ("shear", "scale", "rotate", "translate"),
    "random_erasing": ("shot_noise", "impulse_noise", "stripe", "spatter"),
    "random_lines": ("dotted_line", "zigzag"),
    "random_convolution": ("glass_blur", "motion_blur", "brightness", "canny_edges"),
    "synthetic": ("shot_noise", "glass_blur", "motion_blur"),
}
DEFAULTS_OF_OLD_RECIPES = {"affine": True}  # from before this setting existed

SEED = 2026
NOISE_COUNT = 1_000  # images of noise, and as many of clouds
CLOUD_SIGMA_PX = 2.0  # of the blur that turns noise into clouds; chosen by hand
LETTERS = "letters"


@dataclass(frozen=True)
class CorruptionResult:
    """The accuracy under one corruption, and whether training corrupted digits in a similar way."""

    name: str
    accuracy: float
    trained: bool


@dataclass(frozen=True)
class Robustness:
    """Accuracies on clean digits and on the same digits under the corruptions of MNIST-C.

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
    results, known = [], _corruptions_of_training(classifier)
    for number, name in enumerate(CORRUPTIONS, start=1):
        logits = classifier.logits(corrupt(name, digits.images))
        on_progress(number * len(digits), len(CORRUPTIONS) * len(digits))
        results.append(CorruptionResult(name, accuracy(logits, digits.labels), name in known))
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


def _corruptions_of_training(classifier: DigitClassifier) -> set[str]:
    """Return what resembles a setting in a recipe of any model, or of a model that it started from."""
    return {
        corruption
        for header in classifier.headers
        for recipe in recipes_of(header)
        for setting, corruptions in SIMILAR_CORRUPTIONS.items()
        if recipe.get(setting, DEFAULTS_OF_OLD_RECIPES.get(setting))
        and (recipe.get("augment") or setting not in augmentations())
        for corruption in corruptions
    }


@dataclass(frozen=True)
class OodResult:
    """The confidence of a model in `n` images that are no digits, against its confidence in digits.

    auroc: the probability that the model is more confident in a digit than in one of these images. 0.5 is
        chance.
    trained: whether a model was trained to reject such images.
    """

    name: str
    n: int
    auroc: float
    trained: bool


def measure_ood(
    classifier: DigitClassifier, digit_confidences: npt.NDArray[np.float32]
) -> tuple[OodResult, ...]:
    """Compare confidences (N,) in digits with the confidences in each set of `ood_images`.

    Hendrycks & Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural
    networks", 2017.
    """
    recipes = (recipe for header in classifier.headers for recipe in recipes_of(header))
    is_trained_on_letters = any(recipe.get("synthetic") for recipe in recipes)
    results = []
    for name, images in ood_images().items():
        confidences = classifier.probabilities(images).max(axis=-1)
        is_trained = name == LETTERS and is_trained_on_letters
        results.append(OodResult(name, len(images), auroc(digit_confidences, confidences), is_trained))
    return tuple(results)


def ood_images() -> dict[str, npt.NDArray[np.uint8]]:
    """Return images without digits, (N, 28, 28): noise, clouds and printed letters."""
    import cv2

    from digitcli.synthesis.glyphs import render_letters

    noise = np.random.default_rng(SEED).random((NOISE_COUNT, 28, 28), dtype=np.float32)
    clouds = np.stack([cv2.GaussianBlur(image, (0, 0), CLOUD_SIGMA_PX) for image in noise])
    low, high = clouds.min(axis=(1, 2), keepdims=True), clouds.max(axis=(1, 2), keepdims=True)
    return {
        "noise": np.rint(255 * noise).astype(np.uint8),
        "clouds": np.rint(255 * ((clouds - low) / (high - low))).astype(np.uint8),
        LETTERS: np.stack(render_letters()),
    }


def auroc(higher: npt.ArrayLike, lower: npt.ArrayLike) -> float:
    """Return the probability that a value of `higher` (N,) exceeds one of `lower` (M,); a tie counts half.

    This is the area under the ROC curve, computed from ranks: Mann & Whitney, "On a test of whether one of
    two random variables is stochastically larger than the other", 1947.
    """
    from scipy.stats import mannwhitneyu

    higher, lower = np.asarray(higher, np.float64), np.asarray(lower, np.float64)
    return float(mannwhitneyu(higher, lower).statistic) / (len(higher) * len(lower))
