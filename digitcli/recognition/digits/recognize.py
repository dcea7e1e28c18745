"""Classify the digits of a page, and turn the answers into numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from digitcli.inference.ctc import ANY_DIGITS, DIGITS, Grammar, beam_search
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import NumberResult
from digitcli.recognition.digits.crops import DIGIT_SIZES_PX, DigitCrops
from digitcli.recognition.hypotheses import (
    LEAST_LIKELY,
    LEAST_PROBABILITY,
    Hypotheses,
    digit_shares,
    given_constraints,
)
from digitcli.recognition.results import Digit, Number

# Probability that a lone component is no digit, above which nothing is read: it is likelier.
EMPTY = 0.5
# Logarithm of the probability of an impossible class.
NEVER = -1e9


def classify(numbers: Sequence[DigitCrops], classifier: DigitClassifier) -> list[np.ndarray]:
    """Return the probabilities (N, 10) of the digits of each number, the mean over their crops."""
    if not numbers:
        return []
    images = np.concatenate([crops.images for crops in numbers])  # N, 2, 28, 28
    probabilities = classifier.probabilities(images.reshape(-1, 28, 28))  # 2 N, 10
    means = probabilities.reshape(-1, len(DIGIT_SIZES_PX), probabilities.shape[-1]).mean(axis=1)
    return np.split(means, np.cumsum([len(crops.images) for crops in numbers])[:-1])


def recognize_number(
    crops: DigitCrops,
    probabilities: np.ndarray,
    can_reject: bool,
    constraints: Constraints | None,
    top_k: int,
) -> NumberResult:
    """Return the number that components show, given the probabilities (N, 10) of their digits.

    `can_reject` says whether the classifier can reject what is no digit, see `probability_of_no_digit`.
    """
    nothing = probability_of_no_digit(probabilities) if can_reject and len(probabilities) == 1 else 0.0
    if nothing > EMPTY:
        return NumberResult(None, nothing, is_other=True)
    hypotheses = _hypotheses(probabilities, ANY_DIGITS, nothing)
    text = max(hypotheses, key=lambda each: hypotheses[each])
    by_place = [dict(zip(DIGITS, row, strict=True)) for row in probabilities.tolist()]
    result = _result(crops, hypotheses, text, top_k, by_place)
    if constraints is None:
        return result
    is_changed = not constraints.accepts(text)
    if is_changed:
        hypotheses = _hypotheses(probabilities, constraints, nothing)
        if sum(hypotheses.values()) < LEAST_LIKELY:
            return dataclasses.replace(result, breaks_constraints=True)
    hypotheses = given_constraints(hypotheses, constraints)
    text = max(hypotheses, key=lambda each: hypotheses[each])
    by_place = [digit_shares(hypotheses, text, place) for place in range(len(text))]
    result = _result(crops, hypotheses, text, top_k, by_place)
    return dataclasses.replace(result, is_changed=is_changed)


def probability_of_no_digit(digits: np.ndarray) -> float:
    """Return the probability that a lone component is no digit, from the probabilities (1, 10) of the digits.

    The networks must be trained to give ten equal probabilities to pictures without a digit. Their answer is
    then a mixture of ten equal probabilities and of those of a digit, and the least probability shows the
    share of the former.
    """
    return float(min(1.0, digits.shape[1] * digits.min()))


def _hypotheses(probabilities: np.ndarray, grammar: Grammar, nothing: float) -> Hypotheses:
    """Return the likeliest texts that a grammar allows, with their probabilities."""
    columns = np.full((2 * len(probabilities) - 1, len(DIGITS) + 1), NEVER)  # blanks between the digits
    columns[::2, :-1] = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    columns[1::2, -1] = 0
    beams = beam_search(columns, grammar, min_probability=LEAST_PROBABILITY / 2)
    return {text: (1 - nothing) * math.exp(log_probability) for text, log_probability in beams}


def _result(
    crops: DigitCrops,
    hypotheses: Hypotheses,
    text: str,
    top_k: int,
    by_place: Sequence[Mapping[str, float]],
) -> NumberResult:
    """Return a text as the number; `by_place` holds the probabilities of the digits at each place."""
    rivals = sorted((pair for pair in hypotheses.items() if pair[0] != text), key=lambda pair: -pair[1])
    digits = []
    for digit, shares, box, images in zip(text, by_place, crops.boxes, crops.images, strict=True):
        others = sorted((pair for pair in shares.items() if pair[0] != digit), key=lambda pair: -pair[1])
        digits.append(Digit(digit, min(1.0, shares[digit]), box, tuple(others[: top_k - 1]), images[0]))
    confidence = min(1.0, hypotheses[text])
    number = Number(
        tuple(digits), confidence, raw=text, row=crops.row, alternatives=tuple(rivals[: top_k - 1])
    )
    return NumberResult(
        number,
        confidence,
        max((share for _, share in rivals), default=0.0),
        is_cut_off=crops.is_cut_off,
    )
