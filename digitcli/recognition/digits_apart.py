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
from digitcli.recognition.decision import BLANK, NOT_A_DIGIT, all_right, decide_numbers
from digitcli.recognition.digit_regions import DIGIT_SIZES_PX, DigitCrops, crop_numbers, find_numbers
from digitcli.recognition.line_reading import LEAST_PROBABILITY, Hypotheses
from digitcli.recognition.numbers import (
    breaks_constraints,
    digit_shares,
    given_constraints,
    likeliest_text,
    reason_for_doubt,
    without_text,
)
from digitcli.recognition.readings import Digit, Nothing, Number, Reading

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


def read_digits(
    grey: np.ndarray, classifier: DigitClassifier, constraints: Constraints | None, top_k: int
) -> Reading:
    """Read a page, float32 (H, W) in [0, 1], at no threshold; the reading has its ink.

    Raises:
        ModelError: the classifier answers with values that are not finite.
    """
    layout = find_numbers(grey)
    regions = crop_numbers(layout)
    empty_threshold = EMPTY_ALONE if len(regions) == 1 else EMPTY_AMONG_OTHERS
    places = [
        recognize_digits(crops, probabilities, classifier.can_reject, constraints, top_k, empty_threshold)
        for crops, probabilities in zip(regions, classify(regions, classifier), strict=True)
    ]
    reading = decide_digits(places, constraints)
    if layout.is_faint:
        reading = decide_faint_page(reading, can_reject=classifier.can_reject)
    return replace(reading, ink=layout.ink)


def classify(regions: Sequence[DigitCrops], classifier: DigitClassifier) -> list[np.ndarray]:
    """Return the probabilities (N, 10) of the N digits of each region, the mean over their crops."""
    if not regions:
        return []
    images = np.concatenate([crops.digits for crops in regions])  # N, 2, 28, 28
    probabilities = classifier.probabilities(images.reshape(-1, 28, 28))  # 2 N, 10
    means = probabilities.reshape(-1, len(DIGIT_SIZES_PX), probabilities.shape[-1]).mean(axis=1)
    return np.split(means, np.cumsum([len(crops.digits) for crops in regions])[:-1])


def recognize_digits(
    crops: DigitCrops,
    probabilities: np.ndarray,
    can_reject: bool,
    constraints: Constraints | None,
    top_k: int,
    empty_threshold: float = EMPTY_AMONG_OTHERS,
) -> Number | Nothing:
    """Read the number of a region; none if the probability that nothing is written is above the threshold."""
    if constraints is not None and constraints.is_of_single_digits:  # two at a bar are no fraction
        crops = replace(crops, region=replace(crops.region, is_in_fraction=False))
    doubt = probability_of_no_digit(probabilities) if can_reject and len(probabilities) == 1 else 0.0
    free = digit_hypotheses(probabilities, ANY_DIGITS, doubt)
    text = likeliest_text(free, empty_threshold)
    if not text:
        return Nothing(free.get("", 0.0))
    if constraints is None:
        shares = [dict(zip(DIGITS, row, strict=True)) for row in probabilities.tolist()]
        return _number(crops, free, text, shares, top_k)
    hypotheses, is_changed = free, not constraints.accepts(text)
    if is_changed:
        hypotheses = digit_hypotheses(probabilities, constraints, doubt)
        if breaks_constraints(free, hypotheses, constraints):
            shares = [digit_shares(free, text, place) for place in range(len(text))]
            return _number(crops, free, text, shares, top_k).refused_for("constraint")
    hypotheses = given_constraints(hypotheses, constraints)
    text = max(hypotheses, key=lambda hypothesis: hypotheses[hypothesis])
    shares = [digit_shares(hypotheses, text, place) for place in range(len(text))]
    number = _number(crops, hypotheses, text, shares, top_k)
    return replace(number, is_changed=True, doubt="constraint") if is_changed else number


def _number(
    crops: DigitCrops, hypotheses: Hypotheses, text: str, shares: Sequence[dict[str, float]], top_k: int
) -> Number:
    """Return a text as a number; `shares` are the probabilities of the digits at each place."""
    region, digits = crops.region, []
    for digit, component, image, share in zip(
        text, region.components, crops.digits[:, 0], shares, strict=True
    ):
        others = sorted((pair for pair in share.items() if pair[0] != digit), key=lambda pair: -pair[1])
        digits.append(Digit(digit, min(1.0, share[digit]), component.box, tuple(others[: top_k - 1]), image))
    rivals = without_text(hypotheses, text)
    second = max((share for each, share in hypotheses.items() if each != text), default=0.0)
    is_cut_off = len(region.components) == 1 and region.components[0].is_cut_off
    confidence = min(1.0, hypotheses[text])
    number = Number(
        tuple(digits),
        confidence=confidence,
        raw=text,
        alternatives=tuple(rivals[: top_k - 1]),
        doubt="cut_off" if is_cut_off else reason_for_doubt(confidence, second),
    )
    if region.is_in_fraction:
        return number.refused_for("not_a_digit")
    return number.refused_for("cut_off") if region.runs_out else number


def decide_digits(places: Sequence[Number | Nothing], constraints: Constraints | None) -> Reading:
    """Decide on a page whose digits stand apart, at no threshold."""
    if not places:
        return BLANK
    empty = all_right([place for place in places if isinstance(place, Nothing)])
    numbers = [place for place in places if isinstance(place, Number)]
    if not numbers:
        return replace(NOT_A_DIGIT, confidence=empty)
    is_guess = len(numbers) > 1 and all_right(numbers) ** (1 / len(numbers)) < GUESS_CONFIDENCE
    if constraints is None and is_guess:  # a photograph or a text
        return NOT_A_DIGIT
    if all(number.reason == "not_a_digit" for number in numbers):
        return replace(NOT_A_DIGIT, confidence=empty * all_right(numbers))
    return decide_numbers(numbers, constraints, empty)


def decide_faint_page(reading: Reading, can_reject: bool) -> Reading:
    """Decide on a page with only faint marks: refuse it, so that a person looks at it, or call it blank.

    Digits count only if `can_reject` is true, which says that the networks can reject what is not a digit.
    """
    if can_reject and reading.numbers and (reading.confidence or 0.0) >= FAINT_CONFIDENCE:
        return reading.refused_for("too_faint")
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
