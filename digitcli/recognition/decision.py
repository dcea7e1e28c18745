"""Choose the status of each number and of the page.

The texts and confidences are the same at every threshold. `Decision.refuse_below` compares with it last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digitcli.errors import PictureError
from digitcli.recognition.layout import place_numbers
from digitcli.recognition.readings import Detection, Number, Status, text_of

# Probability that a page without ink is blank; measured by benchmarks/pictures.py blank.
BLANK_CONFIDENCE = 0.9
# Confidence of the answer that a page of several guesses shows no number: it may show one.
NOT_A_DIGIT_CONFIDENCE = 0.5
# Confidence of the network that reads whole pictures, from which nothing else is asked: of 1,868 such
# answers to pictures of held-out writers, fonts and generators 2 were wrong, and 16 of 2,136 from 0.9 on.
CERTAIN = 0.97
# Probability from which an answer is likelier right than wrong.
LIKELY = 0.5
# Probability of the two likeliest texts together, from which the reason is two_candidates (chosen by hand).
TWO_CANDIDATES = 0.8
# Least probability of the second text, from which the reason is two_candidates (chosen by hand).
SECOND_CANDIDATE = 0.1


@dataclass(frozen=True)
class NumberResult:
    """The answer about a place where a number may stand.

    number: the number; None if the networks read nothing.
    confidence: the probability that the answer is right.
    rival_confidence: the probability of the second likeliest text.
    is_cut_off: whether the region touches the edge of the page, where a part of it may be missing.
    runs_out: whether a further digit, or the last character, is cut off by the edge of the page.
    is_in_fraction: whether a fraction bar lies between this number and another one.
    is_faint: whether its ink hardly differs from the paper.
    is_changed: whether the constraints changed the text.
    breaks_constraints: whether the number likelier breaks the constraints than that it was misread.
    is_other: whether other writing stands there.
    """

    number: Number | None
    confidence: float
    rival_confidence: float = 0.0
    is_cut_off: bool = False
    runs_out: bool = False
    is_in_fraction: bool = False
    is_faint: bool = False
    is_changed: bool = False
    breaks_constraints: bool = False
    is_other: bool = False


@dataclass(frozen=True)
class Decision:
    """The answer of a page, see `Reading` for its fields.

    rotation: the degrees by which the page was turned clockwise.
    """

    status: Status
    reason: str | None
    text: str | None
    confidence: float | None
    numbers: tuple[Number, ...] = ()
    is_changed: bool = False
    error: PictureError | None = None
    rotation: int = 0
    detections: tuple[Detection, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether the network that reads whole pictures has read one number for certain."""
        return self.confidence is not None and self.confidence >= CERTAIN

    def refused(self, reason: str) -> Decision:
        """Return the same answer as a guess, with the status `refused` for the page and all its numbers."""
        numbers = tuple(number.refused(reason) for number in self.numbers)
        return replace(self, status="refused", reason=reason, numbers=numbers)

    def without_number(self, nothing: float) -> Decision:
        """Return an answer without a number, with the probability that none is there as its confidence.

        If it is likelier that a digit is written, the page is neither blank nor without a digit, but cannot
        be read.
        """
        if nothing < LIKELY:
            return replace(self, status="refused", reason="low_confidence", confidence=nothing)
        if self.reason == "low_confidence":
            return replace(self, status="blank", reason="blank", confidence=nothing)
        return replace(self, confidence=nothing)

    def at_most(self, probability: float) -> Decision:
        """Return the same answer, which is no surer than a probability, and no number of it either."""
        if not self.numbers or self.confidence is None:
            return self
        numbers = tuple(number.at_most(probability) for number in self.numbers)
        return replace(self, numbers=numbers, confidence=min(self.confidence, probability))

    def refuse_below(self, min_confidence: float) -> Decision:
        """Return the same answer, in which numbers with a lower confidence are refused.

        The page is read if all of its numbers are, `partial` if only some are, and refused if none is.
        """
        numbers = tuple(
            number.refused(number.doubt)
            if number.status == "read" and number.confidence < min_confidence
            else number
            for number in self.numbers
        )
        if numbers == self.numbers:
            return self
        status, reason = page_status(numbers)
        return replace(self, status=status, reason=reason, numbers=numbers)


BLANK = Decision("blank", "blank", "", BLANK_CONFIDENCE)
NOT_A_DIGIT = Decision("refused", "not_a_digit", "", NOT_A_DIGIT_CONFIDENCE)


def decision_of(numbers: Sequence[Number], results: Sequence[NumberResult], confidence: float) -> Decision:
    """Return the decision on a page with numbers, from the results that gave them."""
    status, reason = page_status(numbers)
    is_changed = any(result.is_changed for result in results)
    return Decision(status, reason, text_of(numbers), confidence, place_numbers(numbers), is_changed)


def decide_number(result: NumberResult) -> Number:
    """Return a number with its status and reason, and the reason for its doubt."""
    assert result.number is not None
    if result.is_in_fraction:
        return result.number.refused("not_a_digit")
    if result.runs_out:  # most often it breaks the constraints, too
        return result.number.refused("cut_off")
    if result.breaks_constraints:
        return result.number.refused("constraint")
    return replace(result.number, doubt=_reason_for_doubt(result))


def page_status(numbers: Sequence[Number]) -> tuple[Status, str | None]:
    """Return the status of a page, and the reason of its least certain refused number."""
    refused = [number for number in numbers if number.status == "refused"]
    if not refused:
        return "read", None
    status: Status = "refused" if len(refused) == len(numbers) else "partial"
    return status, min(refused, key=lambda number: number.confidence).reason


def decide_error(error: PictureError) -> Decision:
    """Return the answer of a page that could not be read."""
    return Decision("error", error.reason, None, None, error=error)


def all_right(results: Sequence[NumberResult]) -> float:
    """Return the probability that all answers are right."""
    return float(np.prod([result.confidence for result in results]))


def choose_one(results: Sequence[NumberResult]) -> NumberResult:
    """Return the likeliest number of a picture that holds a single one.

    Its confidence becomes the probability that it is right and the only one.
    """
    likeliest, *others = sorted(
        results, key=lambda result: (not result.breaks_constraints, result.confidence), reverse=True
    )
    assert likeliest.number is not None
    alone = float(np.prod([1 - result.confidence for result in others]))
    confidence = likeliest.confidence * alone
    return replace(
        likeliest,
        number=likeliest.number.at_most(likeliest.number.confidence * alone),
        confidence=confidence,
        is_changed=not likeliest.breaks_constraints,
    )


def _reason_for_doubt(result: NumberResult) -> str:
    """Return the reason code that tells why a number is not more certain."""
    if result.is_changed:
        return "constraint"
    if result.is_cut_off:
        return "cut_off"
    if result.is_faint:
        return "too_faint"
    together = result.confidence + result.rival_confidence
    has_two = together >= TWO_CANDIDATES and result.rival_confidence >= SECOND_CANDIDATE
    return "two_candidates" if has_two else "low_confidence"
