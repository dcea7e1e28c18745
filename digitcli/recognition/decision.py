"""Decide: choose the status of each number and of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digitcli.errors import PictureError
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.results import Number, Status, text_of

# Probability of other writing from which a page without numbers is not blank: it is likelier than not.
OTHER_WRITING = 0.5
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
    is_cut_off: whether the place touches the edge of the page, where a part of it may be missing.
    runs_out: whether its last character at the edge of the page cannot be read, because it is cut off.
    is_faint: whether its ink hardly differs from the paper.
    is_changed: whether the constraints changed the text.
    breaks_constraints: whether no likely text meets the constraints.
    is_other: whether other writing stands there.
    """

    number: Number | None
    confidence: float
    rival_confidence: float = 0.0
    is_cut_off: bool = False
    runs_out: bool = False
    is_faint: bool = False
    is_changed: bool = False
    breaks_constraints: bool = False
    is_other: bool = False


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
    rotation: int = 0


def decide_page(
    results: Sequence[NumberResult],
    other_writing: float,
    constraints: Constraints | None,
    min_confidence: float,
) -> Decision:
    """Decide on a page: each number is read, or refused if its confidence is below `min_confidence`.

    The page is read if all of its numbers are, `partial` if only some are, and refused if none is. A page
    without numbers is refused if something else is written on it: where a number might stand, or by
    `other_writing`, the probability of writing elsewhere. It is blank if that is likelier.
    """
    written = [result for result in results if result.number is not None]
    if not written and any(result.is_other for result in results):
        surest = max(result.confidence for result in results if result.is_other)
        return Decision("refused", "not_a_digit", "", max(other_writing, surest))
    if not written and other_writing >= OTHER_WRITING:
        return Decision("refused", "not_a_digit", "", other_writing)
    if not written:
        empty = (1 - other_writing) * _all_right(results)
        if empty < 1 - OTHER_WRITING:
            return Decision("refused", "not_a_digit", "", 1 - empty)
        return Decision("blank", "blank", "", empty)
    if constraints is not None and constraints.is_single and len(written) > 1:
        written = [_choose_one(written)]
    numbers = tuple(_decide_number(result, min_confidence) for result in written)
    status, reason = page_status(numbers)
    is_changed = any(result.is_changed for result in written)
    return Decision(status, reason, text_of(numbers), _all_right(written), numbers, is_changed)


def _decide_number(result: NumberResult, min_confidence: float) -> Number:
    """Return a number with its status and reason."""
    assert result.number is not None
    if result.breaks_constraints:
        return result.number.refused("constraint")
    if result.runs_out:
        return result.number.refused("cut_off")
    is_sure = result.confidence >= min_confidence
    return result.number if is_sure else result.number.refused(_reason_for_doubt(result))


def _all_right(results: Sequence[NumberResult]) -> float:
    """Return the probability that all numbers are right."""
    return float(np.prod([result.confidence for result in results]))


def _choose_one(results: Sequence[NumberResult]) -> NumberResult:
    """Return the likeliest number of a picture that holds a single one.

    Its confidence becomes the probability that it is right and the only one.
    """
    likeliest, *others = sorted(
        results, key=lambda result: (not result.breaks_constraints, result.confidence), reverse=True
    )
    assert likeliest.number is not None
    confidence = likeliest.confidence * float(np.prod([1 - result.confidence for result in others]))
    return replace(
        likeliest,
        number=replace(likeliest.number, confidence=confidence),
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
