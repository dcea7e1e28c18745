"""Measure what the number of digits is worth where it is known: `python benchmarks/known_lengths.py`.

People and fonts that training holds out write five kinds of composed pages: one number in groups of two to
four digits, as of a card; a field of boxes that holds one number; equal rows of boxes, one below the other,
all filled; tables of single digits; and the worst case for groups, a picture that cuts the first and the last
number of a row so that their pieces have together as many digits as a number. Each is read without a
constraint and with the length that its numbers have. Pages on which no number is seen whole are left out,
such as most that are turned far. The columns are the pages and those of `held_out_scenes.py`; the first three
shares are without a constraint. A piece of a number is never right.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from composed_pages import DIGIT_PX, SIDES_PX, judged_scene
from held_out.sheet import HeldOutScene
from held_out_scenes import FIELDS, score_page
from saved_rows import add_output, save_rows

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Corners, Kind
from digitcli.synthesis.page_layouts import Layout, fill_with_table
from digitcli.synthesis.page_marks import Desk
from digitcli.synthesis.page_parts import COMB_DISTANCE, CombStyle, draw_comb, fill_with_one_comb
from digitcli.synthesis.scenes import Scene, SceneComposer
from digitcli.synthesis.stamps import side_by_side
from digitcli.synthesis.texts import sample_integer
from digitcli.training.synthetic_lines import scene_composer

# Ranges, chosen by hand: the digits of a number in groups, those of a group, and the gap between two groups
# in heights of a digit; the height of a field of boxes in pixels, and its width in heights; the boxes of each
# of several rows.
NUMBER_DIGITS = (5, 16)
GROUP_DIGITS = (2, 4)
GROUP_GAP = (0.45, 1.8)
FIELD_PX = (30, 160)
FIELD_WIDTH = (2.5, 9.0)
COMB_CELLS = (3, 9)


# A page, and the digits of each of its numbers.
Example = tuple[HeldOutScene, int]


def groups(composer: SceneComposer, random: np.random.Generator) -> Example | None:
    """Compose a picture of one number in groups."""
    scene, length = _row_of_groups(composer, random, numbers=1)
    scene = judged_scene(scene)
    return (scene, length) if scene.labels else None


def cut_row(composer: SceneComposer, random: np.random.Generator) -> Example | None:
    """Cut the first and the last of two or three numbers in groups."""
    scene, length = _row_of_groups(composer, random, numbers=int(random.integers(2, 4)))
    labels = sorted(scene.labels, key=lambda label: label.corners[0, 0, 0])
    kept = int(random.integers(1, length))  # digits of the last number; of the first one those up to a whole
    left, right = _edge(labels[0].corners, kept), _edge(labels[-1].corners, kept)
    if not 0 < left < right < scene.picture.shape[1]:
        return None
    whole = tuple(replace(label, corners=label.corners - np.float32([left, 0])) for label in labels[1:-1])
    return HeldOutScene(np.ascontiguousarray(scene.picture[:, left:right]), whole, ()), length


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


def _page(composer: SceneComposer, random: np.random.Generator, layout: Layout) -> HeldOutScene:
    height, width = np.exp(random.uniform(*np.log(SIDES_PX), 2)).astype(int).tolist()
    digit_px = float(np.exp(random.uniform(*np.log(DIGIT_PX))))
    return judged_scene(composer.page(random, height, width, digit_px=digit_px, layout=layout))


KINDS = {"groups": groups, "field": field, "combs": combs, "table": table, "cut row": cut_row}


def main() -> None:
    """Read the pages of each kind, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=200, help="pages of each kind (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the pages (default: 1)")
    add_output(parser)
    arguments = parser.parse_args()
    composer = scene_composer(split(load_mnist()).validation, held_out=True)
    columns = f"{'offered':>8} {'recall':>8} {'precision':>10}"
    print(f"{'kind':8} {'pages':>6} {'numbers':>8} {columns} {'length:':>9} {columns}")
    rows = {}
    for kind in KINDS:
        totals, pages = np.zeros((2, 4), np.int64), 0
        for scene, length in examples(kind, composer, arguments.seed, arguments.pages):
            readings = [each.read(scene.picture) for each in (reader(), reader(length))]
            totals += [score_page(scene, reading) for reading in readings]
            pages += 1
        cells = ["{:8.1%} {:8.1%} {:10.1%}".format(*shares(total)) for total in totals]
        print(f"{kind:8} {pages:6} {totals[0, 0]:8} {cells[0]} {'':9} {cells[1]}", flush=True)
        for name, total in zip((kind, f"{kind}, length"), totals, strict=True):
            rows[name] = {"numbers": int(total[0]), **dict(zip(FIELDS, shares(total), strict=True))}
    save_rows(arguments.output, rows)


@functools.cache
def reader(length: int | None = None) -> Reader:
    """Return the default reader for numbers of a length."""
    constraints = None if length is None else parse_constraints(length=str(length))
    return Reader(device="cpu", rotate="0", constraints=constraints)


def examples(kind: str, composer: SceneComposer, seed: int, pages: int) -> Iterator[Example]:
    """Yield the pages of a kind that are not left out."""
    for page in range(pages):
        random = np.random.default_rng([seed, list(KINDS).index(kind), page])
        if (example := KINDS[kind](composer, random)) is not None:
            yield example


def shares(total: np.ndarray) -> tuple[float, float, float]:
    """Return the shares of `composed_pages.py`: numbers offered, numbers answered, right answers."""
    return total[1] / max(total[0], 1), total[2] / max(total[0], 1), total[2] / max(total[3], 1)


if __name__ == "__main__":
    main()
