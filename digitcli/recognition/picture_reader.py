"""Read a whole picture by one small network, which comes before the stages of the pipeline.

This is the first stage of a cascade: Viola & Jones, "Rapid object detection using a boosted cascade of simple
features", 2001. It answers the many pictures that show one clear number; the other networks read the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from digitcli.imaging.grayscale import Grey
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import LIKELY, Decision
from digitcli.recognition.hypotheses import LineEvidence
from digitcli.recognition.pages.acceptance import log_odds, logistic
from digitcli.recognition.pages.crops import MAX_LENGTH, whole_picture
from digitcli.recognition.pages.decision import decide_page
from digitcli.recognition.pages.evidence import RegionEvidence
from digitcli.recognition.pages.recognize import recognize_region
from digitcli.strip_format import SEPARATORS

# What tells whether its text is right, see `recognition.pages.acceptance`.
NUMBER_FEATURES = ("reading", "nothing", "digits", "pitch", "bias")
# What tells whether a number stands where no network found one, see `features_of_nothing`.
NOTHING_FEATURES = ("nothing", "bias")


@dataclass(frozen=True)
class PictureAnswer:
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
class PictureReader:
    """A network that sees a whole picture as a strip, see `architectures.reader.picture_reader`.

    acceptance: the weights of the confidence, see `recognition.pages.acceptance`.
    presence: those of the probability that a number stands there although nobody found one.
    """

    network: LineRecognizer
    acceptance: Mapping[str, float] = field(default_factory=dict)
    presence: Mapping[str, float] = field(default_factory=dict)

    def read(self, grey: Grey, constraints: Constraints | None, top_k: int) -> PictureAnswer:
        """Read a page, uint8 (H, W).

        Raises:
            ModelError: the network answers with values that are not finite.
        """
        height, width = grey.shape
        if width > MAX_LENGTH * height:
            return PictureAnswer()
        evidence = self.look(grey)
        nothing = evidence.hypotheses(ANY_DIGITS).get("", 0.0)
        decision = _read_number(evidence, constraints, top_k)
        is_several = bool(SEPARATORS.intersection(evidence.raw)) or len(evidence.parts()) > 1
        is_other = is_several or nothing >= LIKELY
        line = None if is_other else evidence.lines[0]
        return PictureAnswer(decision, nothing, line)

    def answer_instead(self, answer: PictureAnswer, decision: Decision) -> Decision:
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
    """Return the values that the weights multiply, see `PictureReader.probability_of_number`."""
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
