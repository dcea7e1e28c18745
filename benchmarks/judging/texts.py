"""Texts of pages that training never sees, in several languages."""

from __future__ import annotations

import numpy as np


def sample_integer(random: np.random.Generator, shortest: int, longest: int) -> str:
    """Return random digits; numbers of several digits seldom begin with a zero."""
    digits = random.integers(0, 10, int(random.integers(shortest, longest + 1)))
    if len(digits) > 1 and random.random() < 0.9:
        digits[0] = random.integers(1, 10)
    return "".join(map(str, digits.tolist()))


SHOPS = [
    "City Market", "Bakery Huber", "Cafe Central", "Super Discount", "Farmacia Sol", "Boucherie Martin",
    "Book Store",
]  # fmt: skip
GOODS = [
    "Milk", "Bread", "Butter", "Coffee", "Apples", "Tomatoes", "Cheese", "Olive oil", "Rice", "Soap",
    "Sugar", "Pasta", "Yoghurt", "Eggs", "Honey", "Tea", "Batteries", "Napkins", "Salad", "Lemonade",
    "Salz", "Kartoffeln", "Fromage", "Jambon", "Zumo", "Leche", "Queso", "Chocolate",
]  # fmt: skip
METERS = ["GAS METER", "Watt-hour meter", "Wasserzaehler", "ODO", "Compteur", "Contador"]
UNITS = ["kWh", "m³", "km", "kvarh", "Liter", "GJ"]
NAMES = [
    "Anna Keller", "Tom Brown", "Marie Dubois", "Luis Ortega", "Eva Lind", "Paul Meyer", "Nora Rossi",
    "Jan Novak",
]  # fmt: skip
STREETS = [
    "Station Road", "Main Street", "Gartenweg", "Rue de la Paix", "Via Roma", "Hill Lane", "Lindenallee",
    "Calle Mayor",
]  # fmt: skip
CITIES = [
    "Springfield", "Hamburg", "Lyon", "Torino", "Sevilla", "Basel", "Leeds", "Graz", "Oslo", "Gent",
]  # fmt: skip
WORDS = [
    "we", "arrive", "on", "the", "train", "from", "and", "will", "stay", "until", "please", "call", "me",
    "at", "home", "thank", "you", "for", "your", "letter", "best", "wishes", "see", "next", "week",
    "garden", "weather", "was", "lovely", "our", "room", "number", "with", "love",
]  # fmt: skip
WEEKDAYS = [
    "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
]  # fmt: skip


def price(random: np.random.Generator, longest: int = 2) -> str:
    """Return a price."""
    point = "." if random.random() < 0.6 else ","
    return str(int(sample_integer(random, 1, longest))) + point + sample_integer(random, 2, 2)


def date(random: np.random.Generator, separator: str) -> str:
    """Return a date of two or three parts."""
    day, month, year = random.integers(1, 32), random.integers(1, 13), random.integers(1950, 2030)
    return separator.join(
        [f"{day:02}", f"{month:02}", f"{year}" if random.random() < 0.6 else f"{year % 100:02}"]
    )


def clock(random: np.random.Generator) -> str:
    """Return a time."""
    return f"{random.integers(24)}:{random.integers(60):02}"


def postcode(random: np.random.Generator) -> str:
    """Return a postal code of four to six digits."""
    return sample_integer(random, 4, 6)


def telephone(random: np.random.Generator) -> str:
    """Return a telephone number, whose parts are joined by marks."""
    separator = "-" if random.random() < 0.6 else "/"
    return "0" + sample_integer(random, 2, 3) + separator + sample_integer(random, 4, 6)
