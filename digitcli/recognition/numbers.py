"""Turn what the networks say about a line, or a part of it, into a number and its confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from digitcli.imaging.grayscale import Box
from digitcli.inference.ctc import align
from digitcli.recognition.confidence import Weights, features, logistic, weights_for
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.line_reading import LEAST_PROBABILITY, MAX_LENGTH, Answer, Hypotheses, Line
from digitcli.recognition.readings import Digit, Nothing, Number
from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX, DIGITS, OTHER

# Probability that no digit is written, above which a line has no number: a blank is likelier.
EMPTY = 0.5
# The same where the weights of the confidence are known: they count it, and what the page finder says.
EMPTY_BEFORE_WEIGHTS = 0.98
# Probability that a number stands at a place, below which what is read there is passed over. Of 1,726 places
# on pages that training never sees (`finder` after 55 of its 63 epochs), this keeps 31 % of those without
# a number, and loses 0.2 % of the numbers that are read correctly and 14 % of the others, which then cannot
# be refused; 0.5 keeps 14 % and loses 25 %. The open real pictures counted too: at 0.3 doubtful numbers of
# sums and combs vanished (docs/results.md).
LEAST_PRESENCE = 0.2
CONSTRAINT_DOUBT = 0.05  # probability that a number breaks the constraints, before it is read, by hand
# Share of a line outside of the page, above which a part of it may be missing: the finder's boxes are not
# exact. Chosen by hand.
LARGEST_CUT = 0.1
EDGE_REACH = 0.3  # heights of a line from its end, within which the edge of the page may cut it off
# Probability of the two likeliest texts together, and of the second one, from which the reason is
# two_candidates (chosen by hand).
TWO_CANDIDATES, SECOND_CANDIDATE = 0.8, 0.1


def recognize(line: Line, weights: Weights, constraints: Constraints | None, top_k: int) -> Number | Nothing:
    """Read one number, at no threshold; nothing if it is likelier that none is written.

    Under constraints it is the likeliest text that meets them, unless the number likelier breaks them.
    """
    free = _scaled(line.hypotheses, line.probability)
    nothing = free.get("", 0.0)
    text = likeliest_text(free, EMPTY_BEFORE_WEIGHTS if weights.acceptance else EMPTY)
    is_there = 0.0
    if text:
        values = features(line, text, min(1.0, free[text]), nothing)
        presence = weights_for(weights.presence, is_alone=line.is_alone)
        is_there = logistic(values, presence) if presence else 1.0
    if is_there < LEAST_PRESENCE:
        return Nothing(1 - is_there if text else nothing, is_other=OTHER in line.raw)
    if constraints is None:
        return _number(line, weights, free, text, nothing, top_k)
    hypotheses, is_changed = free, line.is_demanded or not constraints.accepts(text)
    if not constraints.accepts(text):
        hypotheses = _scaled(line.hypotheses_of(constraints), line.probability)
        if breaks_constraints(free, hypotheses, constraints):
            return _number(line, weights, free, text, nothing, top_k).refused_for("constraint")
    share = max(line.probability, LEAST_PROBABILITY)  # which constraints do not change
    hypotheses = _scaled(given_constraints(_scaled(hypotheses, 1 / share), constraints), share)
    text = max(hypotheses, key=lambda each: hypotheses[each])
    number = _number(line, weights, hypotheses, text, nothing, top_k)
    return replace(number, is_changed=True, doubt="constraint") if is_changed else number


def _scaled(hypotheses: Hypotheses, factor: float) -> Hypotheses:
    return {text: factor * probability for text, probability in hypotheses.items()}


def likeliest_text(hypotheses: Hypotheses, empty_threshold: float) -> str:
    """Return the likeliest text; the empty one only if its probability is above `empty_threshold`."""
    written = [text for text in hypotheses if text]
    if not written or hypotheses.get("", 0.0) > empty_threshold:
        return ""
    return max(written, key=lambda text: hypotheses[text])


def given_constraints(hypotheses: Hypotheses, constraints: Constraints) -> Hypotheses:
    """Return the hypotheses that meet the constraints, with their probabilities given that they are met.

    `CONSTRAINT_DOUBT` stays as the probability that the number breaks the constraints.
    """
    accepted = {text: share for text, share in hypotheses.items() if constraints.accepts(text)}
    total = sum(accepted.values())
    return {text: share / (total + CONSTRAINT_DOUBT * (1 - total)) for text, share in accepted.items()}


def breaks_constraints(free: Hypotheses, accepted: Hypotheses, constraints: Constraints) -> bool:
    """Tell whether a number likelier breaks the constraints than that the networks misread it (Bayes' rule).

    free: the texts without constraints.
    accepted: those that meet them, which fewer texts do the stricter a check digit is.
    """
    meets = sum(accepted.values()) / constraints.share_valid
    breaks = sum(share for text, share in free.items() if text and not constraints.accepts(text))
    return meets * (1 - CONSTRAINT_DOUBT) < breaks * CONSTRAINT_DOUBT


def recalibrated(hypotheses: Hypotheses, text: str, confidence: float) -> Hypotheses:
    """Return the hypotheses with another probability of a text, so that they still add up to 1 at most.

    Where the text becomes likelier, the others share what it leaves. Where it becomes less likely, they do so
    as well, since what speaks against it (whether a number stands there, whether it is whole) speaks against
    them too; the rest belongs to none of them.
    """
    before = hypotheses[text]
    if confidence < before:
        factor = confidence / before
    else:
        factor = min(1.0, (1 - confidence) / max(1 - before, LEAST_PROBABILITY))
    return _scaled(hypotheses, factor) | {text: confidence}


def digit_shares(hypotheses: Hypotheses, text: str, place: int) -> dict[str, float]:
    """Return the probability of each digit at a place, over the hypotheses that are as long as `text`."""
    shares: dict[str, float] = {}
    for hypothesis, probability in hypotheses.items():
        if len(hypothesis) == len(text):
            shares[hypothesis[place]] = shares.get(hypothesis[place], 0.0) + probability
    return shares


def with_unlikely_digits(shares: dict[str, float], column: np.ndarray) -> dict[str, float]:
    """Add the digits that are too unlikely for any hypothesis, from their column (11,) of log-probabilities.

    Together they have at most the probability that the others leave.
    """
    rest = {digit: math.exp(column[int(digit)]) for digit in DIGITS if digit not in shares}
    left = max(0.0, 1 - sum(shares.values()))
    scale = min(1.0, left / max(sum(rest.values()), LEAST_PROBABILITY))
    return shares | {digit: scale * share for digit, share in rest.items()}


def without_text(candidates: Hypotheses, text: str) -> list[tuple[str, float]]:
    """Return the other candidates with their probabilities, the likeliest first."""
    return sorted(
        (pair for pair in candidates.items() if pair[0] not in ("", text)), key=lambda pair: -pair[1]
    )


def _number(
    line: Line, weights: Weights, hypotheses: Hypotheses, text: str, nothing: float, top_k: int
) -> Number:
    """Return a text as a number; `nothing` is the probability that no digit stands there."""
    confidence = probability = min(1.0, hypotheses[text])
    if weights.acceptance:
        values = features(line, text, probability, nothing)
        confidence = logistic(values, weights_for(weights.acceptance, is_alone=line.is_alone))
    hypotheses = recalibrated(hypotheses, text, confidence)
    answer, columns = _aligned(line.answers, text)
    prints = _prints(line.answers, text)
    digits = []
    for place, (digit, box) in enumerate(zip(text, _boxes(line, answer, columns, text), strict=True)):
        shares = digit_shares(hypotheses, text, place)
        if columns:
            shares = with_unlikely_digits(shares, answer.columns[columns[place]])
        others = without_text(shares, digit)[: top_k - 1]
        digits.append(Digit(digit, min(1.0, shares[digit]), box, tuple(others), printed=prints[place]))
    rivals = without_text(hypotheses, text)
    first = line.answers[0]
    start, end = (
        COLUMN_PX * column for column in (first.first_column, first.first_column + len(first.columns))
    )
    number = Number(
        tuple(digits),
        confidence=confidence,
        raw=text_with_marks(line.answers, text),
        row=line.row,
        alternatives=tuple(rivals[: top_k - 1]),
        line=first.strip.image[0, :, start:end],
        doubt=_doubt_of(line, confidence, rivals[0][1] if rivals else 0.0),
    )
    return number.refused_for("cut_off") if _runs_out(line) else number


def _doubt_of(line: Line, confidence: float, rival: float) -> str:
    """Return the reason code that tells why a number is not more certain."""
    first = line.answers[0].strip
    if line.found.box.share_outside(first.picture_size) > LARGEST_CUT:
        return "cut_off"
    if any(answer.strip.is_faint for answer in line.answers):
        return "too_faint"
    return reason_for_doubt(confidence, rival)


def reason_for_doubt(confidence: float, rival: float) -> str:
    """Return the reason code for the confidences of the answer and of the second likeliest text."""
    has_two = confidence + rival >= TWO_CANDIDATES and rival >= SECOND_CANDIDATE
    return "two_candidates" if has_two else "low_confidence"


def _runs_out(line: Line) -> bool:
    """Tell whether a line is too long, or cut off by the edge of the page within a character.

    Every strip must show so, by each network that knows other characters.
    """
    box, size = line.found.box, np.array(line.answers[0].strip.picture_size)
    if box.length > MAX_LENGTH * box.height:
        return True
    raws = [answer.raw for answer in line.answers if OTHER in answer.alphabet and answer.raw]
    if not raws:
        return False
    reach = np.array([np.cos(box.angle), np.sin(box.angle)]) * (box.length / 2 + EDGE_REACH * box.height)
    sides = ((0, line.is_first, -reach), (-1, line.is_last, reach))
    ends = [(place, (box.x, box.y) + side) for place, is_end, side in sides if is_end]
    return any(
        all(raw[place] == OTHER for raw in raws) and bool(((point <= 0) | (point >= size)).any())
        for place, point in ends
    )


def _aligned(answers: Sequence[Answer], text: str) -> tuple[Answer, list[int]]:
    """Return the answer that is surest of a text, of those with boxes, and the column of each digit.

    There are no columns where none has as many columns as the text needs.
    """

    def rank(answer: Answer) -> tuple[bool, float]:
        return answer.distances is not None, answer.likely_texts.get(text, 0.0)

    for answer in sorted(answers, key=rank, reverse=True):  # stable
        columns = align(answer.columns, text)
        if len(columns) == len(text):
            return answer, columns
    return answers[0], []


def _prints(answers: Sequence[Answer], text: str) -> Sequence[float | None]:
    """Return the probability that each digit is printed, by the first network that tells it."""
    for answer in answers:
        columns = align(answer.columns, text)
        if answer.prints is not None and len(columns) == len(text):
            return [float(share) for share in answer.prints[columns]]
    return [None] * len(text)


def _boxes(line: Line, answer: Answer, columns: Sequence[int], text: str) -> list[Box]:
    """Return the box of each digit, which a line network predicts; else the box of the whole strip."""
    if columns and answer.distances is not None:
        return [box_at(answer, column) for column in columns]
    strip = line.answers[0].strip
    return [strip.box_on_picture(0, 0, strip.image.shape[2], strip.image.shape[1])] * len(text)


def box_at(answer: Answer, column: int) -> Box:
    """Return the box on the page of the character at a column, from its distances to the four sides."""
    assert answer.distances is not None
    to_left, to_right, top, bottom = (answer.distances[column] * BOX_SCALE_PX).tolist()
    x = (answer.first_column + column + 0.5) * COLUMN_PX
    return answer.strip.box_on_picture(x - max(to_left, 1), top, x + max(to_right, 1), max(bottom, top + 1))


def text_with_marks(answers: Sequence[Answer], text: str) -> str:
    """Return the text with its marks, from the first strip that shows its digits; else the digits alone."""
    for answer in answers:
        if "".join(character for character in answer.raw if character.isdecimal()) == text:
            return answer.raw.replace(OTHER, "").replace(" ", "")
    return text
