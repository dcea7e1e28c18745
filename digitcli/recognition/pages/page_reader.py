"""Read whole pages: one easy digit at first sight, everything else line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from digitcli.imaging.finder_input import Grey
from digitcli.imaging.grayscale import rotate
from digitcli.inference.predictor import LineRecognizer, PageFinder
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import Decision, decide_page
from digitcli.recognition.pages.crops import RegionCrops, crop_lines, crop_picture
from digitcli.recognition.pages.finding import find_lines, reading_order
from digitcli.recognition.pages.recognize import RegionEvidence, recognize_region, run_networks

# Confidence from which a digit that is read at first sight is not read again. Of 459 such answers to composed
# small pictures 3 were wrong.
EASY = 0.9
# Confidence from which it counts where no number is found: it is likelier right than wrong.
LIKELY = 0.5
# Mean confidence of the numbers of a page, below which it is read sideways and upside down too. The mean of
# composed pages is about 0.95, and that of the same pages turned 0.8 at most.
DOUBTFUL = 0.75
# Least mean confidence of the numbers of a turned page, and its least lead over the upright page.
ROTATED_CONFIDENCE = 0.6
ROTATED_LEAD = 0.15
# Least number of digits of a turned page: 0, 1, 8 and 69 look alike upside down.
ROTATED_DIGITS = 4


@dataclass(frozen=True)
class PreparedPage:
    """A page before any network has seen it.

    levels: the page, uint8 (H, W).
    at_sight: the page as one strip.
    crops, ink: see `pipeline.Prepared`; networks that read whole pages need no ink.
    """

    levels: Grey
    at_sight: RegionCrops
    crops: int = 1
    ink: np.ndarray | None = None

    @property
    def pixels(self) -> int:
        """The number of pixels that are kept."""
        return self.levels.size


@dataclass(frozen=True)
class PageReader:
    """Networks that find and read the numbers of whole pages.

    finder: the page finder.
    line_models: the networks that read the strips of the lines that it finds.
    picture_models: the networks that read a whole picture as one strip before, if there are any.
    acceptance, presence: the weights of the confidence of a number, and of the probability that one is there.
    min_confidence: the confidence below which a number is refused.
    finds_rotation: whether a page that is hard to read is also read sideways and upside down.
    """

    finder: PageFinder
    line_models: tuple[LineRecognizer, ...]
    min_confidence: float
    picture_models: tuple[LineRecognizer, ...] = ()
    acceptance: Mapping[str, float] = field(default_factory=dict)
    presence: Mapping[str, float] = field(default_factory=dict)
    finds_rotation: bool = False

    @property
    def models(self) -> tuple[LineRecognizer | PageFinder, ...]:
        """All networks, in the order in which they are used."""
        return (*self.picture_models, self.finder, *self.line_models)

    def prepare(self, grey: np.ndarray) -> PreparedPage:
        """Shrink a grey page, float32 (H, W) in [0, 1], to a strip."""
        levels = np.clip(255 * grey + 0.5, 0, 255).astype(np.uint8)
        return PreparedPage(levels, crop_picture(levels))

    def see(
        self, pages: Sequence[PreparedPage], constraints: Constraints | None, top_k: int
    ) -> list[Decision | None]:
        """Read pages together, each as a single digit; None for a page that shows anything else.

        Raises:
            ModelError: a network answers with values that are not finite.
        """
        if not self.picture_models:
            return [None] * len(pages)
        evidence = run_networks([page.at_sight for page in pages], self.picture_models, {}, {})
        return [self._decide_at_sight(each, constraints, top_k) for each in evidence]

    def decide(
        self,
        page: PreparedPage,
        at_sight: Decision | None,
        constraints: Constraints | None,
        top_k: int,
    ) -> Decision:
        """Read a page line by line, unless the digit that was seen at first sight is easy.

        Digits and numbers have `top_k` candidates.

        Raises:
            ModelError: a network answers with values that are not finite.
        """
        sight_confidence = _mean_confidence(at_sight) if at_sight else 0.0
        if at_sight and sight_confidence >= EASY:
            return at_sight
        decision = self.read_lines(page.levels, constraints, top_k)
        confidence = _mean_confidence(decision)
        if at_sight and len(decision.numbers) != 1 and sight_confidence >= max(LIKELY, confidence):
            return at_sight
        if self.finds_rotation and confidence < DOUBTFUL and decision.status != "blank":
            return self._read_rotated(page.levels, decision, constraints, top_k)
        return decision

    def _decide_at_sight(
        self, evidence: RegionEvidence, constraints: Constraints | None, top_k: int
    ) -> Decision | None:
        text = evidence.raw if evidence.lines else ""
        if len(text) != 1 or not text.isdecimal() or (constraints and not constraints.accepts(text)):
            return None
        results = recognize_region(evidence, None, top_k)  # constraints would make any guess sure
        decision = decide_page(results, 0.0, None, self.min_confidence)
        return decision if decision.numbers else None

    def read(self, levels: Grey, constraints: Constraints | None, top_k: int) -> Decision:
        """Read one page, uint8 (H, W), see `decide`."""
        page = PreparedPage(levels, crop_picture(levels))
        (at_sight,) = self.see([page], constraints, top_k)
        return self.decide(page, at_sight, constraints, top_k)

    def read_lines(self, page: Grey, constraints: Constraints | None, top_k: int) -> Decision:
        """Find the lines of a page, uint8 (H, W), and read them."""
        found = find_lines(page, self.finder.maps)
        regions = crop_lines(page, reading_order(found.lines))
        evidence = run_networks(regions, self.line_models, self.acceptance, self.presence)
        results = [result for each in evidence for result in recognize_region(each, constraints, top_k)]
        return decide_page(results, found.other, constraints, self.min_confidence)

    def _read_rotated(
        self, page: Grey, upright: Decision, constraints: Constraints | None, top_k: int
    ) -> Decision:
        """Return the surest answer of a page that is turned, or that of the upright page if none is sure."""
        best, least = upright, max(ROTATED_CONFIDENCE, _mean_confidence(upright) + ROTATED_LEAD)
        least_digits = max(ROTATED_DIGITS, _count_digits(upright))
        for degrees in (90, 270, 180):
            decision = self.read_lines(rotate(page, degrees), constraints, top_k)
            if _count_digits(decision) >= least_digits and _mean_confidence(decision) >= least:
                best, least = replace(decision, rotation=degrees), _mean_confidence(decision)
        return best


def _mean_confidence(decision: Decision) -> float:
    return float(np.mean([number.confidence for number in decision.numbers] or [0.0]))


def _count_digits(decision: Decision) -> int:
    return sum(len(number.digits) for number in decision.numbers)
