"""Measure what each network of the reader is worth: `python benchmarks/networks.py [FOLDER]`.

Each row leaves a part of the way of a picture out: the further strips, the glance, or the
network that groups digits. What is read are pictures of one number and pages by the generators of
`benchmarks/judging`, which training never sees. FOLDER holds sets of labelled pictures, as for
`benchmarks/reading.py`, which are read too.

right: the share of the numbers that are read, answered or not. answered: the share of them that is answered
the default limits. wrong: the share of these answers that is wrong (selective risk). coverage: the largest
share of the numbers that can be answered, the surest first, with 1 % of the answers wrong. ms: the mean time
for a picture. Every row has the confidence and the limits of the whole reader, which suit it best.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from judging.grids import GRIDS, grid_page
from judging.ink import judging_room
from judging.score import WORLDS, judge, single_number
from reading import labels_below
from scenes import DrawnScene
from support import Output, Rows, digits_of, open_app

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition import line_reading
from digitcli.recognition.pages import PageNetworks
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading
from digitcli.synthesis.page import Kind

app = open_app(__doc__)
Change = Callable[[PageNetworks], PageNetworks]
Outcome = tuple[float, bool, bool]  # confidence of a number; whether it is answered; whether it is right
VARIANTS: dict[str, Change] = {
    "the whole reader": lambda networks: networks,
    "one strip of each line": lambda networks: networks,
    "without a glance": lambda networks: dataclasses.replace(networks, picture=None),
    "without grouper": lambda networks: dataclasses.replace(networks, grouper=None),
}


@app.command()
def main(
    folder: Annotated[Path | None, typer.Argument(help="Sets of labelled pictures.")] = None,
    singles: int = 1000,
    pages: int = 8,
    seed: int = 11,
    output: Output = None,
) -> None:
    """Read `--singles` pictures of one number, and `--pages` of each generator."""
    sets = {"singles": list(single_numbers(singles, seed)), "pages": list(scenes(pages, seed))}
    rows = Rows()
    for name, change in VARIANTS.items():
        reader = Reader(device="cpu")
        assert reader.models.page_networks is not None
        networks = change(reader.models.page_networks)
        reader.models = dataclasses.replace(reader.models, page_networks=networks)
        margins = line_reading.MARGINS
        line_reading.MARGINS = margins[:1] if name.startswith("one strip") else margins
        for title, held_out in sets.items():
            outcomes, shown, took = read_scenes(reader, held_out)
            rows.add(f"{title}, {name}", row_of(outcomes, shown, took / len(held_out)))
        for title, labelled in labels_below(folder).items() if folder else ():
            if not title.startswith("pages") and all(labelled.values()):
                outcomes, took = read_pictures(reader, labelled)
                rows.add(f"{title}, {name}", row_of(outcomes, len(labelled), took / len(labelled)))
        line_reading.MARGINS = margins
    rows.save(output)


def single_numbers(count: int, seed: int) -> Iterator[DrawnScene]:
    """Yield pictures of one number by each generator in turn."""
    room, worlds = judging_room(split(load_mnist()).test), list(WORLDS.values())
    for number in range(count):
        yield single_number(worlds[number % len(worlds)], np.random.default_rng([seed, number]), room)


def scenes(count: int, seed: int) -> Iterator[DrawnScene]:
    """Yield pages of several numbers by each generator."""
    room = judging_room(split(load_mnist()).test)
    for index, fill in enumerate(GRIDS.values()):
        yield from (
            grid_page(np.random.default_rng([seed, index, page]), room, fill) for page in range(count)
        )
    for index, world in enumerate(WORLDS.values(), len(GRIDS)):
        yield from (world(np.random.default_rng([seed, index, page]), room, None) for page in range(count))


def read_scenes(reader: Reader, held_out: Sequence[DrawnScene]) -> tuple[list[Outcome], int, float]:
    """Return what is read, the numbers that are shown, and the seconds it took."""
    outcomes: list[Outcome] = []
    start = time.perf_counter()
    readings = [reader.read(scene.picture) for scene in held_out]
    took = time.perf_counter() - start
    for scene, reading in zip(held_out, readings, strict=True):
        for number, is_right in zip(reading.numbers, judge(scene, reading.numbers), strict=True):
            if is_right is not None:
                outcomes.append((number.confidence, number.status == "read", is_right))
    shown = sum(label.kind is Kind.NUMBER for scene in held_out for label in scene.labels)
    return outcomes, shown, took


def read_pictures(reader: Reader, labelled: Mapping[str, str]) -> tuple[list[Outcome], float]:
    """Return how labelled pictures of one number are read, and the seconds it took."""
    start = time.perf_counter()
    readings = [reader.read(path) for path in labelled]
    took = time.perf_counter() - start
    return [_outcome(reading, text) for reading, text in zip(readings, labelled.values(), strict=True)], took


def _outcome(reading: Reading, text: str) -> Outcome:
    return reading.confidence or 0.0, reading.status == "read", digits_of(reading.text) == text


def row_of(outcomes: Sequence[Outcome], shown: int, seconds: float) -> dict[str, float | int]:
    """Return the shares that the head of this script explains."""
    ranked = sorted(outcomes, reverse=True)
    right = np.array([is_right for _, _, is_right in ranked])
    answered = np.array([is_answered for _, is_answered, _ in ranked])
    sure = np.flatnonzero(np.cumsum(~right) <= 0.01 * np.arange(1, len(right) + 1))
    return {
        "numbers": shown,
        "right": float(right.sum() / shown),
        "answered": float(answered.sum() / shown),
        "wrong": float((answered & ~right).sum() / max(answered.sum(), 1)),
        "coverage": float((sure[-1] + 1 if len(sure) else 0) / shown),
        "ms": 1000 * seconds,
    }


if __name__ == "__main__":
    app()
