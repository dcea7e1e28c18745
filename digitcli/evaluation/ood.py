"""Measure how well confidence tells digits from other pictures: out-of-distribution (OOD) detection.

Hendrycks & Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural
networks", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.data.mnist import read_idx
from digitcli.inference.checkpoint import recipes_of
from digitcli.inference.predictor import DigitClassifier
from digitcli.synthesis.letters import render_letters

Images = npt.NDArray[np.uint8]  # N, 28, 28

# The file of Debian's package dataset-fashion-mnist.
FASHION_MNIST_FILE = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
SEED = 2026
NOISE_COUNT = 1_000  # images of noise, and as many of clouds
CLOUD_SIGMA_PX = 2.0  # of the blur that turns noise into clouds; chosen by hand
LETTERS = "letters"


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
    classifier: DigitClassifier,
    digit_confidences: npt.NDArray[np.float32],
    fonts: Path | None = None,
) -> tuple[OodResult, ...]:
    """Compare confidences (N,) in digits with the confidences in each set of `ood_images`.

    Raises:
        InputError: a font cannot be read.
    """
    recipes = (recipe for header in classifier.headers for recipe in recipes_of(header))
    is_trained_on_letters = any(recipe.get("synthetic") for recipe in recipes)
    results = []
    for name, images in ood_images(fonts).items():
        confidences = classifier.probabilities(images).max(axis=-1)
        is_trained = name == LETTERS and is_trained_on_letters
        results.append(OodResult(name, len(images), auroc(digit_confidences, confidences), is_trained))
    return tuple(results)


def ood_images(fonts: Path | None = None) -> dict[str, Images]:
    """Return images without digits: noise, clouds, letters, and the clothes of Fashion-MNIST if installed.

    The letters are drawn in the fonts of OpenCV, and also in `fonts` if they are given.

    Raises:
        InputError: a font cannot be read.
    """
    random = np.random.default_rng(SEED)
    noise = random.random((NOISE_COUNT, 28, 28), dtype=np.float32)
    clouds = np.stack([_stretch(cv2.GaussianBlur(image, (0, 0), CLOUD_SIGMA_PX)) for image in noise])
    images = {
        "noise": np.rint(255 * noise).astype(np.uint8),
        "clouds": np.rint(255 * clouds).astype(np.uint8),
        LETTERS: np.stack(render_letters(fonts)),
    }
    if FASHION_MNIST_FILE.exists():
        images["fashion-mnist"] = read_idx(FASHION_MNIST_FILE)
    return images


def auroc(higher: npt.ArrayLike, lower: npt.ArrayLike) -> float:
    """Return the probability that a value of `higher` (N,) exceeds one of `lower` (M,); a tie counts half.

    This is the area under the ROC curve, computed from ranks: Mann & Whitney, "On a test of whether one of
    two random variables is stochastically larger than the other", 1947.
    """
    ordered, values = np.sort(np.asarray(higher, np.float64)), np.asarray(lower, np.float64)
    not_above = np.searchsorted(ordered, values, side="right")
    ties = not_above - np.searchsorted(ordered, values, side="left")
    return float((len(ordered) - not_above + ties / 2).mean() / len(ordered))


def _stretch(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Stretch the values to the range from 0 to 1."""
    return np.asarray((image - image.min()) / (image.max() - image.min()), np.float32)
