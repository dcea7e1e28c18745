"""Choose the status of each number and of a page that networks read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import (
    SECOND_CANDIDATE,
    TWO_CANDIDATES,
    Decision,
    page_status,
)
from digitcli.recognition.pages.recognize import NumberResult
from digitcli.recognition.results import Number, text_of

# Probability of other writing from which a page without numbers is not blank: it is likelier than not.
OTHER_WRITING = 0.5


def decide_page(
    results: Sequence[NumberResult],
    other_writing: float,
    constraints: Constraints | None,
) -> Decision:
    """Decide on a page: each number is read, or refused for another reason than its confidence.

    A page without numbers is refused if something else is written on it: where a number might stand, or by
    `other_writing`, the probability of writing elsewhere. It is blank if that is likelier, and refused as
    hard to read if many places may each show a number.
    """
    written = [result for result in results if result.number is not None]
    if not written and any(result.is_other for result in results):
        surest = max(result.confidence for result in results if result.is_other)
        return Decision("refused", "not_a_digit", "", max(other_writing, surest))
    if not written and other_writing >= OTHER_WRITING:
        return Decision("refused", "not_a_digit", "", other_writing)
    if not written:
        empty = (1 - other_writing) * _all_right(results)
        return Decision("blank", "blank", "", empty).without_number(empty)
    if constraints is not None and constraints.is_single and len(written) > 1:
        written = [_choose_one(written)]
    numbers = tuple(map(_decide_number, written))
    status, reason = page_status(numbers)
    is_changed = any(result.is_changed for result in written)
    return Decision(status, reason, text_of(numbers), _all_right(written), numbers, is_changed)


def _decide_number(result: NumberResult) -> Number:
    """Return a number with its status and reason, and the reason for its doubt."""
    assert result.number is not None
    if result.breaks_constraints:
        return result.number.refused("constraint")
    if result.runs_out:
        return result.number.refused("cut_off")
    return replace(result.number, doubt=_reason_for_doubt(result))


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
