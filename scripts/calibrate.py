"""Measure which confidence keeps the share of wrong answers below which limit.

    python scripts/calibrate.py

The default models read what they never saw: lines by the writers that training holds out, most of them
amounts, with MNIST's validation digits; single numbers and pages of the generators of
`benchmarks/held_out_scenes.py`; and as many pictures without a number, half of which are parts of such pages
and half composed. Every answer to these is wrong. The only number that is read in a picture counts in the
limits of `reader`, numbers beside others in those of `page_reader`, as in `digitcli predict`. The script
writes the limits into the checkpoints of both. Run `scripts/calibrate_pages.py` first: it fits the weights of
the confidence.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from digitcli.data.dataset import Dataset, split
from digitcli.data.mnist import load_mnist
from digitcli.evaluation.calibration import risk_table
from digitcli.evaluation.metrics import calibration_error
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Kind, Label, corners_of
from digitcli.synthesis.page_layouts import fill_with_nothing
from digitcli.synthesis.scenes import SceneComposer
from digitcli.training.line_sources import ComposedLines
from digitcli.training.synthetic_lines import scene_composer

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from held_out.handwritten import exam, letter
from held_out.printed import receipt
from held_out.sheet import HeldOutRoom, HeldOutScene, bounds, held_out_room, overlap
from held_out_scenes import WORLDS, judge, single_number

SEED = 4711  # different from the seed of `digitcli evaluate`
SIDES_PX = (60, 700)  # range of the sides of small pictures without a number
PAGE_SIDES_PX = (400, 1400)  # the same of pages
MARGIN_PX = 5  # least distance of a part of a page from every number on it
TRIES = 20  # to find such parts on a page; few of them succeed
# Whose parts are read: screws and pointers of a meter look like digits where the rest of it is not seen.
PARTS_OF = (receipt, letter, exam)

Outcomes = list[tuple[float, bool]]  # the confidence of each answer, and whether it is right


def main() -> None:
    """Read the pictures, print the measurements and write them into the checkpoints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=1500, help="lines, and single numbers (default: 1,500)")
    parser.add_argument("--pages", type=int, default=50, help="pages of each generator (default: 50)")
    arguments = parser.parse_args()
    reader = Reader(device="cpu", min_confidence=0.0)
    mnist = load_mnist()
    validation = split(mnist).validation
    room, composer = held_out_room(validation), scene_composer(validation, held_out=True)
    answers_alone, answers_beside = answers(
        reader,
        itertools.chain(
            lines(mnist, arguments.lines),
            single_numbers(room, arguments.lines),
            pictures_without_number(room, composer, 2 * arguments.lines, SIDES_PX),
            pages(room, arguments.pages),
            pictures_without_number(room, composer, arguments.pages * len(WORLDS), PAGE_SIDES_PX),
        ),
    )
    store("reader", answers_alone)
    store("page_reader", answers_beside)


def lines(mnist: Dataset, count: int) -> Iterator[HeldOutScene]:
    """Yield lines, some of which are empty."""
    synthesizer = ComposedLines(mnist, SEED).validation_synthesizer()
    for number in range(count):
        picture, text, boxes = synthesizer.synthesize_photograph(np.random.default_rng([SEED, number]))
        label = Label(Kind.NUMBER, text, corners_of(boxes))
        yield HeldOutScene(picture, (label,) if digits_of(text) else (), ())


def single_numbers(room: HeldOutRoom, count: int) -> Iterator[HeldOutScene]:
    """Yield pictures of one number by each generator in turn."""
    worlds = itertools.cycle(enumerate(WORLDS.values()))
    for number, (index, world) in zip(range(count), worlds, strict=False):
        yield single_number(world, np.random.default_rng([SEED, index, number, 1]), room)


def pages(room: HeldOutRoom, count: int) -> Iterator[HeldOutScene]:
    """Yield pages by each generator."""
    for index, world in enumerate(WORLDS.values()):
        for number in range(count):
            yield world(np.random.default_rng([SEED, index, number]), room, None)


def pictures_without_number(
    room: HeldOutRoom, composer: SceneComposer, count: int, sides_px: tuple[int, int]
) -> Iterator[HeldOutScene]:
    """Yield composed pictures without a number, and parts of pages by generators, in turn."""
    parts = parts_without_number(np.random.default_rng([SEED, 2, *sides_px]), room, sides_px)
    random = np.random.default_rng([SEED, 3, *sides_px])
    for number in range(count):
        if number % 2:
            yield next(parts)
        else:
            scene = composer.page(random, *sample_size(random, sides_px), layout=fill_with_nothing)
            yield HeldOutScene(scene.picture, (), ())


def parts_without_number(
    random: np.random.Generator, room: HeldOutRoom, sides_px: tuple[int, int]
) -> Iterator[HeldOutScene]:
    """Yield parts of pages by generators that show no number, without end; some of them overlap."""
    while True:
        scene = PARTS_OF[int(random.integers(len(PARTS_OF)))](random, room, None)
        numbers = [bounds(label.corners) for label in scene.labels if label.kind is Kind.NUMBER]
        size = np.array(scene.picture.shape)
        for _ in range(TRIES):
            sides = np.minimum(sample_size(random, sides_px), size)
            y, x = random.integers(size - sides + 1).tolist()
            bottom, right = (sides + (y, x)).tolist()
            box = x - MARGIN_PX, y - MARGIN_PX, right + MARGIN_PX, bottom + MARGIN_PX
            if not any(overlap(box, number)[0] > 0 for number in (*numbers, *scene.ignored)):
                yield HeldOutScene(scene.picture[y:bottom, x:right], (), ())


def sample_size(random: np.random.Generator, sides_px: tuple[int, int]) -> tuple[int, int]:
    """Return a height and a width within a range."""
    low, high = (float(np.log(side)) for side in sides_px)
    height, width = np.exp(random.uniform(low, high, 2)).astype(int).tolist()
    return height, width


def answers(reader: Reader, scenes: Iterable[HeldOutScene]) -> tuple[Outcomes, Outcomes]:
    """Return the answers to pictures where one number is read, and those to pictures where several are."""
    alone: Outcomes = []
    beside: Outcomes = []
    for scene in scenes:
        numbers = reader.read(scene.picture).numbers
        texts = [digits_of(label.text) for label in scene.labels if label.kind is Kind.NUMBER]
        if len(numbers) == len(texts) == 1:  # wherever it stands
            judged: Sequence[bool | None] = [numbers[0].text == texts[0]]
        else:
            judged = judge(scene, numbers)
        outcomes = alone if len(numbers) == 1 else beside
        for number, is_right in zip(numbers, judged, strict=True):
            if number.status == "read" and is_right is not None:
                outcomes.append((number.confidence, is_right))
    return alone, beside


def digits_of(text: str) -> str:
    """Return the digits of a text."""
    return re.sub(r"\D", "", text)


def store(model: str, outcomes: Outcomes) -> None:
    """Print the risk table of answers, and write it into the checkpoint of a model."""
    table = risk_table(*zip(*outcomes, strict=True))
    confidences, is_right = (torch.tensor(values) for values in zip(*outcomes, strict=True))
    error = calibration_error(confidences, is_right)
    print(f"{model}: {len(outcomes)} answers, {is_right.double().mean():.1%} right, ECE {error:.4f}")
    for max_error, threshold in table.items():
        share = (confidences >= threshold).double().mean()
        print(f"at most {float(max_error):.1%} wrong: confidence {threshold:.4f}, {share:.1%} answered")
    path = resolve_model(model).path
    header, tensors = read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(header, risk=table), tensors)


if __name__ == "__main__":
    main()
