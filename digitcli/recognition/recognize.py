"""Stage 3 of the reading pipeline for digits that stand apart: classify them, and turn them into numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.inference.ctc import ANY_DIGITS, DIGITS
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.crops import DIGIT_SIZES_PX, DigitCrops
from digitcli.recognition.hypotheses import (
    Hypotheses,
    breaks_constraints,
    digit_hypotheses,
    digit_shares,
    given_constraints,
    likeliest_text,
    probability_of_no_digit,
)
from digitcli.recognition.number_result import NumberResult
from digitcli.recognition.results import Digit, Number

# Probability that nothing is written, above which the only region of a page counts as empty (chosen by hand).
EMPTY_ALONE = 0.9
# The same for one of several regions.
EMPTY_AMONG_OTHERS = 0.5


@dataclass(frozen=True)
class DigitEvidence:
    """The answers of a classifier about a region.

    crops: the region and its crops.
    digits: the probabilities (N, 10) of the digits for each component, the mean over its crops.
    can_reject: whether the classifier can reject what is no digit, see `probability_of_no_digit`.
    """

    crops: DigitCrops
    digits: np.ndarray
    can_reject: bool = False


def run_classifier(regions: Sequence[DigitCrops], classifier: DigitClassifier | None) -> list[DigitEvidence]:
    """Classify the digits of regions, which may be from several pages."""
    if classifier is None or not regions:
        return []
    images = np.concatenate([crops.digits for crops in regions])  # N, 2, 28, 28
    probabilities = classifier.probabilities(images.reshape(-1, 28, 28))  # 2 N, 10
    means = probabilities.reshape(-1, len(DIGIT_SIZES_PX), probabilities.shape[-1]).mean(axis=1)
    parts = np.split(means, np.cumsum([len(crops.digits) for crops in regions])[:-1])
    return [
        DigitEvidence(crops, part, classifier.can_reject) for crops, part in zip(regions, parts, strict=True)
    ]


def recognize_page(
    regions: Sequence[DigitEvidence], constraints: Constraints | None, top_k: int
) -> tuple[NumberResult, ...]:
    """Find the numbers in the regions of a page; digits and numbers have `top_k` candidates."""
    empty_threshold = EMPTY_ALONE if len(regions) == 1 else EMPTY_AMONG_OTHERS
    return tuple(recognize_region(region, constraints, top_k, empty_threshold) for region in regions)


def recognize_region(
    evidence: DigitEvidence,
    constraints: Constraints | None,
    top_k: int,
    empty_threshold: float = EMPTY_AMONG_OTHERS,
) -> NumberResult:
    """Read the number of a region; none if the probability that nothing is written is above the threshold."""
    is_lone = len(evidence.digits) == 1
    doubt = probability_of_no_digit(evidence.digits) if evidence.can_reject and is_lone else 0.0
    hypotheses = digit_hypotheses(evidence.digits, ANY_DIGITS, doubt)
    text = likeliest_text(hypotheses, empty_threshold)
    if not text:
        return NumberResult(None, hypotheses.get("", 0.0))
    result = _result(evidence, hypotheses, text, top_k, free=constraints is None)
    if constraints is None:
        return result
    is_changed = not constraints.accepts(text)
    if is_changed:
        accepted = digit_hypotheses(evidence.digits, constraints, doubt)
        if breaks_constraints(hypotheses, accepted, constraints):
            return dataclasses.replace(result, breaks_constraints=True)
        hypotheses = accepted
    hypotheses = given_constraints(hypotheses, constraints)
    text = max(hypotheses, key=lambda hypothesis: hypotheses[hypothesis])
    result = _result(evidence, hypotheses, text, top_k, free=False)
    return dataclasses.replace(result, is_changed=is_changed)


def _result(
    evidence: DigitEvidence, hypotheses: Hypotheses, text: str, top_k: int, *, free: bool
) -> NumberResult:
    """Return a text as the result of a region; `free` says that no constraints changed the hypotheses."""
    region = evidence.crops.region
    if free:
        shares = [dict(zip(DIGITS, row, strict=True)) for row in evidence.digits.tolist()]
    else:
        shares = [digit_shares(hypotheses, text, place) for place in range(len(text))]
    number = _number(evidence, hypotheses, text, shares, top_k)
    return NumberResult(
        number,
        number.confidence,
        max((share for hypothesis, share in hypotheses.items() if hypothesis != text), default=0.0),
        is_cut_off=len(region.components) == 1 and region.components[0].is_cut_off,
        runs_out=region.runs_out,
        is_in_fraction=region.is_in_fraction,
    )


def _number(
    evidence: DigitEvidence,
    hypotheses: Hypotheses,
    text: str,
    shares: Sequence[dict[str, float]],
    top_k: int,
) -> Number:
    """Return a text as a number; `shares` are the probabilities of the digits at each place."""
    rivals = sorted(
        (rival for rival in hypotheses if rival not in ("", text)), key=lambda rival: -hypotheses[rival]
    )
    components, images = evidence.crops.region.components, evidence.crops.digits[:, 0]
    digits = []
    for digit, component, image, share in zip(text, components, images, shares, strict=True):
        others = sorted((pair for pair in share.items() if pair[0] != digit), key=lambda pair: -pair[1])
        digits.append(Digit(digit, min(1.0, share[digit]), component.box, tuple(others[: top_k - 1]), image))
    return Number(
        tuple(digits),
        confidence=min(1.0, hypotheses[text]),
        raw=text,
        alternatives=tuple((rival, hypotheses[rival]) for rival in rivals[: top_k - 1]),
    )
