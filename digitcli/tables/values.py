"""Tell the value of a written number: an amount, a date, a card number and so on. Loads no torch.

A text that may mean several values is refused, never guessed: `1.234` is a thousand in one country and a
decimal number in another. A locale and an order of dates settle most doubts. A text that breaks them is
refused, too, because it may be misread.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Literal

from digitcli.errors import UsageError, did_you_mean, import_packages
from digitcli.recognition.constraints import has_check_digit

# One character for all that look alike.
LIKENESSES = str.maketrans("\u00a0\u2009\u202f−–—’", "   ---'")
AROUND = " =*#$€£¥₹"  # currencies, and the strokes that keep others from adding digits to an amount
GROUPS_EVERYWHERE = "' "  # stand between thousands in every locale, because they separate no decimals
PLAIN = re.compile(r"\d+", re.ASCII)
# Digits in groups of thousands, or of lakhs as in India: 1,23,456.
GROUPED = re.compile(r"[1-9]\d{0,2}([.,' ])\d{3}(?:\1\d{3})*|[1-9]\d?(,)(?:\d\d,)+\d{3}", re.ASCII)
# An amount, and a stroke in place of its cents: `5.-`, `5,--`, `5/-`; the sign of `5/=` is in AROUND.
AMOUNT = re.compile(r"([\d.,' ]*\d) ?(?:([.,]?--?|/[-/]?)|[.,])?", re.ASCII)
DATE = re.compile(r"(\d{1,4}) ?([./ -]) ?(\d{1,2}) ?\2 ?(\d{1,4})\.?", re.ASCII)
TIME = re.compile(r"(\d\d?)([:.])(\d\d)(?:\2(\d\d))?", re.ASCII)
FRACTION = re.compile(r"(-?)(?:(\d+) )?(\d+) ?/ ?(\d*[1-9]\d*)", re.ASCII)
UNMARKED = "digits"  # detail of dates and times in boxes for single digits, which leave no room for marks
DATE_ORDERS = ("dmy", "mdy", "ymd")
# The decimal sign, the sign of thousands and the order of dates of locales, by Unicode CLDR. Both decimal
# signs are tried where people write both; no order is set where a language or a country has several.
LOCALES: dict[tuple[str, str, str | None], str] = {
    (",", ".", "dmy"): "ca da de el es hr id is it nl pt ro sl sr tr vi",
    (",", "", "dmy"): "bg cs es_CR et fi fr lv nb nn no pl pt_PT ru sk uk",
    (",", "", "ymd"): "hu lt sv",
    (",", "", None): "fr_CA",
    (".", ",", "dmy"): "en_AU en_GB en_IE en_IN en_NZ es_DO es_GT es_HN es_MX es_NI es_PE es_SV he hi ms",
    (".", ",", "mdy"): "en_US es_PA es_PR es_US fil",
    (".", ",", "ymd"): "ja ko zh",
    (".", ",", None): "en en_CA",
    (".,", "", "dmy"): "de_CH de_LI fr_CH it_CH",
    (".,", ",", None): "en_ZA",
}
LOCALES_WITH_LAKHS = ("en_IN", "hi")
# Postal codes without letters, by their form, in which a 0 is any digit.
POSTAL_CODES = {
    "0000": "AT AU BE BG CH CY DK GE HU LI LU NO NZ PH SI TN ZA",
    "00000": "BA DE EE EG ES FI FR HR ID IT KR LT MA ME MX MY RS TH TR UA US",
    "000000": "BY CN CO IN KZ RO RU SG VN", "000 00": "CZ GR SE SK", "000-0000": "JP", "0000-000": "PT",
    "00-000": "PL", "00000-000": "BR", "00000-0000": "US",
}  # fmt: skip
COUNTRIES = sorted(set(" ".join(POSTAL_CODES.values()).split()))


@dataclass(frozen=True)
class ValueType:
    """What a number is, for example `amount`.

    name: a name in `PARSERS`.
    detail: the country of postal codes, of IBANs without their letters, a module of python-stdnum, or
        `UNMARKED` for dates and times of digits only.
    """

    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.detail}" if self.detail else self.name


@dataclass(frozen=True)
class Conventions:
    """How numbers and dates are written; without arguments nothing is known about that.

    points: the possible decimal signs.
    groups: the possible signs between thousands, besides spaces and apostrophes.
    date_order: one of `DATE_ORDERS`, or None if it is not known.
    first_year: the first of the hundred years that years of two digits stand for; None refuses such years.
    has_lakhs: whether 1,23,456 is a number.
    """

    points: str = ".,"
    groups: str = ".,"
    date_order: str | None = None
    first_year: int | None = None
    has_lakhs: bool = True


@dataclass(frozen=True)
class Refusal:
    """The reason why a text has no value, in one word and in a sentence.

    reason: `ambiguous` if it may mean several values, `constraint` if it does not fit the type, and `check`
        if a check digit or the previous value of a meter speaks against it.
    """

    reason: Literal["ambiguous", "constraint", "check"]
    cause: str


def parse_type(text: str) -> ValueType:
    """Parse the type of a value, for example `amount`, `postcode:CH`, `iban:DE` or `stdnum:de.idnr`.

    Raises:
        UsageError: the type, the country or the module is not known.
        EnvironmentFault: python-stdnum is not installed.
    """
    name, _, detail = text.strip().partition(":")
    kind = ValueType(name, detail if name == "stdnum" else detail.upper())
    if name not in PARSERS:
        raise UsageError(f"--type is '{text}'.", did_you_mean(name, PARSERS))
    if name == "stdnum":
        _stdnum(kind)
    elif name == "postcode" and kind.detail not in COUNTRIES:
        cause = f"--type is '{text}', which names no country with a known postal code of digits."
        raise UsageError(cause, f"Give postcode: and one of {', '.join(COUNTRIES)}.")
    elif detail and name != "postcode" and not (name == "iban" and re.fullmatch("[A-Z]{2}", kind.detail)):
        raise UsageError(f"--type is '{text}', but {name} takes no '{detail}'.", f"Give {name}.")
    return kind


def parse_conventions(locale: str | None = None, date_order: str | None = None) -> Conventions:
    """Parse the values of --locale and --date-order, for example `fr_CH`, and `dmy` or `dmy:1950`.

    A region that is not known counts as its language. With the year, years of two digits stand for those
    from 1950 to 2049; without it, they are refused as ambiguous.

    Raises:
        UsageError: the locale or the order is not known.
    """
    known = {name: signs for signs, names in LOCALES.items() for name in names.split()}
    points, groups, order, has_lakhs = ".,", ".,", None, True
    if locale is not None:
        parts = re.split("[-_]", locale.strip().partition(".")[0])
        language, name = parts[0].lower(), f"{parts[0].lower()}_{parts[-1].upper()}"
        name = name if name in known else language
        if name not in known:
            raise UsageError(f"--locale is '{locale}'.", f"Give one of {', '.join(sorted(known))}.")
        (points, groups, order), has_lakhs = known[name], name in LOCALES_WITH_LAKHS
    match = re.fullmatch(r"(dmy|mdy|ymd)(?::(\d{4}))?", date_order or order or "dmy", re.ASCII)
    if match is None:
        cause = f"--date-order is '{date_order}'."
        raise UsageError(cause, "Give dmy, mdy or ymd; dmy:1950 also says which years have two digits.")
    order = match[1] if date_order else order
    return Conventions(points, groups, order, int(match[2]) if match[2] else None, has_lakhs)


def value_of(raw: str, kind: ValueType, conventions: Conventions = Conventions()) -> str | Refusal:
    """Return the value of a text with its marks, in the form of its type, or why there is none.

    amount, decimal: digits with a point before decimals, without zeros that mean nothing: `-1234.5`. An
        amount may have a stroke in place of its cents.
    integer: digits. A mark before three of them stands between thousands, because there are no decimals.
    date, time: as in ISO 8601. Only a year of four digits in front settles the order of a date.
    fraction: as it is written, `1 3/4`; it is not reduced.
    meter: all digits. telephone: digits, perhaps with a plus. postcode: the form of its country.
    iban, card, isbn and stdnum: without spaces and dashes, with a right check digit.
    """
    text = raw.translate(LIKENESSES).strip()
    found = PARSERS[kind.name](text, kind, conventions)
    if not found:
        return Refusal("constraint", f"'{raw}' is not written as the type {kind} is.")
    if len(found) > 1:
        return Refusal("ambiguous", f"'{raw}' may mean {' or '.join(sorted(found))}.")
    value = found.pop()
    if kind.name in CHECKS and not CHECKS[kind.name](value, kind):
        return Refusal("check", f"'{raw}' breaks the check digit of the type {kind}.")
    return value


def _signed(text: str) -> tuple[str, str]:
    """Return the sign of a number, `-` or nothing, and the rest; parentheses are a minus, too."""
    text = text.strip(AROUND)
    if text[:1] + text[-1:] == "()":
        return "-", text[1:-1].strip(AROUND)
    sign = text[:1] if text[:1] in ("+", "-") else ""
    return sign.strip("+"), text.removeprefix(sign).strip(AROUND)


def _with_signs(signs: set[str], numbers: set[str]) -> set[str]:
    return {number if number == "0" else sign + number for sign in signs for number in numbers}


def _meanings(text: str, conventions: Conventions, is_whole: bool = False) -> set[str]:
    """Return the numbers that digits with marks may mean; `is_whole` leaves out those with decimals."""
    found = set()
    for point in conventions.points:
        whole, mark, decimals = text.partition(point)
        if mark and (is_whole or not PLAIN.fullmatch(decimals)):
            continue
        if _is_whole_part(whole, conventions) or (mark and not whole):
            digits, decimals = re.sub(r"\D", "", whole).lstrip("0") or "0", decimals.rstrip("0")
            found.add(f"{digits}.{decimals}" if decimals else digits)
    return found


def _is_whole_part(text: str, conventions: Conventions) -> bool:
    """Tell whether a text is the digits before a decimal sign, perhaps in groups."""
    match = GROUPED.fullmatch(text)
    if match is None or (match[2] and not conventions.has_lakhs):
        return PLAIN.fullmatch(text) is not None
    return (match[1] or match[2]) in conventions.groups + GROUPS_EVERYWHERE


def _amount(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    """Return the amounts that a text may mean.

    A dash in front may stand for no pounds (`-.50`), and one behind for no cents, for a minus, or for
    nothing: people fill the line with it.
    """
    sign, unsigned = _signed(text)
    match = AMOUNT.fullmatch(unsigned)
    if match is None:
        return set()
    number, stroke = match[1], match[2] or ""
    without_cents = _meanings(number, conventions, is_whole=True) if stroke else set()
    is_line = not without_cents and stroke.endswith("-") and not stroke.startswith("/")
    is_unsure = is_line or (sign and (number[0] in ".," or stroke in ("-", "--")))
    signs = {"", "-"} if is_unsure else {sign}
    return _with_signs(signs, without_cents or _meanings(number, conventions))


def _decimal(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    sign, unsigned = _signed(text)
    return _with_signs({sign}, _meanings(unsigned, conventions, kind.name == "integer"))


def _date(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    match, found = DATE.fullmatch(text), set()
    parts = match.group(1, 3, 4) if match else ("", "", "")
    known = "ymd" if len(parts[0]) == 4 else conventions.date_order
    for order in [known] if known else DATE_ORDERS:
        if kind.detail == UNMARKED:
            pattern = "".join(r"(\d\d|\d{4})" if each == "y" else r"(\d\d)" for each in order)
            unmarked = re.fullmatch(pattern, text, re.ASCII)
            parts = unmarked.group(1, 2, 3) if unmarked else ("", "", "")
        part = dict(zip(order, parts, strict=True))
        for year in _years(part["y"], conventions.first_year):
            with contextlib.suppress(ValueError):  # there is no such day
                found.add(date(year, int(part["m"]), int(part["d"])).isoformat())
    return found


def _years(text: str, first: int | None) -> list[int]:
    """Return the years that the digits of a year may mean."""
    if len(text) == 2:
        year = int(text)
        return [1900 + year, 2000 + year] if first is None else [first + (year - first) % 100]
    return [int(text)] if len(text) == 4 and text[0] in "12" else []  # others are misread


def _time(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    if kind.detail == UNMARKED and len(text) % 2 == 0:
        text = re.sub(r"(\d\d)(?=\d)", r"\1:", text)
    if match := TIME.fullmatch(text):
        with contextlib.suppress(ValueError):  # there is no such hour, minute or second
            clock = time(int(match[1]), int(match[3]), int(match[4] or 0))
            return {clock.isoformat("seconds" if match[4] else "minutes")}
    return set()


def _fraction(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    if (match := FRACTION.fullmatch(text)) is None:
        return set()
    whole = f"{int(match[2])} " if match[2] else ""
    return {f"{match[1]}{whole}{int(match[3])}/{int(match[4])}"}


def _telephone(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    """Return the digits to dial; behind the code of a country the 0 of `+41 (0)44` is not dialled."""
    text = text.replace("(0)", "") if text.startswith("+") else text
    return _matched(r"\+?\d{3,15}", re.sub(r"[ ()\[\]./-]", "", text))  # 15 digits at most: ITU-T E.164


def _postal_code(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    for form in (form for form, countries in POSTAL_CODES.items() if kind.detail in countries.split()):
        if re.fullmatch(re.sub("[ -]", "[ -]?", form.replace("0", r"\d")), text, re.ASCII):
            digits = iter(re.sub("[ -]", "", text))
            return {"".join(next(digits) if place == "0" else place for place in form)}
    return set()


def _matched(pattern: str, text: str) -> set[str]:
    return {text} if re.fullmatch(pattern, text, re.ASCII) else set()


def _compact(text: str) -> str:
    return re.sub("[ -]", "", text).upper()


def _iban(text: str, kind: ValueType, conventions: Conventions) -> set[str]:
    text = _compact(text)
    return _matched(r"[A-Z]{2}\d\d[A-Z\d]{11,30}", kind.detail + text if text[:1].isdecimal() else text)


def _has_iban_check(text: str) -> bool:
    """Tell whether an IBAN is right: ISO 13616, with letters as numbers from 10 on."""
    return has_check_digit("mod97", "".join(str(int(each, 36)) for each in text[4:] + text[:4]))


def _has_isbn_check(text: str) -> bool:
    """Tell whether an ISBN is right: ISO 2108, of 10 digits as in its third edition."""
    if len(text) == 13:
        return has_check_digit("ean", text)
    return sum((10 - i) * "0123456789X".index(each) for i, each in enumerate(text)) % 11 == 0


def _stdnum(kind: ValueType) -> Any:
    """Return a module of python-stdnum; see `parse_type`."""
    import_packages("--type stdnum", "stdnum", "stdnum")
    with contextlib.suppress(ImportError):
        if hasattr(module := importlib.import_module(f"stdnum.{kind.detail}"), "is_valid"):
            return module
    raise UsageError(f"--type is '{kind}', which python-stdnum lacks.", "Give for example stdnum:de.idnr.")


def _stdnum_meanings(text: str, kind: ValueType) -> set[str]:
    with contextlib.suppress(ValueError):  # some modules refuse the form already here
        return {_stdnum(kind).compact(text)}
    return set()


# A parser returns all values that a text may have in its type.
PARSERS: dict[str, Callable[[str, ValueType, Conventions], set[str]]] = {
    "amount": _amount, "integer": _decimal, "decimal": _decimal, "date": _date, "time": _time,
    "telephone": _telephone, "postcode": _postal_code, "iban": _iban, "fraction": _fraction,
    "card": lambda text, *_: _matched(r"\d{12,19}", _compact(text)),  # ISO/IEC 7812
    "isbn": lambda text, *_: _matched(r"\d{9}[\dX]|97[89]\d{10}", _compact(text)),
    "meter": lambda text, *_: _matched(r"\d+", text.replace(" ", "")),
    "stdnum": lambda text, kind, _: _stdnum_meanings(text, kind),
}  # fmt: skip
CHECKS: dict[str, Callable[[str, ValueType], bool]] = {
    "iban": lambda text, _: _has_iban_check(text),
    "card": lambda text, _: has_check_digit("luhn", text),
    "isbn": lambda text, _: _has_isbn_check(text),
    "stdnum": lambda text, kind: bool(_stdnum(kind).is_valid(text)),
}
