"""Read numbers whose digits stand apart by classifiers of single digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digitcli.errors import PictureError, quoted
from digitcli.imaging.grayscale import Box
from digitcli.inference.ctc import ANY_DIGITS, DIGITS, Grammar, beam_search
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import (
    BLANK,
    NOT_A_DIGIT,
    Decision,
    NumberResult,
    all_right,
    choose_one,
    decide_number,
    decision_of,
)
from digitcli.recognition.digit_regions import DIGIT_SIZES_PX, DigitCrops, crop_numbers, find_numbers
from digitcli.recognition.line_evidence import (
    LEAST_PROBABILITY,
    Hypotheses,
    breaks_constraints,
    digit_shares,
    given_constraints,
    likeliest_text,
)
from digitcli.recognition.readings import Digit, Number

# Probability that nothing is written, above which the only region of a page counts as empty (chosen by hand).
EMPTY_ALONE = 0.9
# The same for one of several regions.
EMPTY_AMONG_OTHERS = 0.5

# Probability from which the beam search tries a digit of a classifier. It is below `LEAST_PROBABILITY`, so
# that rounding leaves no digit out.
MIN_PROBABILITY_CLASSIFIER = LEAST_PROBABILITY / 2
# Logarithm of the probability of an impossible class.
NEVER = -1e9

# Least confidence of faint marks that count as digits: they are more likely digits than not.
FAINT_CONFIDENCE = 0.5
# Geometric mean of the confidences below which several numbers are a photograph or a text (chosen by hand).
GUESS_CONFIDENCE = 0.5

# Greatest width of a digit beside others, in heights of it; a wider component is several digits that touch
# (chosen by hand).
WIDEST_DIGIT = 1.3
# Greatest width of a digit that stands alone, in heights of it. Of 10,000 test digits of MNIST 7 are wider,
# and 169 are wider than `WIDEST_DIGIT`.
WIDEST_LONE_DIGIT = 1.7


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
    return tuple(recognize_digits(region, constraints, top_k, empty_threshold) for region in regions)


def recognize_digits(
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
            return replace(result, breaks_constraints=True)
        hypotheses = accepted
    hypotheses = given_constraints(hypotheses, constraints)
    text = max(hypotheses, key=lambda hypothesis: hypotheses[hypothesis])
    result = _result(evidence, hypotheses, text, top_k, free=False)
    return replace(result, is_changed=is_changed)


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


def decide_digits(results: Sequence[NumberResult], constraints: Constraints | None) -> Decision:
    """Decide on a page whose digits stand apart: each number is read, or refused for another reason than its
    confidence.
    """
    if not results:
        return BLANK
    empty_confidence = all_right([result for result in results if result.number is None])
    written = [result for result in results if result.number is not None]
    if not written:
        return replace(NOT_A_DIGIT, confidence=empty_confidence)
    if constraints is not None and constraints.is_single and len(written) > 1:
        written = [choose_one(written)]
    confidence = empty_confidence * all_right(written)
    if constraints is None and _are_guesses(written):
        return NOT_A_DIGIT
    if constraints is not None and constraints.is_of_single_digits:
        written = [replace(result, is_in_fraction=False) for result in written]
    if all(result.is_in_fraction for result in written):
        return replace(NOT_A_DIGIT, confidence=confidence)
    return decision_of([decide_number(result) for result in written], written, confidence)


def _are_guesses(results: Sequence[NumberResult]) -> bool:
    """Return whether several numbers are so uncertain that the page is a photograph or a text."""
    return len(results) > 1 and all_right(results) ** (1 / len(results)) < GUESS_CONFIDENCE


def decide_faint_page(decision: Decision, can_reject: bool) -> Decision:
    """Decide on a page with only faint marks: refuse it, so that a person looks at it, or call it blank.

    Digits count only if `can_reject` is true, which says that the networks can reject what is not a digit.
    """
    confidence = decision.confidence
    if can_reject and decision.numbers and confidence is not None and confidence >= FAINT_CONFIDENCE:
        return decision.refused("too_faint")
    return BLANK


def digit_hypotheses(digits: np.ndarray, grammar: Grammar, doubt: float = 0.0) -> Hypotheses:
    """Return the likeliest texts of N digits that a grammar allows, from their probabilities (N, 10).

    `doubt` is the probability that nothing is written, whatever the classifier reads.
    """
    beams = beam_search(_as_columns(digits), grammar, min_probability=MIN_PROBABILITY_CLASSIFIER)
    hypotheses = {text: math.exp(log_probability) for text, log_probability in beams} or {"": 0.0}
    if doubt:
        empty = hypotheses.get("", 0.0)
        hypotheses = {text: probability * (1 - doubt) for text, probability in hypotheses.items()}
        if grammar.accepts(""):
            hypotheses[""] = 1 - (1 - empty) * (1 - doubt)
    return hypotheses


def probability_of_no_digit(digits: np.ndarray) -> float:
    """Return the probability that a lone component is no digit, from the probabilities (1, 10) of the digits.

    The networks must be trained to give ten equal probabilities to pictures without a digit. Their answer is
    then a mixture of ten equal probabilities and of those of a digit, and the least probability shows the
    share of the former.
    """
    return float(min(1.0, digits.shape[1] * digits.min()))


def _as_columns(digits: np.ndarray) -> np.ndarray:
    """Return the log-probabilities (2 N - 1, 11) of N digits, (N, 10), and of blanks between them."""
    columns = np.full((2 * len(digits) - 1, len(DIGITS) + 1), NEVER)
    columns[::2, :-1] = np.log(np.maximum(digits, LEAST_PROBABILITY))
    columns[1::2, -1] = 0
    return columns


@dataclass(frozen=True)
class CentralDigit:
    """The digit nearest to the middle of the writing in a picture.

    image: uint8 (28, 28), ink 255 on paper 0; of two crops that `predict` takes of a digit, the first.
    count: how many digits stand apart in the picture.
    may_touch: whether the digit is so wide that it may be two that touch.
    """

    image: np.ndarray
    count: int
    may_touch: bool


def central_digit(grey: np.ndarray, name: str) -> CentralDigit:
    """Return the central digit of a picture, float32 (H, W) in [0, 1]; `name` is its file.

    Raises:
        PictureError: nothing is written, or the central digit touches another one.
    """
    regions = crop_numbers(find_numbers(grey))
    boxes = [component.box for crops in regions for component in crops.region.components]
    if not boxes:
        raise PictureError("blank", f"Nothing is written in {name}.", "Name a picture of a digit.")
    central = _most_central(np.array(boxes))
    aspect = _aspect(boxes[central])
    if aspect > (WIDEST_LONE_DIGIT if len(boxes) == 1 else WIDEST_DIGIT):
        remedy = f"Explain them as a line: digitcli explain reader {quoted(name)}"
        raise PictureError("touching_digits", f"The digits of {name} touch.", remedy)
    digits = np.concatenate([crops.digits for crops in regions])  # N, 2, 28, 28
    return CentralDigit(digits[central, 0], len(boxes), may_touch=aspect > WIDEST_DIGIT)


def _most_central(boxes: np.ndarray) -> int:
    """Return the index of the box (N, 4) that is nearest to the middle of all boxes."""
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    middle = (starts.min(axis=0) + ends.max(axis=0)) / 2
    return int(np.argmin(np.hypot(*((starts + ends) / 2 - middle).T)))


def _aspect(box: Box) -> float:
    return box[2] / box[3]
