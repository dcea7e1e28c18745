"""Constraints are parsed, kept to, and refused where no number can meet them."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from digitcli.errors import UsageError
from digitcli.recognition.constraints import (
    SHARES_VALID,
    CheckDigit,
    Constraints,
    has_check_digit,
    parse_constraints,
)

DIGITS = st.text("0123456789", min_size=1, max_size=20)
SHORT = st.text("0123456789", max_size=5)
PATTERNS = [
    r"\d{5}", r"1\d*", r"(12|34)+5?", r"0|[1-9]\d{0,3}", r"\d\d(?:00|50)", r"(?=.*7)\d+", r"[02468]*",
    r"(\d)\1+",
]  # fmt: skip


@st.composite
def spans(draw: st.DrawFn, largest: int, least: int = 0) -> str:
    """Return `5` or `4-6`, as a person types it."""
    low = draw(st.integers(least, largest))
    return str(low) if draw(st.booleans()) else f"{low}-{draw(st.integers(low, largest))}"


@st.composite
def options(draw: st.DrawFn) -> dict[str, str]:
    """Return any combination of constraints that no number needs to meet."""
    every = {
        "length": draw(spans(5, least=1)),
        "values": draw(spans(5000)),
        "pattern": draw(st.sampled_from(PATTERNS)),
        "check_digit": draw(st.sampled_from([*SHARES_VALID])),
    }
    return {name: every[name] for name in draw(st.sets(st.sampled_from([*every]), min_size=1))}


def meets(text: str, chosen: dict[str, str]) -> bool:
    """Tell whether a number meets constraints, the slow and obvious way."""

    def within(value: int, span: str) -> bool:
        low, _, high = span.partition("-")
        return int(low) <= value <= int(high or low)

    return bool(text) and all(
        {
            "length": lambda span: within(len(text), span),
            "values": lambda span: within(int(text), span),
            "pattern": lambda pattern: re.fullmatch(pattern, text, re.ASCII) is not None,
            "check_digit": lambda scheme: has_check_digit(scheme, text),
        }[name](value)
        for name, value in chosen.items()
    )


def parsed(chosen: dict[str, str], text: str) -> Constraints:
    """Parse constraints; those that no number meets are refused, and this text meets them neither."""
    try:
        constraints = parse_constraints(**chosen)  # type: ignore[arg-type]
    except UsageError:
        assert not meets(text, chosen)
        reject()
    assert constraints is not None
    return constraints


@given(options(), SHORT)
def test_constraints_accept_a_text_exactly_if_it_meets_each_of_them(
    chosen: dict[str, str], text: str
) -> None:
    constraints = parsed(chosen, text)
    assert constraints.accepts(text) == meets(text, chosen)


@given(options(), SHORT)
def test_every_beginning_of_an_accepted_text_is_allowed(chosen: dict[str, str], text: str) -> None:
    constraints = parsed(chosen, text)
    if constraints.accepts(text):
        assert all(constraints.may_begin(text[:end]) for end in range(len(text) + 1))
    elif not constraints.may_begin(text):  # then nothing that begins so is accepted
        assert not any(
            constraints.accepts(text + ending) for ending in ("", "0", "1", "7", "00", "50", "777")
        )


@settings(max_examples=20)
@given(options())
def test_a_search_by_beginnings_finds_all_short_texts(chosen: dict[str, str]) -> None:
    constraints = parsed(chosen, "")
    beginnings, accepted = [""], set()
    for _ in range(3):
        beginnings = [
            text + d for text in beginnings for d in "0123456789" if constraints.may_begin(text + d)
        ]
        accepted |= {text for text in beginnings if constraints.accepts(text)}
    every = (f"{value:0{length}}" for length in (1, 2, 3) for value in range(10**length))
    assert accepted == {text for text in every if meets(text, chosen)}


@pytest.mark.parametrize("check", ["luhn", "mod97"])
@given(text=DIGITS, place=st.integers(0, 22), step=st.integers(1, 9))
def test_check_digits_catch_every_wrong_digit(check: CheckDigit, text: str, place: int, step: int) -> None:
    valid = next(
        text + ending for ending in map("{:02}".format, range(100)) if has_check_digit(check, text + ending)
    )
    place %= len(valid)
    wrong = valid[:place] + str((int(valid[place]) + step) % 10) + valid[place + 1 :]
    assert has_check_digit(check, valid) and not has_check_digit(check, wrong)


@given(st.text(max_size=8), st.sampled_from(["length", "values", "pattern", "check_digit"]))
def test_any_text_is_a_constraint_or_a_usage_error(text: str, name: str) -> None:
    try:
        constraints = parse_constraints(**{name: text})  # type: ignore[arg-type]
    except UsageError as error:
        assert error.cause and error.remedy
    else:
        assert constraints is not None and isinstance(constraints.accepts("12"), bool)


def test_valid_numbers_of_each_scheme_and_wrong_digits() -> None:
    for number in ("79927398713", "4539148803436467", "378282246310005", "18", "00"):
        assert has_check_digit("luhn", number)
        for place, digit in enumerate(number):  # any single digit that is wrong is found
            wrong = number[:place] + str((int(digit) + 1) % 10) + number[place + 1 :]
            assert not has_check_digit("luhn", wrong)
    for number in ("4006381333931", "73513537", "036000291452", "00012345600012"):
        assert has_check_digit("ean", number)
        assert not has_check_digit("ean", number[:-1] + str((int(number[-1]) + 1) % 10))
        assert not has_check_digit("ean", number[:7])
    assert has_check_digit(
        "mod97", "3214282912345698765432161182"
    )  # GB82 WEST 1234 5698 7654 32 as its number
    assert not has_check_digit("mod97", "3214282912345698765432161128")
    assert not has_check_digit("mod97", "1")


@pytest.mark.parametrize("check", ["luhn", "ean", "mod97"])
def test_numbers_of_one_group_take_the_same_endings(check: str) -> None:
    constraints, draw = parse_constraints(check_digit=check), random.Random(0)
    assert constraints is not None
    first_of_group: dict[object, str] = {}
    for _ in range(3000):
        text = "".join(draw.choices("0123456789", k=draw.randint(6, 8)))
        rival = first_of_group.setdefault(constraints.group(text), text)
        ending = "".join(draw.choices("0123456789", k=6 - len(text) % 2))
        assert constraints.accepts(text + ending) == constraints.accepts(rival + ending)


def test_no_options_are_no_constraints_and_a_single_digit_is_one() -> None:
    assert parse_constraints() is None
    single = parse_constraints(single_digit=True)
    assert single is not None and [single.accepts(text) for text in ("7", "77", "")] == [True, False, False]
    assert Constraints().accepts("3") and not Constraints().accepts("")


def test_a_value_that_cannot_be_parsed_is_a_usage_error() -> None:
    wrong: list[dict[str, object]] = [
        *({"length": text} for text in ("five", "0", "6-4", "-3", "3-", "²")),
        {"length": "3", "single_digit": True},
        {"pattern": "("},
        {"values": "a-b"},
        {"values": "9-1"},
        {"check_digit": "crc"},
    ]
    for chosen in wrong:
        with pytest.raises(UsageError):
            parse_constraints(**chosen)  # type: ignore[arg-type]


def test_a_pattern_that_matches_no_digits_is_refused() -> None:
    for pattern in (r"\d{2}/\d{2}", "24/07", r"A\d", r"\d\d\D\d\d", "[^0-9]*", ""):
        with pytest.raises(UsageError, match="matches no digits"):
            parse_constraints(pattern=pattern)
    for together in (
        {"length": "1", "values": "50-99"},
        {"length": "3", "pattern": r"\d{5}"},
        {"check_digit": "luhn", "single_digit": True, "values": "1-9"},
    ):
        with pytest.raises(UsageError, match="No number meets"):
            parse_constraints(**together)  # type: ignore[arg-type]
    for pattern in (
        r"\d{16}", r"(\d+)+", "17|23", r"\d{4} ?\d{4}", ".*", r"(\d\d)+0", r"(\d{1,8})+(?<=12345678)",
    ):  # fmt: skip
        assert parse_constraints(pattern=pattern) is not None
