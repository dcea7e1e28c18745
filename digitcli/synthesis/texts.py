"""What people write where a number is asked for."""

from __future__ import annotations

import numpy as np

ALPHABET = "0123456789.,-=/"
LENGTHS = {
    1: 0.10,
    2: 0.10,
    3: 0.15,
    4: 0.20,
    5: 0.22,
    6: 0.13,
    7: 0.06,
    8: 0.04,
}  # digits: share of the lines
ROUND_SHARE = 0.5  # of the numbers end in zeros, as sums of money do
ENDINGS = ("-", "=", ".-", ",-", ".", ".=", "=", "-", "--", "//", ",", ".")  # against added digits
ENDING_SHARE = 0.3


def draw_text(random: np.random.Generator) -> str:
    """A number of one to eight digits, with the points, commas and dashes that go with amounts."""
    text = _grouped(random, _draw_digits(random))
    if random.random() < ENDING_SHARE:
        text += random.choice(ENDINGS)
    if random.random() < 0.02:
        text = random.choice(["=", "-"]) + text
    return str(text)


def _draw_digits(random: np.random.Generator) -> str:
    plain = random.random() < 1 - ROUND_SHARE
    length = int(random.choice(list(LENGTHS), p=list(LENGTHS.values())))
    if plain:
        return "".join(random.choice(list("0123456789"), length))
    zeros = int(random.integers(0, length)) if length > 1 else 0
    first = random.choice(list("123456789"), 1)
    rest = random.choice(list("0123456789"), length - 1)
    return "".join([*first, *rest])[: length - zeros] + "0" * zeros


def _grouped(random: np.random.Generator, digits: str) -> str:
    """Thousands set apart, cents set apart, or two numbers joined by a dash."""
    length = len(digits)
    if length >= 4 and random.random() < 0.5:
        mark = str(random.choice([".", ",", "."]))
        parts = [digits[:-6], digits[-6:-3], digits[-3:]] if length >= 7 else [digits[:-3], digits[-3:]]
        return mark.join(parts)
    if length >= 3 and random.random() < 0.15:
        return digits[:-2] + str(random.choice([",", "."])) + digits[-2:]
    if length >= 2 and random.random() < 0.04:
        cut = int(random.integers(1, length))
        return digits[:cut] + str(random.choice(["-", "/"])) + digits[cut:]
    return digits
