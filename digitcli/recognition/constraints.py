"""Constraints on every number of a picture: length, pattern, range, check digit. Loads no torch."""

from __future__ import annotations

import re
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from digitcli.errors import UsageError
from digitcli.strip_format import DIGITS

if TYPE_CHECKING:
    import regex

CheckDigit = Literal["luhn", "mod97", "ean"]
MATCH_SECONDS = 0.5  # after which a pattern counts as not matched: some take for ever (chosen by hand)
SEARCH_SECONDS = 0.2  # after which the search for digits that a pattern matches ends (chosen by hand)
# The share of random numbers that a check digit accepts.
SHARES_VALID: dict[CheckDigit, float] = {"luhn": 0.1, "mod97": 1 / 97, "ean": 0.1}
EAN_LENGTHS = (8, 12, 13, 14)  # digits of GTIN-8, UPC-A, EAN-13 and GTIN-14


@dataclass(frozen=True)
class Constraints:
    """Constraints that every number of a picture meets; None is no constraint.

    They are a `Grammar` of `inference.ctc`.

    lengths: the fewest and the most digits.
    values: the smallest and the largest number.
    pattern: a regular expression that matches all digits of the number.
    check_digit: the scheme of the check digit.
    is_single: whether the picture holds a single number.
    """

    lengths: tuple[int, int] | None = None
    values: tuple[int, int] | None = None
    pattern: regex.Pattern[str] | None = None
    check_digit: CheckDigit | None = None
    is_single: bool = False

    @property
    def is_of_single_digits(self) -> bool:
        """Whether every number has one digit, so that two at a bar are no fraction."""
        return self.lengths == (1, 1)

    @property
    def sets_length(self) -> bool:
        """Whether all numbers have the same number of digits, which tells groups from numbers."""
        return self.lengths is not None and self.lengths[0] == self.lengths[1]

    @property
    def share_valid(self) -> float:
        """The share of random numbers that the check digit accepts."""
        return SHARES_VALID[self.check_digit] if self.check_digit else 1.0

    def options(self) -> dict[str, str]:
        """Return the options of `digitcli predict` that give these constraints, with their values."""
        values = {
            "--length": None if self.is_single else self.lengths and "{}-{}".format(*self.lengths),
            "--range": self.values and "{}-{}".format(*self.values),
            "--pattern": self.pattern and self.pattern.pattern,
            "--check-digit": self.check_digit,
            "--single-digit": "on" if self.is_single else None,
        }
        return {name: value for name, value in values.items() if value is not None}

    def may_begin(self, text: str) -> bool:
        """Tell whether a number that meets the constraints can begin with these digits."""
        if self.lengths and len(text) > self.lengths[1]:
            return False
        if self.values and int(text or 0) > self.values[1]:
            return False
        return self.pattern is None or _matches(self.pattern, text, partial=True)

    def accepts(self, text: str) -> bool:
        """Tell whether a number meets the constraints."""
        if not text or not self.may_begin(text):
            return False
        if self.lengths and len(text) < self.lengths[0]:
            return False
        if self.values and int(text) < self.values[0]:
            return False
        if self.pattern and not _matches(self.pattern, text):
            return False
        return self.check_digit is None or has_check_digit(self.check_digit, text)

    def group(self, text: str) -> Hashable:
        """Return the state on which the check digit and the length depend.

        Under a check digit, equal states accept the same endings.
        """
        if self.check_digit:
            return len(text), _check_sums(self.check_digit, text)
        return len(text) if self.lengths or self.pattern else None


def _matches(pattern: regex.Pattern[str], text: str, partial: bool = False) -> bool:
    """Tell whether the pattern matches the text, or the beginning of a match; False after `MATCH_SECONDS`."""
    try:
        return pattern.fullmatch(text, partial=partial, timeout=MATCH_SECONDS) is not None
    except TimeoutError:
        return False


def parse_constraints(
    length: str | None = None,
    pattern: str | None = None,
    values: str | None = None,
    check_digit: str | None = None,
    single_digit: bool = False,
) -> Constraints | None:
    """Parse the values of the command's options, for example `4-6`, `\\d{5}`, `0-100` and `luhn`.

    Returns None where no option is given.

    Raises:
        UsageError: a value cannot be parsed, the length is 0, or two options set the length.
    """
    if single_digit and length is not None:
        raise UsageError("--single-digit and --length both set the number of digits.", "Give one of them.")
    lengths = (1, 1) if single_digit else _parse_span(length, "--length", "5 or 4-6")
    if lengths and lengths[1] == 0:
        raise UsageError("--length is 0.", "Give a number of digits, for example 5 or 4-6.")
    if check_digit not in (None, *get_args(CheckDigit)):
        schemes = ", ".join(get_args(CheckDigit))
        raise UsageError(f"--check-digit is '{check_digit}'.", f"Give one of {schemes}.")
    constraints = Constraints(
        lengths,
        _parse_span(values, "--range", "0-100"),
        _compile(pattern),
        check_digit,  # type: ignore[arg-type]
        single_digit,
    )
    if not _accepts_any(Constraints(pattern=constraints.pattern)):
        cause = f"--pattern '{pattern}' matches no digits."
        raise UsageError(cause, "It is for the digits without marks: for 24/07 give '\\d{4}'.")
    if not _accepts_any(constraints):
        cause = f"No number meets {' and '.join(constraints.options())} together."
        raise UsageError(cause, "Leave one of them out, or change it.")
    return None if constraints == Constraints() else constraints


def _accepts_any(constraints: Constraints) -> bool:
    """Tell whether any number meets the constraints; also true if a short search does not tell."""
    texts, end = [""], time.monotonic() + SEARCH_SECONDS
    while texts:  # depth first
        text = texts.pop()
        if constraints.accepts(text) or time.monotonic() > end:
            return True
        texts += [text + digit for digit in DIGITS if constraints.may_begin(text + digit)]
    return False


def _parse_span(text: str | None, option: str, example: str) -> tuple[int, int] | None:
    """Parse `4-6` as 4 and 6, and `5` as 5 and 5."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", text.strip(), re.ASCII)
    if match is None:
        cause = f"{option} is '{text}', which is no whole number and no two with a dash between."
        raise UsageError(cause, f"Give for example {example}.")
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high:
        raise UsageError(f"{option} is '{text}', but {low} is above {high}.", f"Give {high}-{low}.")
    return low, high


def _compile(pattern: str | None) -> regex.Pattern[str] | None:
    if pattern is None:
        return None
    import regex  # most commands need not load it

    try:
        return regex.compile(pattern, regex.ASCII)
    except (regex.error, ValueError, KeyError, RecursionError, OverflowError) as error:
        cause = f"--pattern '{pattern}' is not a regular expression: {error}."
        raise UsageError(cause, "Give a regular expression, for example '\\d{5}'.") from error


def has_check_digit(scheme: CheckDigit, text: str) -> bool:
    """Tell whether a number is right by its check digit.

    luhn: US patent 2,950,048, 1960: card numbers.
    ean: GTIN, EAN and UPC: GS1 General Specifications.
    mod97: the number leaves 1 modulo 97: ISO/IEC 7064, MOD 97-10: IBANs as numbers.
    """
    if scheme == "mod97":
        return len(text) > 2 and int(text) % 97 == 1
    has_length = len(text) in EAN_LENGTHS if scheme == "ean" else len(text) > 1
    return has_length and _check_sums(scheme, text)[len(text) % 2] == 0


def _check_sums(scheme: CheckDigit, text: str) -> tuple[int, ...]:
    """Return what numbers of one length have in common that accept the same endings.

    For luhn and ean these are two sums modulo 10, with more weight on every second digit, from the first and
    from the second on.
    """
    if scheme == "mod97":
        return (int(text or 0) % 97,)
    plain = [int(digit) for digit in text]
    weighted = [3 * digit if scheme == "ean" else 2 * digit // 10 + 2 * digit % 10 for digit in plain]
    first = sum(weighted[::2]) + sum(plain[1::2])
    second = sum(plain[::2]) + sum(weighted[1::2])
    return first % 10, second % 10
