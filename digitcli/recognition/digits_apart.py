"""Read numbers whose digits stand apart by classifiers of single digits. Loads no torch.

The digits are connected components of the ink. Their bounding boxes are grouped into lines, and lines are
split into numbers. The input of a classifier is a digit crop: one component, normalized as in MNIST. Every
digit is cropped twice, in different sizes, and the answers to both crops are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digitcli.errors import PictureError, quoted
from digitcli.imaging.binarization import enhance_faint_marks, find_ink, limit_size
from digitcli.imaging.digits import ConnectedComponents, normalize_digit
from digitcli.imaging.grayscale import Box, median
from digitcli.inference.ctc import ANY_DIGITS, Grammar, beam_search
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import BLANK, NOT_A_DIGIT, all_right, decide_numbers
from digitcli.recognition.layout import group_lines, shows_fraction
from digitcli.recognition.line_reading import LEAST_PROBABILITY, Hypotheses, as_levels
from digitcli.recognition.numbers import (
    breaks_constraints,
    digit_shares,
    given_constraints,
    likeliest_text,
    reason_for_doubt,
    without_text,
)
from digitcli.recognition.readings import Digit, Nothing, Number, Reading
from digitcli.strip_format import DIGITS

# All values were chosen by hand, by looking at pictures and the answers to them.

# Of the search for digits, in a reduced picture.
SIDE_PX = 640  # its longer side where large digits are searched
LARGE_SIDE_PX = 2560  # the greatest where small digits are searched
SMALL_DIGIT_PX = 24  # height of digits below which a larger copy is searched
EDGE_OVERLAP = 0.5  # least share of the rows of a digit at the edge that are rows of its number, too
EDGE_STEP = 1.3  # greatest distance of a digit at the edge, in widest steps between the number's digits

# Of the gaps between two numbers, in digit heights.
NUMBER_GAP = 1.1  # least gap, if the gaps of the line differ enough
UNUSUAL_GAP = 2.0  # they do if a gap is so many times as wide as the lower quartile of the line
LONE_GAP = 2.0  # least gap, if the line has only one
WIDEST_GAP = 4.0  # a gap separates two numbers, even if all gaps of the line are as wide
LEAST_WIDTH = 0.5  # that every digit counts as: the paper beside a slim 1 is no gap

# Side in pixels of the square that the digit fills in its first and in its second crop; 20 is MNIST's side.
DIGIT_SIZES_PX = (20, 16)

EMPTY_ALONE = 0.9  # probability that nothing is written, above which the only region of a page is empty
EMPTY_AMONG_OTHERS = 0.5  # the same for one of several regions
# Probability from which the beam search tries a digit of a classifier. It is below `LEAST_PROBABILITY`, so
# that rounding leaves no digit out.
MIN_PROBABILITY_CLASSIFIER = LEAST_PROBABILITY / 2
NEVER = -1e9  # logarithm of the probability of an impossible class
FAINT_CONFIDENCE = 0.5  # of faint marks that count as digits: they are more likely digits than not
GUESS_CONFIDENCE = 0.5  # geometric mean below which several numbers are a photograph or a text

# Greatest width of a digit, in heights of it, beside others; a wider component is several digits that touch.
# Of 10,000 test digits of MNIST 169 are wider, and 7 are wider than one that stands alone may be.
WIDEST_DIGIT, WIDEST_LONE_DIGIT = 1.3, 1.7


@dataclass(frozen=True)
class Region:
    """The place of one number on the page, and what a classifier sees of its N digits.

    boxes: x, y, width, height of each digit in pixels of the picture, from left to right.
    crops: uint8 (N, 2, 28, 28), ink 255 on paper 0: two crops of each digit.
    is_cut_off: whether the only digit touches the edge of the picture, where a part of it may be missing.
    runs_out: whether a further digit of the number lies at the edge of the picture, where it may be cut off.
    """

    boxes: tuple[Box, ...]
    crops: np.ndarray
    is_cut_off: bool = False
    runs_out: bool = False


@dataclass(frozen=True)
class PageLayout:
    """The regions of a page in reading order, and the ink in which they were found.

    ink: float32 (h, w) in [0, 1]; a large picture is reduced first.
    is_faint: whether the ink may be stains, show-through or the texture of the paper, because it is so faint.
    """

    regions: tuple[Region, ...]
    ink: np.ndarray
    is_faint: bool = False


def read_digits(
    grey: np.ndarray, classifier: DigitClassifier, constraints: Constraints | None, top_k: int
) -> Reading:
    """Read a page, float32 (H, W) in [0, 1], at no threshold; the reading has its ink.

    Raises:
        ModelError: the classifier answers with values that are not finite.
    """
    layout = find_numbers(grey)
    empty_threshold = EMPTY_ALONE if len(layout.regions) == 1 else EMPTY_AMONG_OTHERS
    places = [
        recognize_digits(region, probabilities, classifier.can_reject, constraints, top_k, empty_threshold)
        for region, probabilities in zip(layout.regions, classify(layout.regions, classifier), strict=True)
    ]
    reading = decide_digits(places, constraints)
    are_digits = constraints is not None and constraints.is_of_single_digits
    if len(reading.numbers) == 2 and not are_digits and shows_fraction(as_levels(grey), reading.numbers):
        reading = NOT_A_DIGIT
    if layout.is_faint:
        reading = decide_faint_page(reading, can_reject=classifier.can_reject)
    return replace(reading, ink=layout.ink)


def find_numbers(grey: np.ndarray) -> PageLayout:
    """Find the numbers in a grey picture (H, W), float32 in [0, 1]; without any, search its faint marks."""
    layout = _find_regions(grey)
    if layout.regions or (enhanced := enhance_faint_marks(grey)) is None:
        return layout
    faint_layout = _find_regions(enhanced)
    return replace(faint_layout, is_faint=True) if faint_layout.regions else layout


def _find_regions(grey: np.ndarray) -> PageLayout:
    """Find the regions in few pixels first, and in more pixels where the digits are small.

    Few pixels show anything written large, and they hide the texture of the paper.
    """
    connected, groups, boxes = _find_digits(grey, SIDE_PX)
    height_px = median(boxes[:, 3]) if len(boxes) else SMALL_DIGIT_PX
    if height_px < SMALL_DIGIT_PX and max(grey.shape) > SIDE_PX:
        side_px = min(LARGE_SIDE_PX, round(SIDE_PX * 2 * SMALL_DIGIT_PX / height_px))
        connected, groups, boxes = _find_digits(grey, side_px)
    regions = tuple(
        _region(connected, [groups[index] for index in number], boxes[number], grey.shape)
        for line in group_lines(boxes)
        for number in _split_at_gaps(boxes, line)
    )
    return PageLayout(regions, connected.ink)


def _find_digits(grey: np.ndarray, side_px: int) -> tuple[ConnectedComponents, list[list[int]], np.ndarray]:
    """Find the digits of the picture reduced to a longer side of `side_px`.

    Returns the connected components, the indices of the components of each digit, and the boxes of the
    digits (N, 4) in pixels of the reduced picture.
    """
    connected = ConnectedComponents(find_ink(limit_size(grey, side_px)))
    groups = connected.group_digits()
    return connected, groups, np.array([connected.box(group) for group in groups]).reshape(-1, 4)


def _region(
    connected: ConnectedComponents, digits: list[list[int]], boxes: np.ndarray, picture: tuple[int, ...]
) -> Region:
    """Return the region of a number with these digits, boxes (N, 4), in a picture (H, W)."""
    down, across = picture[0] / connected.ink.shape[0], picture[1] / connected.ink.shape[1]
    scaled = []
    for x, y, width, height in boxes.tolist():
        left, right = round(x * across), round((x + width) * across)
        top, bottom = round(y * down), round((y + height) * down)
        scaled.append((left, top, right - left, bottom - top))
    crops = [
        [normalize_digit(ink, size_px) for size_px in DIGIT_SIZES_PX]
        for ink in map(connected.crop_ink, digits)
    ]
    return Region(
        tuple(scaled),
        np.array(crops, np.uint8),
        is_cut_off=len(digits) == 1 and bool(connected.touches_edge[digits[0]].any()),
        runs_out=len(digits) > 1 and _runs_out(connected, digits, boxes),
    )


def _runs_out(connected: ConnectedComponents, digits: list[list[int]], boxes: np.ndarray) -> bool:
    """Tell whether a number continues with a digit at the edge of the picture, which was left out.

    A digit at the edge beside a single digit does not count: it belongs to the next field of a form.
    """
    middles = boxes[:, 0] + boxes[:, 2] / 2
    top, bottom = boxes[:, 1].min(), (boxes[:, 1] + boxes[:, 3]).max()
    for x, y, width, height in connected.digits_at_edge(digits):
        shared_rows = min(y + height, bottom) - max(y, top)
        steps = np.abs(middles - (x + width / 2))
        if shared_rows > EDGE_OVERLAP * height and steps.min() < EDGE_STEP * np.diff(middles).max():
            return True
    return False


def _split_at_gaps(boxes: np.ndarray, line: list[int]) -> list[list[int]]:
    """Split a line into numbers where the gap between two digits is wide for their height."""
    if len(line) == 1:
        return [line]
    x, _, width, height = boxes[line].T
    typical_height = median(height)
    reach = np.maximum(width, LEAST_WIDTH * typical_height) / 2
    gaps = np.diff(x + width / 2) - reach[1:] - reach[:-1]
    least = LONE_GAP * typical_height
    if len(gaps) > 1:
        narrow = float(np.quantile(gaps, 0.25, method="lower"))
        least = min(max(NUMBER_GAP * typical_height, UNUSUAL_GAP * narrow), WIDEST_GAP * typical_height)
    starts = np.flatnonzero(gaps > least) + 1
    return [part.tolist() for part in np.split(np.array(line), starts)]


def classify(regions: Sequence[Region], classifier: DigitClassifier) -> list[np.ndarray]:
    """Return the probabilities (N, 10) of the N digits of each region, the mean over their crops."""
    if not regions:
        return []
    images = np.concatenate([region.crops for region in regions])  # N, 2, 28, 28
    probabilities = classifier.probabilities(images.reshape(-1, 28, 28))  # 2 N, 10
    means = probabilities.reshape(-1, len(DIGIT_SIZES_PX), probabilities.shape[-1]).mean(axis=1)
    return np.split(means, np.cumsum([len(region.boxes) for region in regions])[:-1])


def recognize_digits(
    region: Region,
    probabilities: np.ndarray,
    can_reject: bool,
    constraints: Constraints | None,
    top_k: int,
    empty_threshold: float = EMPTY_AMONG_OTHERS,
) -> Number | Nothing:
    """Read the number of a region; none if the probability that nothing is written is above the threshold."""
    doubt = probability_of_no_digit(probabilities) if can_reject and len(probabilities) == 1 else 0.0
    free = digit_hypotheses(probabilities, ANY_DIGITS, doubt)
    text = likeliest_text(free, empty_threshold)
    if not text:
        return Nothing(free.get("", 0.0))
    if constraints is None:
        shares = [dict(zip(DIGITS, row, strict=True)) for row in probabilities.tolist()]
        return _number(region, free, text, top_k, shares)
    hypotheses, is_changed = free, not constraints.accepts(text)
    if is_changed:
        hypotheses = digit_hypotheses(probabilities, constraints, doubt)
        if breaks_constraints(free, hypotheses, constraints):
            return _number(region, free, text, top_k).refused_for("constraint")
    hypotheses = given_constraints(hypotheses, constraints)
    text = max(hypotheses, key=lambda hypothesis: hypotheses[hypothesis])
    number = _number(region, hypotheses, text, top_k)
    return replace(number, is_changed=True, doubt="constraint") if is_changed else number


def _number(
    region: Region,
    hypotheses: Hypotheses,
    text: str,
    top_k: int,
    shares: Sequence[dict[str, float]] | None = None,
) -> Number:
    """Return a text as a number.

    shares: the probabilities of the digits at each place, by default those that the hypotheses give.
    """
    shares = shares or [digit_shares(hypotheses, text, place) for place in range(len(text))]
    digits = tuple(
        Digit(digit, min(1.0, share[digit]), box, tuple(without_text(share, digit)[: top_k - 1]), crop)
        for digit, box, crop, share in zip(text, region.boxes, region.crops[:, 0], shares, strict=True)
    )
    rivals = without_text(hypotheses, text)
    second = max((share for each, share in hypotheses.items() if each != text), default=0.0)
    confidence = min(1.0, hypotheses[text])
    number = Number(
        digits,
        confidence=confidence,
        raw=text,
        alternatives=tuple(rivals[: top_k - 1]),
        doubt="cut_off" if region.is_cut_off else reason_for_doubt(confidence, second),
    )
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
    columns = np.full((2 * len(digits) - 1, len(DIGITS) + 1), NEVER)  # log-probabilities; blanks between
    columns[::2, :-1] = np.log(np.maximum(digits, LEAST_PROBABILITY))
    columns[1::2, -1] = 0
    beams = beam_search(columns, grammar, min_probability=MIN_PROBABILITY_CLASSIFIER)
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
    regions = find_numbers(grey).regions
    if not regions:
        raise PictureError("blank", f"Nothing is written in {name}.", "Name a picture of a digit.")
    boxes = np.array([box for region in regions for box in region.boxes])  # N, 4
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    middle = (starts.min(axis=0) + ends.max(axis=0)) / 2
    central = int(np.argmin(np.hypot(*((starts + ends) / 2 - middle).T)))
    aspect = boxes[central, 2] / boxes[central, 3]
    if aspect > (WIDEST_LONE_DIGIT if len(boxes) == 1 else WIDEST_DIGIT):
        remedy = f"Explain them as a line: digitcli explain reader {quoted(name)}"
        raise PictureError("touching_digits", f"The digits of {name} touch.", remedy)
    crops = np.concatenate([region.crops for region in regions])  # N, 2, 28, 28
    return CentralDigit(crops[central, 0], len(boxes), may_touch=bool(aspect > WIDEST_DIGIT))
