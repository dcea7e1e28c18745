"""What is asked of a number is understood, kept to, and refused where it makes no sense."""

from __future__ import annotations

import random

import pytest

from digitcli.errors import UsageError
from digitcli.recognition.constraints import Asked, asked_of, has_ean, has_luhn, has_mod97


@pytest.mark.parametrize("number", ["79927398713", "4539148803436467", "378282246310005", "18", "00"])
def test_luhn_numbers(number: str) -> None:
    assert has_luhn(number)
    for place, digit in enumerate(number):  # any single digit that is wrong is found
        wrong = number[:place] + str((int(digit) + 1) % 10) + number[place + 1 :]
        assert not has_luhn(wrong)


@pytest.mark.parametrize("number", ["4006381333931", "73513537", "036000291452", "00012345600012"])
def test_ean_numbers(number: str) -> None:
    assert has_ean(number)
    assert not has_ean(number[:-1] + str((int(number[-1]) + 1) % 10))
    assert not has_ean(number[:7])


def test_mod97_is_that_of_an_iban() -> None:
    assert has_mod97("3214282912345698765432161182")  # GB82 WEST 1234 5698 7654 32 as its number
    assert not has_mod97("3214282912345698765432161128")
    assert not has_mod97("1")


@pytest.mark.parametrize(
    ("options", "good", "bad"),
    [
        ({"length": "5"}, ["12345", "00000"], ["1234", "123456", ""]),
        ({"length": "4-6"}, ["1234", "123456"], ["123", "1234567"]),
        ({"pattern": r"\d{5}"}, ["12345"], ["1234", "123456"]),
        ({"pattern": "19|20\\d\\d"}, ["19", "2026"], ["1926", "20"]),
        ({"values": "0-100"}, ["0", "007", "100"], ["101", "1000"]),
        ({"values": "12"}, ["12", "012"], ["11", "13", "1"]),
        ({"check": "luhn"}, ["18"], ["19"]),
        ({"check": "ean", "length": "8"}, ["73513537"], ["4006381333931"]),
        ({"single": True}, ["7"], ["77", ""]),
    ],
)
def test_what_is_asked_for_is_told_from_the_rest(
    options: dict[str, object], good: list[str], bad: list[str]
) -> None:
    asked = asked_of(**options)  # type: ignore[arg-type]
    assert asked is not None
    assert all(asked.accepts(text) for text in good), good
    assert not any(asked.accepts(text) for text in bad), bad
    for text in good:
        assert all(asked.may_begin(text[:end]) for end in range(len(text) + 1)), text


@pytest.mark.parametrize("check", ["luhn", "ean", "mod97"])
def test_numbers_of_one_group_take_the_same_endings(check: str) -> None:
    asked, draw = asked_of(check=check), random.Random(0)
    assert asked is not None
    met: dict[tuple[object, int], str] = {}
    for _ in range(3000):
        text = "".join(draw.choices("0123456789", k=draw.randint(6, 8)))
        rival = met.setdefault((asked.group(text), len(text)), text)
        ending = "".join(draw.choices("0123456789", k=6 - len(text) % 2))
        assert asked.accepts(text + ending) == asked.accepts(rival + ending)


def test_nothing_asked_is_nothing() -> None:
    assert asked_of() is None and Asked().accepts("3") and not Asked().accepts("")


@pytest.mark.parametrize(
    "options",
    [
        {"length": "five"},
        {"length": "0"},
        {"length": "6-4"},
        {"length": "-3"},
        {"length": "3-"},
        {"length": "²"},
        {"length": "3", "single": True},
        {"pattern": "("},
        {"values": "a-b"},
        {"values": "9-1"},
        {"check": "crc"},
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        asked_of(**options)  # type: ignore[arg-type]
