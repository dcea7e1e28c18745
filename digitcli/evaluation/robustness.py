"""Measure the accuracy of a model on corrupted digits."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from digitcli.architectures.recipe import augmentations
from digitcli.data.dataset import Digits
from digitcli.evaluation.corruptions import CORRUPTIONS, Corruption, corrupt
from digitcli.evaluation.metrics import accuracy
from digitcli.inference.predictor import DigitClassifier

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
    """Return whether the recipe of any model corrupts or synthesizes digits in a similar way."""
    return any(
        header.recipe.get(setting, DEFAULTS_OF_OLD_RECIPES.get(setting))
        for header in classifier.headers
        for setting in corruption.similar_settings
        if header.recipe.get("augment") or setting not in augmentations()
    )
