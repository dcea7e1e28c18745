"""Readings: the digits, numbers and pages that were read, and the defaults of reading. Loads no NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from digitcli.errors import PictureError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from digitcli.imaging.grayscale import Box

# Version of the records.
SCHEMA = 1
# Share of the answers to synthetic pictures that may be wrong by default, where that was measured (chosen by
# hand). A number that is refused costs a user less than a wrong one, since it is shown with a guess.
DEFAULT_MAX_ERROR = 0.03
# Confidence below which an answer of other models is refused: it is likelier wrong than right.
MIN_CONFIDENCE = 0.5
LIKELY = 0.5  # probability from which an answer is likelier right than wrong
# Candidates for each digit and number: the best and one alternative.
TOP_K = 2
# Digit crops that a network takes at once (chosen by hand).
BATCH_SIZE = 256
# The network that finds the lines of a page, two that read them, one that reads easy pictures before, and one
# that groups digits.
DEFAULT_MODELS = ("reader", "finder", "glance", "grouper")
# A confidence by which others can be divided.
LEAST_CONFIDENCE = 1e-9
# Decimals of probabilities in records.
DECIMALS = 6
# Reasons that another attempt may not have.
TRANSIENT = frozenset({"unavailable"})
Status = Literal["read", "partial", "refused", "blank", "error"]
Rotation = Literal["auto", "0", "90", "180", "270"]


@dataclass(frozen=True)
class Digit:
    """A digit of a number.

    digit: `0` to `9`.
    confidence: the probability that it is right.
    box: x, y, width, height in pixels of the upright picture.
    alternatives: the next likely digits with their probabilities.
    image: the digit crop that a digit network saw, uint8 (28, 28), white on black.
    printed: the probability that it is printed, not written by hand; None if no network tells.
    """

    digit: str
    confidence: float
    box: Box
    alternatives: tuple[tuple[str, float], ...] = ()
    image: np.ndarray | None = field(default=None, repr=False, compare=False)
    printed: float | None = None


@dataclass(frozen=True)
class Number:
    """Digits that belong together.

    digits: the digits from left to right.
    confidence: the probability that all of them are right.
    raw: the text with its marks where a network reads them.
    alternatives: the next likely texts with their probabilities.
    row, column: the numbers of its row and its column on the page, from 0 on.
    line: the line crop that a line network saw, uint8 (40, W), ink 255 on paper 0; or the mean of a strip.
    status: `read`, or `refused` if the digits are only the best guess.
    reason: the reason code of a refused number.
    doubt: the reason code that it has if it is refused because of its confidence.
    is_changed: whether the constraints changed the text.
    """

    digits: tuple[Digit, ...]
    confidence: float
    raw: str
    alternatives: tuple[tuple[str, float], ...] = ()
    row: int | None = None
    column: int | None = None
    line: np.ndarray | None = field(default=None, repr=False, compare=False)
    status: Literal["read", "refused"] = "read"
    reason: str | None = None
    doubt: str = "low_confidence"
    is_changed: bool = False

    def refused_for(self, reason: str) -> Number:
        """Return the same number as a guess with the status `refused`, if it is not refused already."""
        return self if self.status == "refused" else replace(self, status="refused", reason=reason)

    def at_most(self, probability: float) -> Number:
        """Return the same number, which is at most so sure, and with it its digits and alternatives."""
        factor = min(1.0, probability / max(self.confidence, LEAST_CONFIDENCE))
        return replace(
            self,
            confidence=factor * self.confidence,
            doubt=self.doubt if factor == 1 else "low_confidence",
            digits=tuple(
                replace(
                    digit,
                    confidence=factor * digit.confidence,
                    alternatives=_scaled(digit.alternatives, factor),
                )
                for digit in self.digits
            ),
            alternatives=_scaled(self.alternatives, factor),
        )

    @property
    def text(self) -> str:
        """Return the digits without marks."""
        return "".join(digit.digit for digit in self.digits)

    @property
    def is_printed(self) -> bool:
        """Tell whether the digits are likelier printed than written by hand."""
        shares = [digit.printed for digit in self.digits if digit.printed is not None]
        return bool(shares) and sum(shares) / len(shares) > LIKELY

    @property
    def box(self) -> Box:
        """Return the box around all digits: x, y, width, height in pixels of the upright picture.

        A number without digits, which was seen and could not be read, has an empty box.
        """
        if not self.digits:
            return 0, 0, 0, 0
        x, y = (min(digit.box[side] for digit in self.digits) for side in (0, 1))
        right, bottom = (max(digit.box[k] + digit.box[k + 2] for digit in self.digits) for k in (0, 1))
        return x, y, right - x, bottom - y

    def record(self) -> dict[str, Any]:
        """Return the number as a part of a record."""
        digits = [
            {
                "digit": digit.digit,
                "confidence": _rounded(digit.confidence),
                "box": list(digit.box),
                "alternatives": _pairs(digit.alternatives),
            }
            for digit in self.digits
        ]
        return {
            "text": self.text,
            "raw": self.raw,
            "status": self.status,
            "reason": self.reason,
            "confidence": _rounded(self.confidence),
            "row": self.row,
            "column": self.column,
            "box": list(self.box),
            "digits": digits,
            "alternatives": _pairs(self.alternatives),
        }


@dataclass(frozen=True)
class Nothing:
    """A place where no number stands.

    confidence: the probability of that.
    is_other: whether other writing stands there.
    """

    confidence: float
    is_other: bool = False


@dataclass(frozen=True)
class Detection:
    """A line of numbers that the page finder detected.

    corners: x and y of its corners, clockwise from the upper left one, in pixels of the upright picture.
    score: the probability of a number by the page finder, before anything is read.
    has_number: whether the answer has a number there; other detections are passed over.
    """

    corners: tuple[tuple[float, float], ...]
    score: float
    has_number: bool


@dataclass(frozen=True)
class Reading:
    """The answer to a picture or to one page of a file.

    file: the name of the picture as it was given.
    page: the number of the page from 1 on, None for a picture with one page.
    status: `read` (every number is), `partial` (some numbers are read, others refused), `refused` (none is
        read; `text` is the best guess), `blank` (nothing is written), or `error`.
    reason: the reason code of every status but `read`; for `partial`, of the least certain refused number.
    text: the digits, numbers joined by one space, with the best guess for refused ones; None for `error`.
    confidence: the probability that all of `text` is right.
    numbers: the numbers in reading order.
    model: the names and identities of the weights.
    error: the error of a picture that could not be read.
    picture: the upright picture, float32 (H, W) in [0, 1]; only where the reader keeps pictures.
    ink: its ink, float32 (h, w) in [0, 1]; only where the reader keeps pictures, and has looked for ink.
    changed: whether the constraints changed the text.
    rotation: the degrees by which the page was turned clockwise before it was read; boxes are in pixels of
        the turned page.
    detections: the lines that the page finder detected, in reading order; none if it was not asked.
    index: the position of its picture among those of `Reader.read_all`.
    note: a sentence for people on why a page is not the form that it should be.
    """

    file: str
    page: int | None
    status: Status
    reason: str | None
    text: str | None
    confidence: float | None
    numbers: tuple[Number, ...]
    model: str
    error: PictureError | None = None
    picture: np.ndarray | None = field(default=None, repr=False, compare=False)
    ink: np.ndarray | None = field(default=None, repr=False, compare=False)
    changed: bool = False
    rotation: int = 0
    detections: tuple[Detection, ...] = field(default=(), repr=False, compare=False)
    index: int = field(default=0, repr=False, compare=False)
    note: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        status: Status,
        reason: str | None,
        text: str | None,
        confidence: float | None,
        numbers: tuple[Number, ...] = (),
        error: PictureError | None = None,
    ) -> Reading:
        """Return the answer to a page, before it is known of which file, and which model gave it."""
        changed = any(number.is_changed for number in numbers)
        return cls("", None, status, reason, text, confidence, numbers, "", error, changed=changed)

    def refused_for(self, reason: str) -> Reading:
        """Return the same answer as a guess, with the status `refused` for the page and all its numbers."""
        numbers = tuple(replace(number, status="refused", reason=reason) for number in self.numbers)
        return replace(self, status="refused", reason=reason, numbers=numbers)

    def without_number(self, nothing: float) -> Reading:
        """Return an answer without a number, with the probability that none is there as its confidence.

        If it is likelier that a digit is written, the page is neither blank nor without a digit, but cannot
        be read.
        """
        if nothing < LIKELY:
            return replace(self, status="refused", reason="low_confidence", confidence=nothing)
        if self.reason == "low_confidence":
            return replace(self, status="blank", reason="blank", confidence=nothing)
        return replace(self, confidence=nothing)

    def at_most(self, probability: float) -> Reading:
        """Return the same answer, which is no surer than a probability, and no number of it either."""
        if not self.numbers or self.confidence is None:
            return self
        numbers = tuple(number.at_most(probability) for number in self.numbers)
        return replace(self, numbers=numbers, confidence=min(self.confidence, probability))

    def refuse_below(self, min_confidence: float) -> Reading:
        """Return the same answer, in which numbers with a lower confidence are refused.

        The page is read if all of its numbers are, `partial` if only some are, and refused if none is.
        """
        numbers = tuple(
            number.refused_for(number.doubt) if number.confidence < min_confidence else number
            for number in self.numbers
        )
        if numbers == self.numbers:
            return self
        status, reason = page_status(numbers)
        return replace(self, status=status, reason=reason, numbers=numbers)

    @property
    def raw(self) -> str | None:
        """Return the text with the marks that were read."""
        if not self.text:
            return self.text
        return " ".join(number.raw for number in self.numbers) or self.text

    @property
    def digits(self) -> tuple[Digit, ...]:
        """Return all digits in reading order."""
        return tuple(digit for number in self.numbers for digit in number.digits)

    def record(self) -> dict[str, Any]:
        """Return the record of the page, which is one line of JSON lines."""
        return {
            "schema": SCHEMA,
            "file": self.file,
            "page": self.page,
            "status": self.status,
            "reason": self.reason,
            "text": self.text,
            "raw": self.raw,
            "confidence": None if self.confidence is None else _rounded(self.confidence),
            "numbers": [number.record() for number in self.numbers],
            "model": self.model,
            "changed": self.changed,
            "rotation": self.rotation,
        }

    def row(self) -> dict[str, Any]:
        """Return the page as a row of `ARROW_SCHEMA`: candidates have names, and an error its words."""
        record, error = self.record(), self.error
        for number in record["numbers"]:
            number["alternatives"] = _named(number["alternatives"])
            for digit in number["digits"]:
                digit["alternatives"] = _named(digit["alternatives"])
        said = error and {
            "reason": error.reason, "cause": error.cause, "transient": error.reason in TRANSIENT,
        }  # fmt: skip
        return {name: value for name, value in record.items() if name != "schema"} | {
            "index": self.index,
            "error": said,
        }


def _named(pairs: list[list[Any]]) -> list[dict[str, Any]]:
    return [{"text": text, "probability": probability} for text, probability in pairs]


def page_status(numbers: Sequence[Number]) -> tuple[Status, str | None]:
    """Return the status of a page, and the reason of its least certain refused number."""
    refused = [number for number in numbers if number.status == "refused"]
    if not refused:
        return "read", None
    status: Status = "refused" if len(refused) == len(numbers) else "partial"
    return status, min(refused, key=lambda number: number.confidence).reason


def text_of(numbers: Sequence[Number]) -> str:
    """Return the digits of numbers, joined by one space."""
    return " ".join(number.text for number in numbers)


def describe_confidence(status: str, text: str | None) -> str:
    """Return of what the confidence of an answer is the probability, if it has no digits; otherwise nothing.

    status, text: those of a reading or a number.
    """
    if text or status == "error":
        return ""
    return "that nothing is written" if status == "blank" else "that no digit is written"


def _scaled(candidates: Iterable[tuple[str, float]], factor: float) -> tuple[tuple[str, float], ...]:
    """Return candidates with other probabilities."""
    return tuple((text, factor * probability) for text, probability in candidates)


def as_percentage(probability: float) -> str:
    """Return a probability as a percentage that never claims to be certain, nor impossible."""
    if probability < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if probability >= 0.9995 else f"{100 * probability:.1f} %"


def _pairs(alternatives: Sequence[tuple[str, float]]) -> list[list[str | float]]:
    return [[text, _rounded(probability)] for text, probability in alternatives]


def _rounded(probability: float) -> float:
    return round(float(probability), DECIMALS)


def check_ranges(min_confidence: float | None, max_error: float | None, top_k: int = TOP_K) -> None:
    """Check the values that decide which answers and candidates a reading has.

    Raises:
        UsageError: a value is out of range, or both values set the minimum confidence.
    """
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise UsageError(f"--min-confidence is {min_confidence:g}.", "Give a fraction from 0 to 1, e.g. 0.9.")
    if max_error is not None and not 0 < max_error < 1:
        raise UsageError(f"--max-error is {max_error:g}.", "Give a fraction above 0 and below 1, e.g. 0.01.")
    if max_error is not None and min_confidence is not None:
        cause = "--max-error and --min-confidence both set the minimum confidence."
        raise UsageError(cause, "Give one of them.")
    if not 1 <= top_k <= 10:
        raise UsageError(f"top_k is {top_k}.", "Give a number from 1 to 10.")
