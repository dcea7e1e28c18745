"""Measure reading of synthetic pages by people and fonts that training holds out.

    python benchmarks/synthetic_pages.py layouts
    python benchmarks/synthetic_pages.py lengths
    python benchmarks/synthetic_pages.py lines

The columns of pages are those of `judged_scenes.py`. Training composes such pages, and
`scripts/calibrate.py pages` fits the confidence on pages by the same people, so that the figures say less
about other pages: they show which layout gains or loses. A number of which more than a tenth of a character
lies outside of the picture counts neither as right nor as wrong.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from judging.score import judged_scene, page_row, score_page
from scenes import DrawnScene
from support import Models, Output, Rows, held_out_composer, open_app, shares

from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Corners, Kind
from digitcli.synthesis.page_layouts import (
    Layout,
    fill_with_form,
    fill_with_free_numbers,
    fill_with_table,
    fill_with_text,
)
from digitcli.synthesis.page_marks import Desk
from digitcli.synthesis.page_parts import (
    COMB_DISTANCE,
    CombStyle,
    draw_comb,
    fill_with_combs,
    fill_with_exercises,
    fill_with_one_comb,
    fill_with_sums,
)
from digitcli.synthesis.scenes import Scene, SceneComposer
from digitcli.synthesis.stamps import side_by_side
from digitcli.synthesis.texts import sample_amount, sample_decimal, sample_integer

app = open_app(__doc__)
Example = tuple[DrawnScene, int]  # a page, and the digits of each of its numbers

LAYOUTS = {
    "free": fill_with_free_numbers,
    "table": fill_with_table,
    "form": fill_with_form,
    "combs": fill_with_combs,
    "text": fill_with_text,
    "sums": fill_with_sums,
    "exercises": fill_with_exercises,
}
# Ranges, chosen by hand: sides of a page with room for several numbers, and heights of digits that a person
# reads without effort, so that a layout and not its size decides.
SIDES_PX = (400, 1200)
DIGIT_PX = (20.0, 60.0)
# Ranges, chosen by hand: the digits of a number in groups, those of a group, and the gap between two groups
# in heights of a digit; the height of a field of boxes in pixels, and its width in heights; the boxes of each
# of several rows.
NUMBER_DIGITS = (5, 16)
GROUP_DIGITS = (2, 4)
GROUP_GAP = (0.45, 1.8)
FIELD_PX = (30, 160)
FIELD_WIDTH = (2.5, 9.0)
COMB_CELLS = (3, 9)
LINES: dict[str, Callable[[np.random.Generator], str]] = {
    "amounts": sample_amount,
    "integers": lambda random: sample_integer(random, 1, 8),
    "decimals": sample_decimal,
    "fractions": lambda random: f"{sample_integer(random, 1, 3)}/{sample_integer(random, 1, 3)}",
    "/- and /= behind": lambda random: sample_integer(random, 2, 6) + str(random.choice(["/-", "/="])),
}


@app.command()
def layouts(pages: int = 60, seed: int = 1, max_error: float | None = None, output: Output = None) -> None:
    """Read pages of each layout but those of one number or none.

    A table counts as one of digits if most of its numbers have one digit.
    """
    reader, composer = Reader(device="cpu", rotate="0", max_error=max_error), held_out_composer()
    totals: dict[str, npt.NDArray[np.int64]] = {}
    for index, (layout, fill) in enumerate(LAYOUTS.items()):
        for page in range(pages):
            scene = _page(composer, np.random.default_rng([seed, index, page]), fill)
            digits = sum(len(label.text) for label in scene.labels)
            is_of_digits = layout == "table" and scene.labels and digits < 1.5 * len(scene.labels)
            name = f"{layout} of digits" if is_of_digits else layout
            totals[name] = totals.get(name, 0) + score_page(scene, reader.read(scene.picture))
    rows = Rows()
    for name, total in totals.items():
        rows.add(name, page_row(total))
    fields = ("offered", "recall", "precision")
    rows.add("mean", {field: float(np.mean([row[field] for row in rows.values()])) for field in fields})
    rows.save(output)


@app.command()
def lengths(pages: int = 200, seed: int = 1, output: Output = None) -> None:
    """Read pages without a constraint, and with the number of digits that their numbers have.

    There are five kinds: one number in groups of two to four digits, as of a card; a field of boxes that
    holds one number; equal rows of boxes, one below the other, all filled; tables of single digits; and the
    worst case for groups, a picture that cuts the first and the last number of a row so that their pieces
    have together as many digits as a number. Pages on which no number is seen whole are left out. A piece of
    a number is never right.
    """
    composer, rows = held_out_composer(), Rows()
    for kind in KINDS:
        totals = np.zeros((2, 4), np.int64)
        for scene, length in examples(kind, composer, seed, pages):
            readings = [each.read(scene.picture) for each in (_reader(), _reader(length))]
            totals += [score_page(scene, reading) for reading in readings]
        for name, total in zip((kind, f"{kind}, length"), totals, strict=True):
            rows.add(name, page_row(total))
    rows.save(output)


@app.command()
def lines(count: int = 500, model: Models = (), output: Output = None) -> None:
    """Read lines by what is written: a gain of one kind is often a loss of another."""
    composer, reader, rows = held_out_composer(), Reader(*model, device="cpu"), Rows()
    for kind, sample in LINES.items():
        random = np.random.default_rng(zlib.crc32(kind.encode()))
        readings, texts = [], []
        for _ in range(count):
            text = sample(random)
            readings.append(reader.read(composer.line(random, text).picture))
            texts.append(re.sub(r"\D", "", text))
        with_slash = np.mean(["/" in (reading.raw or "") for reading in readings])
        rows.add(kind, {**shares(readings, texts), "with_slash": float(with_slash)})
    rows.save(output)


@functools.cache
def _reader(length: int | None = None) -> Reader:
    constraints = None if length is None else parse_constraints(length=str(length))
    return Reader(device="cpu", rotate="0", constraints=constraints)


def examples(kind: str, composer: SceneComposer, seed: int, pages: int) -> Iterator[Example]:
    """Yield the pages of a kind that are not left out."""
    for page in range(pages):
        random = np.random.default_rng([seed, list(KINDS).index(kind), page])
        if (example := KINDS[kind](composer, random)) is not None:
            yield example


def groups(composer: SceneComposer, random: np.random.Generator) -> Example | None:
    """Compose a picture of one number in groups."""
    scene, length = _row_of_groups(composer, random, numbers=1)
    scene = judged_scene(scene)
    return (scene, length) if scene.labels else None


def cut_row(composer: SceneComposer, random: np.random.Generator) -> Example | None:
    """Cut the first and the last of two or three numbers in groups."""
    scene, length = _row_of_groups(composer, random, numbers=int(random.integers(2, 4)))
    numbers = (label for label in scene.labels if label.kind is Kind.NUMBER)
    labels = sorted(numbers, key=lambda label: label.corners[0, 0, 0])
    kept = int(random.integers(1, length))  # digits of the last number; of the first one those up to a whole
    left, right = _edge(labels[0].corners, kept), _edge(labels[-1].corners, kept)
    if not 0 < left < right < scene.picture.shape[1]:
        return None
    whole = tuple(replace(label, corners=label.corners - np.float32([left, 0])) for label in labels[1:-1])
    return DrawnScene(np.ascontiguousarray(scene.picture[:, left:right]), whole, ()), length


def _row_of_groups(composer: SceneComposer, random: np.random.Generator, numbers: int) -> tuple[Scene, int]:
    length = int(random.integers(NUMBER_DIGITS[0], NUMBER_DIGITS[1] + 1))
    size = int(random.integers(GROUP_DIGITS[0], GROUP_DIGITS[1] + 1))
    gap = random.uniform(*GROUP_GAP)
    digit_px = float(np.exp(random.uniform(*np.log(DIGIT_PX))))

    def fill(desk: Desk) -> None:
        x = 0.6 * desk.height_px
        for _ in range(numbers):
            text = sample_integer(desk.random, length, length)
            parts = [desk.number(text[start : start + size]) for start in range(0, length, size)]
            number = side_by_side(parts, gap * desk.height_px)
            desk.page.put(number, x, 0.5 * desk.height_px, Kind.NUMBER, text)
            x += number.width + gap * desk.height_px * desk.uniform(1, 2)

    width = int(digit_px * (1.75 * length + 2) * numbers)
    return composer.page(random, int(2 * digit_px), width, digit_px=digit_px, layout=fill), length


def _edge(corners: Corners, place: int) -> int:
    """Return the middle between a character and the one before it, in pixels from the left."""
    return round(float(corners[place - 1, :, 0].max() + corners[place, :, 0].min()) / 2)


def field(composer: SceneComposer, random: np.random.Generator) -> Example | None:
    """Compose a picture of a row of boxes, not all of which are filled."""
    height = int(random.integers(*FIELD_PX))
    width = int(height * random.uniform(*FIELD_WIDTH))
    scene = judged_scene(composer.page(random, height, width, layout=fill_with_one_comb))
    return (scene, len(scene.labels[0].text)) if len(scene.labels) == 1 else None


def combs(composer: SceneComposer, random: np.random.Generator) -> Example | None:
    """Compose a page of equal rows of boxes, all of which are filled."""
    cells = int(random.integers(*COMB_CELLS))

    def fill(desk: Desk) -> None:
        style = CombStyle.sample(desk)
        step = style.above + desk.height_px * (1 + desk.uniform(*COMB_DISTANCE)) + style.below
        left, top = desk.uniform(0.1, 1.5) * desk.height_px, desk.uniform(0.5, 1.5) * desk.height_px
        across = cells * style.pitch + desk.uniform(0.8, 3) * desk.height_px
        for x in np.arange(left, desk.page.width - cells * style.pitch, across):
            for y in np.arange(top, desk.page.height, step):
                draw_comb(desk, x, y, cells, style, is_full=True)

    scene = _page(composer, random, fill)
    return (scene, cells) if {len(label.text) for label in scene.labels} == {cells} else None


def table(composer: SceneComposer, random: np.random.Generator) -> Example | None:
    """Compose a table of single digits; another table is left out."""
    scene = _page(composer, random, fill_with_table)
    return (scene, 1) if {len(label.text) for label in scene.labels} == {1} else None


def _page(composer: SceneComposer, random: np.random.Generator, layout: Layout) -> DrawnScene:
    height, width = np.exp(random.uniform(*np.log(SIDES_PX), 2)).astype(int).tolist()
    digit_px = float(np.exp(random.uniform(*np.log(DIGIT_PX))))
    return judged_scene(composer.page(random, height, width, digit_px=digit_px, layout=layout))


KINDS = {"groups": groups, "field": field, "combs": combs, "table": table, "cut row": cut_row}

if __name__ == "__main__":
    app()
