"""Whether a model is less sure of what is no digit: out-of-distribution detection by its confidence.

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
from digitcli.inference.predictor import DigitClassifier
from digitcli.synthesis.letters import render_letters

Images = npt.NDArray[np.uint8]  # N, 28, 28
FASHION = Path(
    "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
)  # Debian's dataset-fashion-mnist
NOISES, SEED, CLOUD_PX = 1_000, 2026, 2.0
LETTERS = "letters"


@dataclass(frozen=True)
class Outliers:
    """`n` images that are no digits, and how well confidence tells them from digits.

    `auroc` is the probability that a model is surer of a digit than of one of them; 0.5 is chance. `trained`
    is whether a model was trained to take the like for no digit.
    """

    name: str
    n: int
    auroc: float
    trained: bool


def measure_outliers(
    classifier: DigitClassifier,
    confidences: npt.NDArray[np.float32],
    fonts: Path | None = None,
) -> tuple[Outliers, ...]:
    """Compare confidences (N,) in digits with those in noise, in letters and, where installed, in clothes.

    Raises:
        InputError: a font cannot be read.
    """
    found = []
    letters_known = any(header.recipe.get("synthetic") for header in classifier.headers)
    for name, images in outliers(fonts).items():
        sure = classifier.probabilities(images).max(axis=-1)
        found.append(Outliers(name, len(images), auroc(confidences, sure), name == LETTERS and letters_known))
    return tuple(found)


def outliers(fonts: Path | None = None) -> dict[str, Images]:
    """Images that hold no digit: noise, clouds, letters that are like none, and clothes.

    Raises:
        InputError: a font cannot be read.
    """
    random = np.random.default_rng(SEED)
    pixels = random.random((NOISES, 28, 28), dtype=np.float32)
    clouds = np.stack([_spread(cv2.GaussianBlur(image, (0, 0), CLOUD_PX)) for image in pixels])
    found = {
        "noise": np.rint(255 * pixels).astype(np.uint8),
        "clouds": np.rint(255 * clouds).astype(np.uint8),
        LETTERS: np.stack(render_letters(fonts)),
    }
    if FASHION.exists():
        found["fashion-mnist"] = read_idx(FASHION)
    return found


def auroc(higher: npt.ArrayLike, lower: npt.ArrayLike) -> float:
    """The probability that one of `higher` (N,) is above one of `lower` (M,), equal ones counting half.

    The area under the ROC curve, by ranks: Mann & Whitney, "On a test of whether one of two random variables
    is stochastically larger than the other", 1947.
    """
    first, second = np.sort(np.asarray(higher, np.float64)), np.asarray(lower, np.float64)
    above = len(first) - np.searchsorted(first, second, side="right")
    equal = np.searchsorted(first, second, side="right") - np.searchsorted(first, second, side="left")
    return float((above + equal / 2).mean() / len(first))


def _spread(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray((image - image.min()) / (image.max() - image.min()), np.float32)
