"""What is asked of a number: its length, a pattern, a range, a check digit. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from digitcli.errors import UsageError

if TYPE_CHECKING:
    import regex

Check = Literal["luhn", "mod97", "ean"]
MATCH_SECONDS = 0.5
EAN_LENGTHS = (8, 12, 13, 14)  # GTIN-8, UPC-A, EAN-13, GTIN-14


@dataclass(frozen=True)
class Asked:
    """Holds for each number of a picture; what is None is not asked. A grammar of `decoding`.

    `lengths` are the fewest and the most digits, `values` the smallest and the largest number; `pattern` is a
    regular expression that the digits match as a whole. `single` where a picture holds one number.
    """

    lengths: tuple[int, int] | None = None
    values: tuple[int, int] | None = None
    pattern: regex.Pattern[str] | None = None
    check: Check | None = None
    single: bool = False

    def may_begin(self, text: str) -> bool:
        """Whether a number as asked for can begin so."""
        if self.lengths and len(text) > self.lengths[1]:
            return False
        if self.values and int(text or 0) > self.values[1]:
            return False
        return self.pattern is None or _matches(self.pattern, text, partial=True)

    def accepts(self, text: str) -> bool:
        """Whether a number is as asked for."""
        if not text or not self.may_begin(text):
            return False
        if self.lengths and len(text) < self.lengths[0]:
            return False
        if self.values and int(text) < self.values[0]:
            return False
        if self.pattern and not _matches(self.pattern, text):
            return False
        return self.check is None or CHECKS[self.check](text)

    def group(self, text: str) -> Hashable:
        """What the check digit that is to come depends on."""
        match self.check:
            case "luhn":
                return _luhn_sums(text)
            case "ean":
                return _ean_sums(text)
            case "mod97":
                return int(text or 0) % 97
            case None:
                return len(text) if self.lengths or self.pattern else None


def _matches(pattern: regex.Pattern[str], text: str, partial: bool = False) -> bool:
    """Whether it matches, or the beginning of a match; one that takes too long to tell does not."""
    try:
        return pattern.fullmatch(text, partial=partial, timeout=MATCH_SECONDS) is not None
    except TimeoutError:
        return False


def asked_of(
    length: str | None = None,
    pattern: str | None = None,
    values: str | None = None,
    check: str | None = None,
    single: bool = False,
) -> Asked | None:
    """From what a person types: `5` or `4-6`, `\\d{5}`, `0-100`, `luhn`; None where nothing is asked.

    Raises:
        UsageError: one of them cannot be understood, or no number can meet them.
    """
    if single and length is not None:
        raise UsageError("--single asks for one digit, --length for another number.", "Give one of them.")
    lengths = (1, 1) if single else _span(length, "--length", "5 or 4-6")
    if lengths and lengths[1] == 0:
        raise UsageError("--length is 0.", "Give a number of digits, such as 5 or 4-6.")
    if check not in (None, *get_args(Check)):
        raise UsageError(f"--check is '{check}'.", f"Take one of {', '.join(get_args(Check))}.")
    asked = Asked(
        lengths,
        _span(values, "--range", "0-100"),
        _compiled(pattern),
        check,  # type: ignore[arg-type]
        single,
    )
    return None if asked == Asked() else asked


def _span(text: str | None, option: str, example: str) -> tuple[int, int] | None:
    """`4-6` as 4 and 6, `5` as 5 and 5."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", text.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"{option} is '{text}'.", f"Give {example}.")
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high:
        raise UsageError(f"{option} is '{text}', from more to less.", f"Give {high}-{low}.")
    return low, high


def _compiled(pattern: str | None) -> regex.Pattern[str] | None:
    if pattern is None:
        return None
    import regex  # which most commands need not load

    try:
        return regex.compile(pattern, regex.ASCII)
    except (regex.error, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise UsageError(
            f"--pattern '{pattern}' is no regular expression: {error}.", "Give one such as '\\d{5}'."
        ) from error


def _luhn_sums(text: str) -> tuple[int, int]:
    """The sum of the digits with every second one doubled, from the first one on and from the second on."""
    doubled = [int(digit) * 2 // 10 + int(digit) * 2 % 10 for digit in text]
    plain = [int(digit) for digit in text]
    first = sum(doubled[::2]) + sum(plain[1::2])
    second = sum(plain[::2]) + sum(doubled[1::2])
    return first % 10, second % 10


def _ean_sums(text: str) -> tuple[int, int]:
    """The same with every second digit three times."""
    odd, even = sum(map(int, text[::2])), sum(map(int, text[1::2]))
    return (3 * odd + even) % 10, (odd + 3 * even) % 10


def has_luhn(text: str) -> bool:
    """Luhn, US patent 2,950,048, 1960: card numbers."""
    return len(text) > 1 and _luhn_sums(text)[len(text) % 2] == 0


def has_ean(text: str) -> bool:
    """The check digit of GTINs, which EAN and UPC are (GS1 General Specifications)."""
    return len(text) in EAN_LENGTHS and _ean_sums(text)[len(text) % 2] == 0


def has_mod97(text: str) -> bool:
    """ISO/IEC 7064, MOD 97-10: the number leaves 1."""
    return len(text) > 2 and int(text) % 97 == 1


CHECKS = {"luhn": has_luhn, "ean": has_ean, "mod97": has_mod97}
