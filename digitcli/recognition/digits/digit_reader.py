"""Read pages of digits that stand apart, by classifiers of single digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import Decision, decide_page
from digitcli.recognition.digits.crops import DIGIT_SIZES_PX, DigitCrops, crop_numbers
from digitcli.recognition.digits.recognize import classify, recognize_number
from digitcli.recognition.digits.segmentation import find_numbers

# Probability that something is written on a page without ink; measured by benchmarks/blank.py.
UNSEEN_WRITING = 0.1


@dataclass(frozen=True)
class PreparedDigits:
    """The numbers of a page before any network has seen them, and its ink, float32 (h, w) in [0, 1]."""

    numbers: tuple[DigitCrops, ...]
    ink: np.ndarray

    @property
    def crops(self) -> int:
        """The number of crops that a classifier sees."""
        return len(DIGIT_SIZES_PX) * sum(len(number.boxes) for number in self.numbers)

    @property
    def pixels(self) -> int:
        """The number of pixels that are kept."""
        return self.ink.size


@dataclass(frozen=True)
class DigitReader:
    """Classifiers of single digits that read pages; below `min_confidence` a number is refused."""

    classifier: DigitClassifier
    min_confidence: float

    @property
    def models(self) -> tuple[DigitClassifier]:
        """The mean of the classifiers."""
        return (self.classifier,)

    def prepare(self, grey: np.ndarray) -> PreparedDigits:
        """Find and crop the digits of a grey page, float32 (H, W) in [0, 1]."""
        layout = find_numbers(grey)
        return PreparedDigits(crop_numbers(layout), layout.ink)

    def see(
        self, pages: Sequence[PreparedDigits], constraints: Constraints | None, top_k: int
    ) -> list[list[np.ndarray]]:
        """Classify the digits of pages together; return the probabilities (N, 10) of each number.

        Raises:
            ModelError: a network answers with values that are not finite.
        """
        probabilities = iter(classify([number for page in pages for number in page.numbers], self.classifier))
        return [[next(probabilities) for _ in page.numbers] for page in pages]

    def decide(
        self,
        page: PreparedDigits,
        probabilities: Sequence[np.ndarray],
        constraints: Constraints | None,
        top_k: int,
    ) -> Decision:
        """Decide on a page; digits and numbers have `top_k` candidates."""
        results = [
            recognize_number(number, each, self.classifier.can_reject, constraints, top_k)
            for number, each in zip(page.numbers, probabilities, strict=True)
        ]
        return decide_page(results, UNSEEN_WRITING, constraints, self.min_confidence)
