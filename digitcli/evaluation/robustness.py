"""How much of its accuracy a model keeps when digits are not as clean as those of a dataset."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from digitcli.architectures.recipe import augmentations
from digitcli.data.dataset import Digits
from digitcli.evaluation.corruptions import CORRUPTIONS, Corruption, corrupt
from digitcli.evaluation.metrics import accuracy
from digitcli.inference.predictor import DigitClassifier


@dataclass(frozen=True)
class Corrupted:
    """The accuracy under a corruption; `trained` is whether training changed digits in that way too."""

    name: str
    accuracy: float
    trained: bool


@dataclass(frozen=True)
class Robustness:
    """Accuracies on clean digits and on the same ones corrupted; the gap is what corruption costs.

    `unseen` is the mean over corruptions that no model was trained with.
    """

    clean: float
    mean: float
    unseen: float
    worst: float
    worst_name: str
    gap: float
    corruptions: tuple[Corrupted, ...]


def measure_robustness(
    classifier: DigitClassifier,
    digits: Digits,
    clean: float,
    on_done: Callable[[int, int], None] = lambda done, of: None,
) -> Robustness:
    """Judge a model on digits under each of `CORRUPTIONS`; `clean` is its accuracy on them as they are.

    `on_done` is told how many corrupted digits are answered, of all of them.
    """
    found = []
    for number, corruption in enumerate(CORRUPTIONS):
        logits = classifier.logits(corrupt(digits.images, corruption))
        on_done((number + 1) * len(digits), len(CORRUPTIONS) * len(digits))
        trained = _is_trained_with(classifier, corruption)
        found.append(Corrupted(corruption.name, accuracy(logits, digits.labels), trained))
    mean = statistics.fmean(each.accuracy for each in found)
    worst = min(found, key=lambda each: each.accuracy)
    return Robustness(
        clean=clean,
        mean=mean,
        unseen=statistics.fmean(each.accuracy for each in found if not each.trained),
        worst=worst.accuracy,
        worst_name=worst.name,
        gap=clean - mean,
        corruptions=tuple(found),
    )


def _is_trained_with(classifier: DigitClassifier, corruption: Corruption) -> bool:
    """Whether the recipe of any model changes or draws digits in a way that the corruption is like."""
    return any(
        header.recipe.get(way, WAYS_OF_OLD.get(way))
        for header in classifier.headers
        for way in corruption.like
        if header.recipe.get("augment") or way not in augmentations()
    )


WAYS_OF_OLD = {"affine": True, "stroke_width": True}  # of recipes from before there was a choice
