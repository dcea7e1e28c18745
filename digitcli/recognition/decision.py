"""Stage 4 of the reading pipeline, decide: choose the status of each number and of the page.

The texts and confidences are the same at every threshold. `Decision.refuse_below` compares with it last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digitcli.errors import PictureError
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.grouping import group_lines
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
# Confidence of a single number from which networks that read whole pages are not asked (chosen by hand).
EASY = 0.9
# The same of the network that reads whole pictures, from which nothing else is asked: of 1,868 such
# answers to pictures of held-out hands, fonts and generators 2 were wrong, and 16 of 2,136 from 0.9 on.
CERTAIN = 0.97
# Confidence from which a number on a whole page counts against the regions of its ink: it is likelier right.
LIKELY = 0.5
# Reasons for a refusal that do not lower the confidence.
FIRM_REASONS = ("constraint", "cut_off")
# Probability of the two likeliest texts together, from which the reason is two_candidates (chosen by hand).
TWO_CANDIDATES = 0.8
# Least probability of the second text, from which the reason is two_candidates (chosen by hand).
SECOND_CANDIDATE = 0.1


@dataclass(frozen=True)
class Decision:
    """The answer of a page, see `Reading` for its fields.

    is_fraction: whether the page shows nothing but a stacked fraction.
    rotation: the degrees by which the page was turned clockwise.
    """

    status: Status
    reason: str | None
    text: str | None
    confidence: float | None
    numbers: tuple[Number, ...] = ()
    is_changed: bool = False
    error: PictureError | None = None
    is_fraction: bool = False
    rotation: int = 0

    @property
    def is_easy(self) -> bool:
        """Whether one number, and no other, was read for certain."""
        is_sure = self.confidence is not None and self.confidence >= EASY
        return self.status == "read" and len(self.numbers) == 1 and is_sure

    @property
    def is_certain(self) -> bool:
        """Whether the network that reads whole pictures has read one number for certain."""
        return self.confidence is not None and self.confidence >= CERTAIN

    def is_confirmed_by(self, other: Decision | None) -> bool:
        """Return whether one number is read, likely rightly, and another network reads the same, marks too.

        Of 405 such answers to pictures of held-out hands, fonts and generators, whatever their marks, 12 were
        wrong.
        """
        is_one = self.status == "read" and len(self.numbers) == 1 and _is_likely(self.numbers[0])
        if not is_one or other is None or len(other.numbers) != 1:
            return False
        return (other.text, other.numbers[0].raw) == (self.text, self.numbers[0].raw)

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


def decide_page(regions: Sequence[RegionResult], constraints: Constraints | None) -> Decision:
    """Decide on a page: each number is read, or refused for another reason than its confidence."""
    if not any(region.numbers or region.has_ink for region in regions):
        return BLANK
    empty_confidence = _all_right([region for region in regions if not region.numbers])
    written = [region for region in regions if region.numbers]
    if not written:
        return _not_a_digit(empty_confidence)
    if constraints is not None and constraints.is_single and len(written) > 1:
        written = [_choose_one(written)]
    confidence = empty_confidence * _all_right(written)
    is_changed = any(region.is_changed for region in written)
    if constraints is None and _are_guesses(written):
        return _not_a_digit(NOT_A_DIGIT_CONFIDENCE)
    if constraints is None and all(region.is_in_fraction for region in written):
        return replace(_not_a_digit(confidence), is_fraction=True)
    numbers = _with_rows([number for region in written for number in _decide_region(region)])
    status, reason = page_status(numbers)
    return Decision(status, reason, text_of(numbers), confidence, numbers, is_changed)


def _with_rows(numbers: Sequence[Number]) -> tuple[Number, ...]:
    """Return numbers that know their row on the page."""
    rows = group_lines(np.array([number.box for number in numbers]))
    row_of = {index: row for row, indices in enumerate(rows) for index in indices}
    return tuple(replace(number, row=row_of[index]) for index, number in enumerate(numbers))


def _are_guesses(regions: Sequence[RegionResult]) -> bool:
    """Return whether several regions are so uncertain that the page is a photograph or a text."""
    return len(regions) > 1 and _all_right(regions) ** (1 / len(regions)) < GUESS_CONFIDENCE


def _decide_region(region: RegionResult) -> list[Number]:
    """Return the numbers of a region, each with its status and reason, and the reason for its doubt."""
    if region.breaks_constraints:
        return [number.refused("constraint") for number in region.numbers]
    if region.is_in_fraction:
        return [number.refused("not_a_digit") for number in region.numbers]
    if region.runs_out:
        return [number.refused("cut_off") for number in region.numbers]
    return [replace(number, doubt=_reason_for_doubt(region, number)) for number in region.numbers]


def page_status(numbers: Sequence[Number]) -> tuple[Status, str | None]:
    """Return the status of a page, and the reason of its least certain refused number."""
    refused = [number for number in numbers if number.status == "refused"]
    if not refused:
        return "read", None
    status: Status = "refused" if len(refused) == len(numbers) else "partial"
    return status, min(refused, key=lambda number: number.confidence).reason


def choose(by_ink: Decision, whole: Decision) -> Decision:
    """Choose between the regions of the ink on a page, and networks that read the whole page.

    The latter find several numbers better, and read a single one better: in 98 pictures of one number in
    which both read different texts (composed ones, and kinds that training never sees), they were right in 85
    and the former in 4. Where both find as many numbers, the answer with more likely ones counts, and then
    the surer. A single number that breaks the constraints or is cut off, or is unlikely because of that,
    gives way first.
    """
    if by_ink.is_fraction or not whole.numbers:
        return by_ink
    likely_by_ink, likely = (sum(map(_is_likely, each.numbers)) for each in (by_ink, whole))
    if len(by_ink.numbers) != len(whole.numbers):
        return whole if likely else by_ink
    if len(whole.numbers) > 1 and likely != likely_by_ink:
        return whole if likely > likely_by_ink else by_ink
    is_doubtful = [decision.refuse_below(LIKELY).reason in FIRM_REASONS for decision in (by_ink, whole)]
    if is_doubtful[0] != is_doubtful[1]:
        return whole if is_doubtful[0] else by_ink
    if len(whole.numbers) == 1 and by_ink.text != whole.text:
        return whole
    return surer(whole, by_ink)


def surer(first: Decision, second: Decision) -> Decision:
    """Return the surer of two answers, and the first one if they are as sure."""
    return max(first, second, key=lambda decision: decision.confidence or 0.0)


def _is_likely(number: Number) -> bool:
    return number.confidence >= LIKELY and number.reason not in FIRM_REASONS


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


def _choose_one(regions: Sequence[RegionResult]) -> RegionResult:
    """Return the likeliest region of a picture that holds a single number.

    The confidence of its number becomes the probability that it is right and the only one.
    """
    likeliest, *others = sorted(
        regions, key=lambda region: (not region.breaks_constraints, region.confidence), reverse=True
    )
    alone = float(np.prod([1 - region.confidence for region in others]))
    return replace(
        likeliest,
        numbers=tuple(replace(each, confidence=each.confidence * alone) for each in likeliest.numbers),
        confidence=likeliest.confidence * alone,
        is_changed=not likeliest.breaks_constraints,
    )


def _reason_for_doubt(region: RegionResult, number: Number) -> str:
    """Return the reason code that tells why a number of a region is not more certain."""
    if region.is_changed:
        return "constraint"
    if region.is_cut_off:
        return "cut_off"
    together = number.confidence + region.rival_confidence
    has_two = together >= TWO_CANDIDATES and region.rival_confidence >= SECOND_CANDIDATE
    return "two_candidates" if has_two and len(region.numbers) == 1 else "low_confidence"
