"""The networks that read pages: a small one for whole pictures, and those that find lines and read them.

Together they are a cascade: Viola & Jones, "Rapid object detection using a boosted cascade of simple
features", 2001. The small one answers the many pictures that show one clear number; the others read the rest.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from digitcli.imaging.grayscale import Grey, rotate
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.line_finding import find_lines
from digitcli.inference.predictor import LineRecognizer, PageFinder
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import LIKELY, Decision, NumberResult
from digitcli.recognition.line_crops import MAX_LENGTH, crop_line, crop_lines, reading_order, whole_picture
from digitcli.recognition.line_evidence import LineEvidence
from digitcli.recognition.page_decision import decide_page, log_odds, logistic
from digitcli.recognition.readings import Detection
from digitcli.recognition.recognize import join_groups, line_around, recognize_region
from digitcli.recognition.region_evidence import RegionEvidence, run_networks
from digitcli.strip_format import SEPARATORS

# What tells whether its text is right, see `recognition.page_decision`.
NUMBER_FEATURES = ("reading", "nothing", "digits", "pitch", "bias")
# What tells whether a number stands where no network found one, see `features_of_nothing`.
NOTHING_FEATURES = ("nothing", "bias")

# Mean confidence over the places that were found on a page, see `PageAnswer`, below which it is read sideways
# and upside down too. The mean of the numbers of synthetic pages is about 0.95, and turned 0.8 at most.
DOUBTFUL = 0.75
# Least mean confidence over the places of a turned page, and its least lead over the upright page.
ROTATED_CONFIDENCE = 0.6
ROTATED_LEAD = 0.15
# Least number of digits of a turned page: 0, 1, 8 and 69 look alike upside down.
ROTATED_DIGITS = 4
# Shorter side in pixels, and places on a page with a number, below which a picture is not turned: it was cut
# out of a page by somebody who saw it.
ROTATED_SIDE_PX = 300
ROTATED_PLACES = 3


@dataclass(frozen=True)
class Glance:
    """What the network says of a page.

    decision: its answer, if the page likely shows one number; else None.
    nothing: the probability that no digit is written; None if the page is too long to be seen at once.
    line: what it reads, unless it sees several numbers, other characters or no digit.
    """

    decision: Decision | None = None
    nothing: float | None = None
    line: LineEvidence | None = None

    @property
    def is_certain(self) -> bool:
        """Whether it has read one number for certain, so that no other network is asked."""
        return self.decision is not None and self.decision.is_certain


@dataclass(frozen=True)
class PictureNetwork:
    """A network that sees a whole picture as a strip, see `architectures.text_networks.picture_network`.

    acceptance: the weights of the confidence, see `recognition.page_decision`.
    presence: those of the probability that a number stands there although nobody found one.
    """

    network: LineRecognizer
    acceptance: Mapping[str, float] = field(default_factory=dict)
    presence: Mapping[str, float] = field(default_factory=dict)

    def read(self, grey: Grey, constraints: Constraints | None, top_k: int) -> Glance:
        """Read a page, uint8 (H, W).

        Raises:
            ModelError: the network answers with values that are not finite.
        """
        height, width = grey.shape
        if width > MAX_LENGTH * height:
            return Glance()
        evidence = self.look(grey)
        nothing = evidence.hypotheses(ANY_DIGITS).get("", 0.0)
        decision = _read_number(evidence, constraints, top_k)
        is_several = bool(SEPARATORS.intersection(evidence.raw)) or len(evidence.parts()) > 1
        is_other = is_several or nothing >= LIKELY
        line = None if is_other else evidence.lines[0]
        return Glance(decision, nothing, line)

    def answer_instead(self, answer: Glance, decision: Decision) -> Decision:
        """Return the answer to a page on which no other network found a number, given their decision.

        A number that this network alone finds is right if one is there and its text is right.
        """
        if answer.nothing is None:
            return decision
        is_there = self.probability_of_number(answer.nothing)
        if answer.decision is None or answer.decision.confidence is None:
            return decision.without_number(1 - is_there)
        return answer.decision.at_most(is_there * answer.decision.confidence)

    def probability_of_number(self, nothing: float) -> float:
        """Return the probability that a number stands where no network found one.

        nothing: that of no digit, by this network.
        """
        return logistic(features_of_nothing(nothing), self.presence or {"nothing": -1.0})

    def look(self, grey: Grey) -> RegionEvidence:
        """Return what the network says of a page, uint8 (H, W), as one line."""
        crops = whole_picture(grey)
        (answer,) = self.network.outputs([crops.strips[0].image])
        header = self.network.header
        line = LineEvidence.of(crops.strips[0], answer, header.alphabet, header.temperature)
        return RegionEvidence(crops, (line,), self.acceptance)


def features_of_nothing(nothing: float) -> dict[str, float]:
    """Return the values that the weights multiply, see `PictureNetwork.probability_of_number`."""
    return {"nothing": log_odds(nothing), "bias": 1.0}


def _read_number(evidence: RegionEvidence, constraints: Constraints | None, top_k: int) -> Decision | None:
    """Return the answer to a page that likely shows one number; else None."""
    if SEPARATORS.intersection(evidence.raw):  # several numbers, or something else
        return None
    result, *others = recognize_region(evidence, constraints, top_k)
    if others or result.number is None or result.confidence < LIKELY:
        return None
    if result.is_changed or result.breaks_constraints:
        return None
    return decide_page([result], 0.0, None)


@dataclass(frozen=True)
class PageEvidence:
    """What the networks say of a page.

    regions: the lines that may be numbers, in reading order.
    other_writing: the probability of other writing on the page.
    """

    regions: tuple[RegionEvidence, ...]
    other_writing: float


@dataclass(frozen=True)
class PageAnswer:
    """The decision on a page, and how many places with or without a number were found on it."""

    decision: Decision
    places: int

    @property
    def mean_confidence(self) -> float:
        """The mean confidence over the places, of which those without a number count 0."""
        return sum(number.confidence for number in self.decision.numbers) / max(self.places, 1)

    @property
    def digits(self) -> int:
        """How many digits were read."""
        return sum(len(number.digits) for number in self.decision.numbers)


@dataclass(frozen=True)
class PageNetworks:
    """A page finder and the networks that read the strips of its lines; the mean of their answers counts.

    acceptance, presence: the weights of the confidence of a number, and of the probability that one is there.
    finds_rotation: whether a page that is hard to read, or shows no number at the places that were found, is
        also read sideways and upside down.
    """

    finder: PageFinder
    line_models: tuple[LineRecognizer, ...]
    acceptance: Mapping[str, float] = field(default_factory=dict)
    presence: Mapping[str, float] = field(default_factory=dict)
    finds_rotation: bool = False

    def read(
        self, grey: Grey, constraints: Constraints | None, top_k: int, whole: LineEvidence | None = None
    ) -> Decision:
        """Read a page, uint8 (H, W), at no threshold; digits and numbers have `top_k` candidates.

        `whole` is what a network for whole pictures reads, if that is one number.

        Raises:
            ModelError: a network answers with values that are not finite.
        """
        answer = self._decide(grey, constraints, top_k, whole)
        is_large = min(grey.shape) >= ROTATED_SIDE_PX
        if self.finds_rotation and is_large and _may_be_rotated(answer, whole):
            return self._read_rotated(grey, answer, constraints, top_k)
        return answer.decision

    def find_and_read(self, grey: Grey, whole: LineEvidence | None = None) -> PageEvidence:
        """Find the lines of a page, uint8 (H, W), and read them; `whole` counts for its only number."""
        found = find_lines(grey, self.finder.maps)
        regions = crop_lines(grey, reading_order(found.lines))
        evidence = run_networks(regions, self.line_models, self.acceptance, self.presence)
        if len(evidence) == 1:
            evidence = [evidence[0].as_only(whole)]
        return PageEvidence(tuple(evidence), found.other)

    def _decide(
        self, grey: Grey, constraints: Constraints | None, top_k: int, whole: LineEvidence | None = None
    ) -> PageAnswer:
        page = self.find_and_read(grey, whole)
        lines = [(region, recognize_region(region, constraints, top_k)) for region in page.regions]
        if constraints is not None:
            lines = join_groups(lines, constraints, top_k, functools.partial(self._read_as_one, grey, page))
        results = [result for _, numbers in lines for result in numbers]
        detections = tuple(itertools.starmap(_detection, lines))
        decision = decide_page(results, page.other_writing, constraints)
        return PageAnswer(replace(decision, detections=detections), len(results))

    def _read_as_one(self, grey: Grey, page: PageEvidence, lines: Sequence[RegionEvidence]) -> RegionEvidence:
        """Read several lines of a row of a page as one."""
        is_alone = len(lines) == len(page.regions)
        line = line_around([each.crops.line for each in lines])
        crops = crop_line(grey, lines[0].crops.row, line, is_alone=is_alone)
        (evidence,) = run_networks([crops], self.line_models, self.acceptance, self.presence)
        return evidence.as_only(None) if is_alone else evidence

    def _read_rotated(
        self, grey: Grey, upright: PageAnswer, constraints: Constraints | None, top_k: int
    ) -> Decision:
        """Return the surest answer of a page that is turned, or that of the upright page if none is sure."""
        best, least = upright.decision, max(ROTATED_CONFIDENCE, upright.mean_confidence + ROTATED_LEAD)
        least_digits = max(ROTATED_DIGITS, upright.digits)
        for degrees in (90, 270, 180):
            answer = self._decide(rotate(grey, degrees), constraints, top_k)
            if answer.digits >= least_digits and answer.mean_confidence >= least:
                best, least = replace(answer.decision, rotation=degrees), answer.mean_confidence
        return best


def _detection(region: RegionEvidence, results: Sequence[NumberResult]) -> Detection:
    line = region.crops.line
    corners = line.box.corners(line.box.length, line.box.height).tolist()
    has_number = any(result.number is not None for result in results)
    return Detection(tuple((x, y) for x, y in corners), line.score, has_number)


def _may_be_rotated(answer: PageAnswer, whole: LineEvidence | None) -> bool:
    """Tell whether the numbers of a page are hard to read, or none stands at the places that were found.

    `whole` is what a network for whole pictures reads, if that is one number: then a page without others is
    upright.
    """
    if not answer.decision.numbers:
        return whole is None and answer.places > 0 and answer.decision.reason != "not_a_digit"
    return answer.places >= ROTATED_PLACES and answer.mean_confidence < DOUBTFUL
