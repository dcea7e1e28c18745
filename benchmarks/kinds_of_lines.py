"""Measure reading of composed lines by what is written: `python benchmarks/kinds_of_lines.py`.

Lines are composed as for training, by held-out hands and with MNIST's validation digits, so that figures show
what a change of weights costs, and not how well real lines are read. A gain of one kind is often a loss of
another: a slanted 1 looks like a slash. Lines of `images` are written with MNIST's images, deformed, and
those of `side by side` are four of them as they are. For each kind the columns are the lines whose digits are
right, the answers, the wrong answers, and the lines in which a slash is read.
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Callable

import numpy as np
from picture_faults import Grey
from picture_faults import compose as put_side_by_side

from digitcli.data.dataset import Digits, split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import DEFAULT_MODELS
from digitcli.synthesis.lines import LineSynthesizer, compose_text
from digitcli.synthesis.paper import photograph
from digitcli.synthesis.texts import sample_amount, sample_decimal, sample_integer
from digitcli.synthesis.writers import Writer, sample_style
from digitcli.training.synthetic_lines import scene_composer

SIDE_BY_SIDE = 4  # digits of MNIST beside each other

Sample = Callable[[np.random.Generator], str]


def sample_number_with_one(random: np.random.Generator) -> str:
    """Return an integer of 2 to 6 digits, at least one of which is a 1."""
    text = sample_integer(random, 2, 6)
    place = int(random.integers(len(text)))
    return f"{text[:place]}1{text[place + 1 :]}"


def sample_date(random: np.random.Generator) -> str:
    """Return a date with slashes: `3/12/1987`, `03/12/87`, `3/12`."""
    width = int(random.integers(1, 3))
    year = int(random.integers(1900, 2100))
    years = (f"/{year}", f"/{year % 100:02}", "")
    return f"{random.integers(1, 32):0{width}}/{random.integers(1, 13):0{width}}{random.choice(years)}"


TEXTS: dict[str, Sample] = {
    "amounts": sample_amount,
    "integers": lambda random: sample_integer(random, 1, 8),
    "decimals": sample_decimal,
    "dates with slashes": sample_date,
    "fractions": lambda random: f"{sample_integer(random, 1, 3)}/{sample_integer(random, 1, 3)}",
    "/- and /= behind": lambda random: sample_integer(random, 2, 6) + str(random.choice(["/-", "/="])),
    "images, with a 1": sample_number_with_one,
}


def compose_line(
    random: np.random.Generator, lines: LineSynthesizer, digits: Digits, kind: str
) -> tuple[Grey, str]:
    """Return a line of a kind, and its digits."""
    if kind not in TEXTS:
        chosen = random.integers(len(digits.images), size=SIDE_BY_SIDE)
        return put_side_by_side(digits.images[chosen]), "".join(map(str, digits.labels[chosen]))
    text = TEXTS[kind](random)
    writer = lines.sample_writer(random, text)
    if kind.startswith("images"):
        images = [digits.images[digits.labels == digit] for digit in range(10)]
        writer = Writer(sample_style(random), images, None, random)
    composition = compose_text(random, writer, text)
    return photograph(random, composition.ink, composition.distractors), re.sub(r"\D", "", text)


def main() -> None:
    """Compose lines of each kind, read them, and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=500, help="the lines of each kind (default: 500)")
    parser.add_argument("--model", "-m", action="append", help="as in digitcli predict")
    parser.add_argument("--min-confidence", type=float, help="as in digitcli predict")
    arguments = parser.parse_args()
    digits = split(load_mnist()).validation
    lines = scene_composer(digits, held_out=True).lines
    models = arguments.model or DEFAULT_MODELS
    reader = Reader(*models, device="cpu", min_confidence=arguments.min_confidence)
    print(f"{arguments.count} lines of each kind    right  answered  wrong  with a slash")
    for kind in (*TEXTS, "side by side"):
        random = np.random.default_rng(zlib.crc32(kind.encode()))
        right = answered = wrong = slashes = 0
        for _ in range(arguments.count):
            picture, text = compose_line(random, lines, digits, kind)
            reading = reader.read(picture)
            is_answer = reading.status in ("read", "partial")
            right += reading.text == text
            answered += is_answer
            wrong += is_answer and reading.text != text
            slashes += "/" in (reading.raw or "")
        print(f"{kind:22}{right:13}{answered:10}{wrong:7}{slashes:14}", flush=True)


if __name__ == "__main__":
    main()
