"""Sample the texts that people write: amounts, dates, times, decimals, sums, codes and words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from digitcli.strip_format import DIGITS

# What stands in an amount. The shares were chosen by hand.
AMOUNT_LENGTHS = (
    0.10,
    0.10,
    0.15,
    0.20,
    0.22,
    0.13,
    0.06,
    0.04,
)  # of 1, 2 ... digits before the cents
THOUSANDS_SHARE = 0.5  # of the amounts of four digits or more separate the thousands
CENTS_SHARE = 0.2  # of the amounts have two decimals
ENDING_SHARE = 0.3  # of the others have one of the endings below, which keep others from adding digits
ENDINGS = ("-", "=", ".-", ",-", ".", ".=", "--", ",")
SLASH_ENDINGS = ("/-", "/=", "//")
SLASH_ENDING_SHARE = 0.1  # of the endings, so that 5 in 100 lines have a slash, and 8 in 100 numbers on pages
LEADING_MARK_SHARE = 0.02  # of the amounts follow such a mark

CURRENCIES = "$€£"
OPERATORS = "+-×*/:÷"
# Letters of words in Latin script, by their frequency in English, and capitals and accented letters.
LOWER = (
    "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnssssssrrrrrrhhhhhhddddlllluuuccmmffyywwggppbbvkxjqz"
)
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ACCENTED = "äöüéèàçñåøßõ"
WORD_LENGTHS = {1: 0.07, 2: 0.1, 3: 0.14, 4: 0.16, 5: 0.15, 6: 0.13, 7: 0.1, 8: 0.09, 10: 0.06}


def sample_number(random: np.random.Generator) -> str:
    """Return a random number with the marks that people write in it, without spaces."""
    shares = np.array([share for share, _ in NUMBERS])
    return NUMBERS[int(random.choice(len(NUMBERS), p=shares / shares.sum()))][1](random)


def sample_integer(random: np.random.Generator, shortest: int, longest: int) -> str:
    """Return random digits; half of the numbers with several digits begin without zero and end in zeros."""
    return _sample_digits(random, int(random.integers(shortest, longest + 1)))


def sample_amount(random: np.random.Generator) -> str:
    """Return a random sum of money without a currency: `1,250.50`, `300/-`."""
    digits = _sample_digits(random, 1 + int(random.choice(len(AMOUNT_LENGTHS), p=AMOUNT_LENGTHS)))
    text, (thousands_mark, decimal_mark) = digits, random.permutation([".", ","]).tolist()
    if len(digits) > 3 and random.random() < THOUSANDS_SHARE:
        first = len(digits) % 3 or 3
        groups = [digits[:first], *(digits[i : i + 3] for i in range(first, len(digits), 3))]
        text = thousands_mark.join(groups)
    if random.random() < CENTS_SHARE:
        text += decimal_mark + sample_integer(random, 2, 2)
    elif random.random() < ENDING_SHARE:
        text += str(random.choice(SLASH_ENDINGS if random.random() < SLASH_ENDING_SHARE else ENDINGS))
    if random.random() < LEADING_MARK_SHARE:
        text = str(random.choice(["=", "-"])) + text
    return text


def _sample_digits(random: np.random.Generator, length: int) -> str:
    digits = "".join(random.choice(list(DIGITS), length))
    if length > 1 and random.random() < 0.5:
        zeros = int(random.integers(0, length))
        digits = str(random.integers(1, 10)) + digits[1 : length - zeros] + "0" * zeros
    return digits


def sample_word(random: np.random.Generator) -> str:
    """Return random letters like a word, a name or an abbreviation."""
    length = int(random.choice(list(WORD_LENGTHS), p=list(WORD_LENGTHS.values())))
    letters = random.choice(list(LOWER), length)
    kind = random.random()
    if kind < 0.12:
        letters = random.choice(list(UPPER), length)
    elif kind < 0.4:
        letters[0] = random.choice(list(UPPER))
    if random.random() < 0.1:
        letters[int(random.integers(length))] = random.choice(list(ACCENTED))
    end = str(random.choice(list(".,:;!?)"))) if random.random() < 0.12 else ""
    return "".join(letters) + end


def _amount(random: np.random.Generator) -> str:
    text = sample_amount(random)
    if random.random() < 0.15:
        currency = str(random.choice(list(CURRENCIES)))
        text = currency + text if random.random() < 0.6 else text + currency
    return text


def sample_decimal(random: np.random.Generator) -> str:
    """Return a random number with a decimal point or comma."""
    whole = "" if random.random() < 0.05 else "0" if random.random() < 0.4 else sample_integer(random, 1, 4)
    point = "." if random.random() < 0.7 else ","
    sign = "-" if random.random() < 0.08 else ""
    return sign + whole + point + sample_integer(random, 1, 4)


def _date(random: np.random.Generator) -> str:
    day, month, year = random.integers(1, 32), random.integers(1, 13), random.integers(1900, 2100)
    separator = str(random.choice(list("/-."), p=[0.5, 0.25, 0.25]))
    width = 2 if random.random() < 0.6 else 1
    parts = [f"{day:0{width}}", f"{month:0{width}}"]
    if random.random() < 0.3:
        parts.reverse()
    kind = random.random()
    if kind < 0.45:
        parts.append(str(year))
    elif kind < 0.85:
        parts.append(f"{year % 100:02}")
    if kind < 0.1:
        parts.reverse()
    return separator.join(parts)


def _time(random: np.random.Generator) -> str:
    text = f"{random.integers(0, 24)}:{random.integers(0, 60):02}"
    return text + f":{random.integers(0, 60):02}" if random.random() < 0.2 else text


def _sum(random: np.random.Generator) -> str:
    text = sample_integer(random, 1, 3)
    for _ in range(int(random.integers(1, 4))):
        text += str(random.choice(list(OPERATORS))) + sample_integer(random, 1, 3)
    if random.random() < 0.5:
        text += "=" + (sample_integer(random, 1, 4) if random.random() < 0.7 else "")
    return text


def _code(random: np.random.Generator) -> str:
    groups = [sample_integer(random, 1, 5) for _ in range(int(random.integers(2, 5)))]
    text = "-".join(groups)
    return f"({groups[0]}){'-'.join(groups[1:])}" if random.random() < 0.25 else text


def _with_sign(random: np.random.Generator) -> str:
    digits = sample_integer(random, 1, 4)
    kind = random.random()
    for end, form in ((0.3, "{}%"), (0.5, "#{}"), (0.65, "({})"), (0.75, "[{}]")):
        if kind < end:
            return form.format(digits)
    if kind < 0.85:
        return f"{digits})" if random.random() < 0.5 else f"{digits}."
    return str(random.choice(list("+-="))) + digits


# The shares were chosen by hand, for variety; they are of no country and no form.
NUMBERS: tuple[tuple[float, Callable[[np.random.Generator], str]], ...] = (
    (0.25, lambda random: sample_integer(random, 1, 3)),  # the marks of an exam
    (0.19, lambda random: sample_integer(random, 3, 9)),
    (0.19, _amount),
    (0.10, sample_decimal),
    (0.08, _date),
    (0.03, _time),
    (0.02, lambda random: sample_integer(random, 1, 3) + "/" + sample_integer(random, 1, 3)),
    (0.05, _sum),
    (0.05, _code),
    (0.04, _with_sign),
)
