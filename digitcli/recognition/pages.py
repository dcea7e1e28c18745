"""Read a page: glance, find, crop and recognize, group, decide."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from digitcli.imaging.grayscale import Grey, rotate
from digitcli.inference.line_finding import FoundLine, find_lines
from digitcli.inference.predictor import GapSplitter, LineRecognizer, PageFinder
from digitcli.recognition.confidence import Weights, features_of_nothing, log_odds, logistic
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import NOT_A_DIGIT, decide_numbers, decide_page
from digitcli.recognition.grouping import group_digits
from digitcli.recognition.layout import shows_fraction
from digitcli.recognition.line_reading import (
    MAX_LENGTH,
    Answer,
    Line,
    read_lines,
    reading_order,
    whole_picture,
)
from digitcli.recognition.numbers import recognize
from digitcli.recognition.readings import LIKELY, Detection, Nothing, Number, Reading
from digitcli.strip_format import SEPARATORS

# Confidence of the network that reads whole pictures, from which nothing else is asked: of 1,868 such
# answers to pictures of held-out writers, fonts and generators 2 were wrong, and 16 of 2,136 from 0.9 on.
CERTAIN = 0.97
# Mean confidence over the places that were found on a page, below which it is read sideways and upside down
# too. The mean of the numbers of synthetic pages is about 0.95, and rotated 0.8 at most.
DOUBTFUL = 0.75
# Least mean confidence over the places of a rotated page, and its least lead over the upright page.
ROTATED_CONFIDENCE, ROTATED_LEAD = 0.6, 0.15
# Least number of digits of a rotated page: 0, 1, 8 and 69 look alike upside down.
ROTATED_DIGITS = 4
# Shorter side in pixels, and places on a page with a number, below which a picture is not rotated: it was cut
# out of a page by somebody who saw it.
ROTATED_SIDE_PX, ROTATED_PLACES = 300, 3


@dataclass(frozen=True)
class PageNetworks:
    """The networks that read pages.

    finder: finds the lines of numbers.
    readers: read their strips; the mean of their answers counts.
    weights: of the confidence of numbers.
    picture: reads whole pictures before the others, the easy ones alone; None to ask the others always.
    picture_weights: of its confidence, and of the probability that a number stands where nobody found one.
    grouper: tells which digits form a number; None if the spaces that the readers see tell.
    """

    finder: PageFinder
    readers: tuple[LineRecognizer, ...]
    weights: Weights = field(default_factory=Weights)
    picture: LineRecognizer | None = None
    picture_weights: Weights = field(default_factory=Weights)
    grouper: GapSplitter | None = None


def read_page(
    grey: Grey, networks: PageNetworks, constraints: Constraints | None, top_k: int, *, finds_rotation: bool
) -> Reading:
    """Read a page, uint8 (H, W), at no threshold.

    A cascade: Viola & Jones, "Rapid object detection using a boosted cascade of simple features", 2001. Which
    networks answer does not depend on the threshold, so that it changes no text and no confidence.

    finds_rotation: whether a page that is hard to read is also read sideways and upside down.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    glance = look(grey, networks, constraints, top_k)
    if glance.reading is not None and (glance.reading.confidence or 0.0) >= CERTAIN:
        return glance.reading
    found = read_found(grey, networks, constraints, top_k, glance.answer)
    if finds_rotation and _may_be_rotated(grey, found, glance):
        found = _read_rotated(grey, found, networks, constraints, top_k)
    reading = found.reading
    if not reading.numbers:
        return answer_instead(glance, reading, networks.picture_weights)
    are_digits = constraints is not None and constraints.is_of_single_digits
    if not reading.rotation and not are_digits and shows_fraction(grey, reading.numbers):
        detections = tuple(replace(each, has_number=False) for each in reading.detections)
        return replace(NOT_A_DIGIT, detections=detections)
    return reading


@dataclass(frozen=True)
class Found:
    """The answer to what the finder finds, and how many places, with a number or without, that are."""

    reading: Reading
    places: int

    @property
    def mean_confidence(self) -> float:
        """The mean confidence over the places, of which those without a number count 0."""
        return sum(number.confidence for number in self.reading.numbers) / max(self.places, 1)


def read_found(
    grey: Grey,
    networks: PageNetworks,
    constraints: Constraints | None,
    top_k: int,
    whole: Answer | None = None,
) -> Found:
    """Read the numbers of a page that the finder finds; `whole` is what a glance says of the only one."""
    numbers, other_writing = find_numbers_on(grey, networks, constraints, whole)
    read = [recognize(number, networks.weights, constraints, top_k) for number in numbers]
    written = {id(line.found) for line, each in zip(numbers, read, strict=True) if isinstance(each, Number)}
    detections = {id(line.found): line.found for line in numbers}
    reading = decide_page(read, other_writing, constraints)
    detected = tuple(_detection(each, key in written) for key, each in detections.items())
    return Found(replace(reading, detections=detected), len(read))


def find_numbers_on(
    grey: Grey, networks: PageNetworks, constraints: Constraints | None, whole: Answer | None = None
) -> tuple[list[Line], float]:
    """Return what the networks say of each number of a page, and the probability of other writing."""
    found = find_lines(grey, networks.finder.maps)
    places = reading_order(found.lines)
    lines = read_lines(grey, places, networks.readers)
    numbers = group_digits(
        grey,
        lines,
        networks.grouper,
        constraints,
        lambda again: read_lines(grey, again, networks.readers),
    )
    if len(numbers) == 1 and whole is not None:
        numbers = [replace(numbers[0], answers=(*numbers[0].answers, whole))]
    if len(numbers) > 1:
        scores = [log_odds(number.found.score) for number in numbers]
        numbers = [
            replace(number, beside=(math.fsum(scores) - score) / (len(scores) - 1))
            for number, score in zip(numbers, scores, strict=True)
        ]
    return numbers, found.other


def _detection(found: FoundLine, has_number: bool) -> Detection:
    corners = found.box.corners(found.box.length, found.box.height).tolist()
    return Detection(tuple((x, y) for x, y in corners), found.score, has_number)


@dataclass(frozen=True)
class Glance:
    """What the network for whole pictures says of a page.

    reading: its answer, if the page likely shows one number.
    nothing: the probability that no digit is written; None if the page was not seen.
    answer: what it reads, unless it sees several numbers, other characters or no digit.
    """

    reading: Reading | None = None
    nothing: float | None = None
    answer: Answer | None = None


def look(grey: Grey, networks: PageNetworks, constraints: Constraints | None, top_k: int) -> Glance:
    """Read a page, uint8 (H, W), as one number; a page that is too long to be seen at once is not seen."""
    if networks.picture is None or grey.shape[1] > MAX_LENGTH * grey.shape[0]:
        return Glance()
    line = whole_picture(grey, networks.picture)
    nothing = line.hypotheses.get("", 0.0)
    if shows_several(line):
        return Glance(None, nothing, None)
    answer = None if nothing >= LIKELY else line.answers[0]
    number = recognize(line, Weights(networks.picture_weights.acceptance), constraints, top_k)
    if isinstance(number, Nothing) or number.confidence < LIKELY:
        return Glance(None, nothing, answer)
    if number.is_changed or number.reason == "constraint":
        return Glance(None, nothing, answer)
    return Glance(decide_numbers([number], None), nothing, answer)


def shows_several(line: Line) -> bool:
    """Tell whether a network sees several numbers, or something else, in a line."""
    has_gap = any(gap.separator >= LIKELY for gap in line.reference.gaps)
    return has_gap or bool(SEPARATORS.intersection(line.raw))


def answer_instead(glance: Glance, reading: Reading, weights: Weights) -> Reading:
    """Return the answer to a page on which no other network found a number.

    A number that the network for whole pictures alone finds is right if one is there and its text is right.
    """
    if glance.nothing is None:
        return reading
    is_there = logistic(features_of_nothing(glance.nothing), weights.presence or {"nothing": -1.0})
    if glance.reading is None or glance.reading.confidence is None:
        return reading.without_number(1 - is_there)
    instead = glance.reading.at_most(is_there * glance.reading.confidence)
    return replace(instead, detections=reading.detections)


def _read_rotated(
    grey: Grey, upright: Found, networks: PageNetworks, constraints: Constraints | None, top_k: int
) -> Found:
    """Return the surest answer of a page that is rotated, or that of the upright page if none is sure."""
    best, least = upright, max(ROTATED_CONFIDENCE, upright.mean_confidence + ROTATED_LEAD)
    least_digits = max(ROTATED_DIGITS, len(upright.reading.digits))
    for degrees in (90, 270, 180):
        found = read_found(rotate(grey, degrees), networks, constraints, top_k)
        if len(found.reading.digits) >= least_digits and found.mean_confidence >= least:
            best = replace(found, reading=replace(found.reading, rotation=degrees))
            least = found.mean_confidence
    return best


def _may_be_rotated(grey: Grey, found: Found, glance: Glance) -> bool:
    """Tell whether the numbers of a page are hard to read, or none stands at the places that were found.

    Where a glance reads one number, a page without others is upright.
    """
    if min(grey.shape) < ROTATED_SIDE_PX:
        return False
    if not found.reading.numbers:
        return glance.answer is None and found.places > 0 and found.reading.reason != "not_a_digit"
    return found.places >= ROTATED_PLACES and found.mean_confidence < DOUBTFUL
