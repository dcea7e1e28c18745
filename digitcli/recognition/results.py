"""What was read in a picture, and the record that other programs get of it. Loads no NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from digitcli.errors import PictureError

if TYPE_CHECKING:
    import numpy as np

    from digitcli.imaging.components import Box

SCHEMA = 1
MIN_CONFIDENCE = 0.5  # below it an answer is more likely wrong than right
TOP_K = 2
DEFAULT_MODELS = ("reader", "digit_or_none")  # lines, and digits that stand alone
Status = Literal["read", "refused", "blank", "error"]
FIELDS = ("file", "page", "status", "reason", "text", "raw", "confidence", "model")  # of a CSV row
_DECIMALS = 6


@dataclass(frozen=True)
class Digit:
    """One digit: `box` is x, y, width, height in pixels of the upright picture, `alternatives` are the next
    likely digits with their probabilities, `image` is uint8 (28, 28), white on black, as the network saw it.
    """

    digit: str
    confidence: float
    box: Box
    alternatives: tuple[tuple[str, float], ...] = ()
    image: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Number:
    """Digits that stand together; `confidence` is the probability that all of them are right.

    `raw` has the marks too where a model reads them; `alternatives` are the next likely strings with their
    probabilities; `line`, uint8 (40, W), ink 255 on paper 0, is what a line network saw.
    """

    digits: tuple[Digit, ...]
    confidence: float
    raw: str
    alternatives: tuple[tuple[str, float], ...] = ()
    line: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The digits."""
        return "".join(digit.digit for digit in self.digits)

    @property
    def box(self) -> Box:
        """Around all digits: x, y, width, height in pixels of the upright picture."""
        x, y = (min(digit.box[side] for digit in self.digits) for side in (0, 1))
        right, bottom = (max(digit.box[k] + digit.box[k + 2] for digit in self.digits) for k in (0, 1))
        return x, y, right - x, bottom - y

    def record(self) -> dict[str, Any]:
        """The number as a part of a record."""
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
            "confidence": _rounded(self.confidence),
            "box": list(self.box),
            "digits": digits,
            "alternatives": _pairs(self.alternatives),
        }


@dataclass(frozen=True)
class Reading:
    """What was read in one picture, or in one page of a file.

    `status` is `read`; `refused` (not sure enough, `text` is the best guess); `blank` (nothing is written);
    or `error` (`text` is None and `error` says why). `reason` is one word for all but `read`, `page` counts
    from 1 where a file has several, `confidence` is the probability that the whole `text` is right, `model`
    names the weights. `changed` where what was asked of the numbers made another text of it. `picture` (grey,
    float32 (H, W) in [0, 1], upright) and `ink` (what of it was taken for ink) are there only where a reader
    was asked to keep them.
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

    @property
    def raw(self) -> str | None:
        """The text with the marks that were read."""
        if not self.text:
            return self.text
        return " ".join(number.raw for number in self.numbers) or self.text

    @property
    def digits(self) -> tuple[Digit, ...]:
        """All digits in reading order."""
        return tuple(digit for number in self.numbers for digit in number.digits)

    def record(self) -> dict[str, Any]:
        """The record of the page as a line of JSON lines."""
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
        }


def text_of(numbers: Sequence[Number]) -> str:
    """Numbers that stand apart, joined by one space."""
    return " ".join(number.text for number in numbers)


def _pairs(alternatives: Sequence[tuple[str, float]]) -> list[list[str | float]]:
    return [[other, _rounded(probability)] for other, probability in alternatives]


def _rounded(probability: float) -> float:
    return round(float(probability), _DECIMALS)
