"""Values are right or refused: by a table of written numbers, by properties and by check digits."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitcli.errors import EnvironmentFault, UsageError
from digitcli.tables.values import LOCALES, PARSERS, Refusal, parse_conventions, parse_type, value_of

WRITTEN = list(csv.DictReader(io.StringIO(Path(__file__).with_name("values.csv").read_text("utf-8"))))
ALL_LOCALES = [name for names in LOCALES.values() for name in names.split()]
AMOUNTS = st.from_regex(
    r"[-+(]?\$?(\d{1,4}|\d{0,3}([., ']\d{3}){1,2})?([.,]\d{1,3})?[.,]?-{0,2}\)?", fullmatch=True
)
DATES = st.from_regex(r"[0-9]{1,4}([./-])[0-9]{1,2}\1([0-9]{2}|[0-9]{4})", fullmatch=True)


def value(
    raw: str, kind: str = "amount", locale: str | None = None, order: str | None = None
) -> str | Refusal:
    """Return the value of a text by the arguments of the command."""
    return value_of(raw, parse_type(kind), parse_conventions(locale, order))


def answer(*arguments: str | None) -> str:
    """Return a value, or the reason of a refusal behind a `!`."""
    found = value(*arguments)  # type: ignore[arg-type]
    return f"!{found.reason}" if isinstance(found, Refusal) else found


def test_no_written_number_is_wrong() -> None:
    """Every value of the table is found, and every text without one is refused for its reason.

    The table was written from the values, by the rules of each locale, without the code that reads them.
    """
    answers = [
        answer(row["raw"], row["kind"], row["locale"] or None, row["date_order"] or None) for row in WRITTEN
    ]
    assert not [(row, got) for row, got in zip(WRITTEN, answers, strict=True) if got != row["expected"]]
    counts = Counter(row["expected"] for row in WRITTEN)
    assert len(WRITTEN) >= 400 and counts["!ambiguous"] >= 50 and counts["!constraint"] >= 30
    assert len({row["locale"] for row in WRITTEN}) >= 12


@given(AMOUNTS, st.sampled_from(ALL_LOCALES), st.sampled_from(["amount", "decimal", "integer"]))
def test_no_locale_contradicts_a_value_without_one(raw: str, locale: str, kind: str) -> None:
    """What is sure without a locale means the same in each locale that can read it."""
    anywhere, there = answer(raw, kind), answer(raw, kind, locale)
    assert anywhere == there or "!" in anywhere[0] + there[0]
    assert anywhere != "!constraint" or there == "!constraint"


@given(DATES, st.sampled_from(["dmy", "mdy", "ymd", "dmy:1950", "mdy:2000"]))
def test_no_order_contradicts_a_date_without_one(raw: str, order: str) -> None:
    anywhere, there = answer(raw, "date"), answer(raw, "date", None, order)
    assert anywhere == there or "!" in anywhere[0] + there[0]
    assert anywhere != "!constraint" or there == "!constraint"


@given(st.text("0123456789.,-/:+×*÷=%()[]#$€£ '□٣²"), st.sampled_from(["de", "en_IN", "de_CH", None]))
def test_every_text_is_a_value_of_ascii_or_refused(raw: str, locale: str | None) -> None:
    for kind in (PARSERS.keys() - {"stdnum", "postcode"}) | {"postcode:US", "iban:DE"}:
        found = value(raw, kind, locale)
        assert isinstance(found, Refusal) or (found.isascii() and any(each.isdecimal() for each in found))


def test_a_refusal_names_what_a_text_may_mean() -> None:
    assert value("1.234") == Refusal("ambiguous", "'1.234' may mean 1.234 or 1234.")
    assert value("30.02.2026", "date") == Refusal(
        "constraint", "'30.02.2026' is not written as the type date is."
    )


@pytest.mark.parametrize(
    "kind, raw, expected",
    [
        ("telephone", "(01)234-567", "01234567"),
        ("telephone", "+41 (0)44 668 18 00", "+41446681800"),
        ("telephone", "12", "!constraint"),
        ("telephone", "0441+23", "!constraint"),
        ("postcode:CH", "8001", "8001"),
        ("postcode:SE", "11455", "114 55"),
        ("postcode:PL", "00-950", "00-950"),
        ("postcode:US", "20500-0003", "20500-0003"),
        ("postcode:pt", "1000 205", "1000-205"),
        ("postcode:DE", "1011", "!constraint"),
        ("meter", "00417", "00417"),
        ("meter", "00,417", "!constraint"),
        ("date", "0026-07-24", "!constraint"),
        ("fraction", "03 / 4", "3/4"),
        ("fraction", "2 2/4", "2 2/4"),
        ("fraction", "3/0", "!constraint"),
        ("iban", "DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("iban:de", "89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("iban", "GB82 WEST 1234 5698 7654 32", "GB82WEST12345698765432"),
        ("iban", "89 3704 0044 0532 0130 00", "!constraint"),
        ("card", "4111 1111 1111 1111", "4111111111111111"),
        ("card", "4111 1111 111", "!constraint"),
        ("isbn", "0-306-40615-2", "0306406152"),
        ("isbn", "0-8044-2957-X", "080442957X"),
        ("isbn", "978-0-306-40615-7", "9780306406157"),
        ("isbn", "4006381333931", "!constraint"),
    ],
)
def test_identifiers_have_one_form(kind: str, raw: str, expected: str) -> None:
    assert answer(raw, kind) == expected


@pytest.mark.parametrize(
    "kind, right",
    [
        ("iban:DE", "89370400440532013000"),
        ("card", "4111111111111111"),
        ("isbn", "0306406152"),
        ("isbn", "9780306406157"),
    ],
)
def test_no_digit_of_an_identifier_may_be_another(kind: str, right: str) -> None:
    """The check digits find every single wrong digit; those that 978 makes impossible do not fit at all."""
    wrong = [
        right[:place] + digit + right[place + 1 :]
        for place in range(len(right))
        for digit in "0123456789"
        if digit != right[place]
    ]
    answers = Counter(answer(text, kind) for text in wrong)
    assert {*answers} <= {"!check", "!constraint"} and answers["!check"] >= 0.75 * len(wrong)


@pytest.mark.parametrize(
    "name, remedy",
    [
        ("amont", "Did you mean amount?"),
        ("postcode", "Give postcode: and one of AT, "),
        ("postcode:XX", "Give postcode: and one of AT, "),
        ("iban:D", "Give iban."),
        ("date:dmy", "Give date."),
    ],
)
def test_unknown_types_are_refused_with_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(UsageError) as fault:
        parse_type(name)
    assert fault.value.cause.startswith(f"--type is '{name}'") and fault.value.remedy.startswith(remedy)


def test_locales_count_by_region_then_by_language() -> None:
    assert parse_conventions("de_DE.UTF-8") == parse_conventions("de-at") == parse_conventions("de")
    assert parse_conventions("fr_CH") != parse_conventions("fr") == parse_conventions("FR_be")
    assert parse_conventions("de", "ymd").date_order == "ymd" and parse_conventions("en").date_order is None
    with pytest.raises(UsageError, match="--locale is 'xx_DE'") as fault:
        parse_conventions("xx_DE")
    assert "de, de_CH" in fault.value.remedy
    with pytest.raises(UsageError, match="--date-order is 'dym'"):
        parse_conventions("de", "dym")


def test_numbers_of_stdnum_are_those_of_its_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in shows what is called; without the package the remedy installs it."""
    monkeypatch.setitem(sys.modules, "stdnum", None)
    with pytest.raises(EnvironmentFault) as fault:
        parse_type("stdnum:de.idnr")
    assert "'.[stdnum]'" in fault.value.remedy

    def compact(text: str) -> str:
        if len(text) > 3:
            raise ValueError("too long")
        return text.replace(" ", "")

    module = SimpleNamespace(compact=compact, is_valid=lambda text: text == "12")
    monkeypatch.setitem(sys.modules, "stdnum", ModuleType("stdnum"))
    monkeypatch.setitem(sys.modules, "stdnum.de.idnr", module)  # type: ignore[arg-type]
    answers = [answer(raw, "stdnum:de.idnr") for raw in ("1 2", "1 3", "1234")]
    assert answers == ["12", "!check", "!constraint"]
    with pytest.raises(UsageError, match="stdnum:none"):
        parse_type("stdnum:none")
