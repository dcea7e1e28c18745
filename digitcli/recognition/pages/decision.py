"""Choose the status of each number and of a page that networks read as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import Decision, all_right, choose_one, decide_number, decision_of
from digitcli.recognition.number_result import NumberResult

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
        empty = (1 - other_writing) * all_right(results)
        return Decision("blank", "blank", "", empty).without_number(empty)
    if constraints is not None and constraints.is_single and len(written) > 1:
        written = [choose_one(written)]
    return decision_of([decide_number(result) for result in written], written, all_right(written))
