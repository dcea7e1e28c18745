"""Decide what a page shows: its numbers, nothing, or something that is no number.

The texts and confidences are the same at every threshold: `Reading.refuse_below` compares with it last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from digitcli.errors import PictureError
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.layout import place_numbers
from digitcli.recognition.readings import Nothing, Number, Reading, page_status, text_of

# Probability that a page without ink is blank; measured by benchmarks/pictures.py blank.
BLANK_CONFIDENCE = 0.9
# Confidence of the answer that a page of several guesses shows no number: it may show one.
NOT_A_DIGIT_CONFIDENCE = 0.5
# Probability of other writing from which a page without numbers is not blank: it is likelier than not.
OTHER_WRITING = 0.5

BLANK = Reading.of("blank", "blank", "", BLANK_CONFIDENCE)
NOT_A_DIGIT = Reading.of("refused", "not_a_digit", "", NOT_A_DIGIT_CONFIDENCE)


def decide_page(
    places: Sequence[Number | Nothing], other_writing: float, constraints: Constraints | None
) -> Reading:
    """Decide on a page, given what stands at the places where a number was looked for.

    A page without numbers is refused if something else is written on it: where a number might stand, or by
    `other_writing`, the probability of writing elsewhere. It is blank if that is likelier, and refused as
    hard to read if many places may each show a number.
    """
    numbers = [place for place in places if isinstance(place, Number)]
    if numbers:
        return decide_numbers(numbers, constraints)
    other = [place.confidence for place in places if isinstance(place, Nothing) and place.is_other]
    if other or other_writing >= OTHER_WRITING:
        return Reading.of("refused", "not_a_digit", "", max(other_writing, *other, 0.0))
    empty = (1 - other_writing) * all_right(places)
    return Reading.of("blank", "blank", "", empty).without_number(empty)


def decide_numbers(numbers: Sequence[Number], constraints: Constraints | None, share: float = 1.0) -> Reading:
    """Return the answer to a page with numbers; `share` is the probability that there are no others."""
    if constraints is not None and constraints.is_single and len(numbers) > 1:
        numbers = [choose_one(numbers, constraints)]
    status, reason = page_status(numbers)
    confidence = share * all_right(numbers)
    return Reading.of(status, reason, text_of(numbers), confidence, place_numbers(numbers))


def decide_error(error: PictureError) -> Reading:
    """Return the answer of a page that could not be read."""
    return Reading.of("error", error.reason, None, None, error=error)


def all_right(places: Sequence[Number | Nothing]) -> float:
    """Return the probability that all answers are right."""
    return math.prod(place.confidence for place in places)


def choose_one(numbers: Sequence[Number], constraints: Constraints) -> Number:
    """Return the likeliest number of a picture that holds a single one.

    Its confidence becomes the probability that it is right and the only one.
    """
    likeliest, *others = sorted(
        numbers, key=lambda each: (constraints.accepts(each.text), each.confidence), reverse=True
    )
    alone = math.prod(1 - number.confidence for number in others)
    chosen = likeliest.at_most(likeliest.confidence * alone)
    is_met = constraints.accepts(likeliest.text)
    return replace(chosen, is_changed=is_met, doubt="constraint" if is_met else chosen.doubt)
