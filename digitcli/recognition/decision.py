"""Stage 4 of the reading pipeline, decide: choose the status and the confidence of a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digitcli.errors import PictureError
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.recognize import RegionResult
from digitcli.recognition.results import Number, Status, text_of

# Probability that a page without ink is blank; measured by benchmarks/blank.py.
BLANK_CONFIDENCE = 0.9
# Least confidence of faint marks that count as digits: they are more likely digits than not.
FAINT_CONFIDENCE = 0.5
# Geometric mean of the confidences below which several numbers are a photograph or a text (chosen by hand).
GUESS_CONFIDENCE = 0.5
# Confidence of the answer that a page of several guesses shows no number: it may show one.
NOT_A_DIGIT_CONFIDENCE = 0.5
# Probability of the two likeliest texts together, from which the reason is two_candidates (chosen by hand).
TWO_CANDIDATES = 0.8
# Least probability of the second text, from which the reason is two_candidates (chosen by hand).
SECOND_CANDIDATE = 0.1

# A fraction, or a day and a month.
FRACTION = re.compile(r"\d{1,2}/\d{1,2}")


@dataclass(frozen=True)
class Decision:
    """The answer of a page, see `Reading` for its fields."""

    status: Status
    reason: str | None
    text: str | None
    confidence: float | None
    numbers: tuple[Number, ...] = ()
    is_changed: bool = False
    error: PictureError | None = None

    def refused(self, reason: str) -> Decision:
        """Return the same answer as a guess with the status `refused`."""
        return replace(self, status="refused", reason=reason)


BLANK = Decision("blank", "blank", "", BLANK_CONFIDENCE)


def decide_page(
    regions: Sequence[RegionResult], constraints: Constraints | None, min_confidence: float
) -> Decision:
    """Decide on a page from its regions; an answer below the confidence `min_confidence` is refused."""
    if not any(region.numbers or region.has_ink for region in regions):
        return BLANK
    empty_confidence = _all_right([region for region in regions if not region.numbers])
    written = [region for region in regions if region.numbers]
    if not written:
        return _not_a_digit(empty_confidence)
    confidence = empty_confidence * _all_right(written)
    is_changed = any(region.is_changed for region in written)
    if constraints is not None and constraints.is_single and len(written) > 1:
        written, confidence, is_changed = _choose_one(written)
    numbers = tuple(number for region in written for number in region.numbers)
    answer = Decision("read", None, text_of(numbers), confidence, numbers, is_changed)
    is_guess = len(written) > 1 and _all_right(written) ** (1 / len(written)) < GUESS_CONFIDENCE
    if any(region.breaks_constraints for region in written) or (is_guess and is_changed):
        return answer.refused("constraint")
    if is_guess:
        return _not_a_digit(NOT_A_DIGIT_CONFIDENCE)
    if constraints is None and any(map(_is_fraction, written)):
        return _not_a_digit(confidence)
    if any(region.runs_out for region in written):
        return answer.refused("cut_off")
    return answer if confidence >= min_confidence else answer.refused(_reason_for_doubt(written))


def decide_error(error: PictureError) -> Decision:
    """Return the answer of a page that could not be read."""
    return Decision("error", error.reason, None, None, error=error)


def decide_faint_page(decision: Decision, can_reject: bool) -> Decision:
    """Decide on a page with only faint marks: refuse it, so that a person looks at it, or call it blank.

    Digits count only if `can_reject` is true, which says that the networks can reject what is not a digit.
    """
    confidence = decision.confidence
    if can_reject and decision.numbers and confidence is not None and confidence >= FAINT_CONFIDENCE:
        return decision.refused("too_faint")
    return BLANK


def _all_right(regions: Sequence[RegionResult]) -> float:
    """Return the probability that all regions are right."""
    return float(np.prod([region.confidence for region in regions]))


def _not_a_digit(confidence: float) -> Decision:
    return Decision("refused", "not_a_digit", "", confidence)


def _is_fraction(region: RegionResult) -> bool:
    return region.is_in_fraction or any(FRACTION.fullmatch(number.raw) for number in region.numbers)


def _choose_one(regions: Sequence[RegionResult]) -> tuple[list[RegionResult], float, bool]:
    """Choose the likeliest region of a picture that holds a single number.

    Returns the region, the probability that it is right and the only one, and whether it meets the
    constraints.
    """
    likeliest, *others = sorted(
        regions, key=lambda region: (not region.breaks_constraints, region.confidence), reverse=True
    )
    confidence = likeliest.confidence * float(np.prod([1 - region.confidence for region in others]))
    return [likeliest], confidence, not likeliest.breaks_constraints


def _reason_for_doubt(regions: Sequence[RegionResult]) -> str:
    """Return the reason code that tells why the least certain region is not more certain."""
    worst = min(regions, key=lambda region: region.confidence)
    if worst.is_cut_off:
        return "cut_off"
    together = worst.confidence + worst.rival_confidence
    has_two = together >= TWO_CANDIDATES and worst.rival_confidence >= SECOND_CANDIDATE
    return "two_candidates" if has_two else "low_confidence"
