"""Fit the confidence of `picture_reader`: `python scripts/calibrate_pictures.py`.

The script shows it composed pictures by held-out hands and in held-out fonts, and pictures of generators that
training never sees, and blank paper. It writes into its checkpoint the weights of the probability that its
text is right, and those of the probability that a number stands where no network found one.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from calibrate_pages import Place, fit
from held_out.sheet import held_out_room
from held_out_scenes import WORLDS, single_number

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.imaging.grayscale import Grey
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import load_line_recognizer
from digitcli.recognition.page_networks import (
    NOTHING_FEATURES,
    NUMBER_FEATURES,
    PictureNetwork,
    features_of_nothing,
)
from digitcli.recognition.reader import Reader
from digitcli.recognition.recognize import recognize_region
from digitcli.strip_format import OTHER
from digitcli.synthesis.page import Kind
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.strips import strip_of_picture
from digitcli.training.synthetic_lines import compose_scenes, scene_composer

MODEL = "picture_reader"
SIDES_PX = (30, 1200)  # range of the sides of blank pages
SEED = 90210  # different from those of other scripts and of training


@dataclass(frozen=True)
class Example:
    """A picture, the digits of its only number, empty if there is none, and whether it shows any number."""

    picture: Grey
    text: str
    is_number: bool


def main() -> None:
    """Fit the weights, print them and write them into the checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--composed", type=int, default=6000, help="composed pictures (default: 6,000)")
    parser.add_argument("--held-out", type=int, default=300, help="of each generator (default: 300)")
    arguments = parser.parse_args()
    examples = list(compose(arguments.composed, arguments.held_out))
    write(acceptance=fit_acceptance(examples), presence={})
    write(presence=fit_presence(examples))


def fit_acceptance(examples: Sequence[Example]) -> dict[str, float]:
    """Return the weights of the probability that the text of the network is right."""
    reader = PictureNetwork(load_line_recognizer(MODEL, "cpu"))
    places = []
    for example in examples:
        evidence = reader.look(example.picture)
        nothing = evidence.hypotheses(ANY_DIGITS).get("", 0.0)
        (result, *others) = recognize_region(evidence, None, 1)
        if result.number is not None and not others and OTHER not in evidence.raw:
            read, probability = result.number.text, result.confidence
            values = evidence.features(read, probability, nothing)
            places.append(Place(values, read == example.text, example.is_number))
    print(f"{len(places)} numbers, {np.mean([place.is_right for place in places]):.1%} right")
    return fit(places, [place.is_right for place in places], NUMBER_FEATURES)


def fit_presence(examples: Sequence[Example]) -> dict[str, float]:
    """Return the weights of the probability that a number stands where no network found one."""
    reader = Reader(device="cpu")
    picture_reader = reader.models.picture_network
    assert picture_reader is not None
    places = []
    for example in examples:
        reading = reader.read(example.picture)
        if not reading.numbers:
            nothing = picture_reader.look(example.picture).hypotheses(ANY_DIGITS).get("", 0.0)
            values = features_of_nothing(nothing)
            places.append(Place(values, False, example.is_number))
    print(
        f"{len(places)} without an answer, {np.mean([place.is_number for place in places]):.1%} with a number"
    )
    return fit(places, [place.is_number for place in places], NOTHING_FEATURES)


def write(**weights: dict[str, float]) -> None:
    """Print weights and write them into the checkpoint."""
    for name, each in weights.items():
        print(name, {feature: round(weight, 3) for feature, weight in each.items()})
    path = resolve_model(MODEL).path
    header, tensors = read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(header, **weights), tensors)


def compose(composed: int, held_out: int) -> Iterator[Example]:
    """Yield composed pictures, and pictures of generators that training never sees."""
    validation = split(load_mnist()).validation
    composer = scene_composer(validation, held_out=True)
    for scene in compose_scenes(composer, np.random.default_rng(SEED), composed):
        text = strip_of_picture(scene).text
        is_number = any(label.kind is Kind.NUMBER and label.text for label in scene.labels)
        yield Example(scene.picture, "" if OTHER in text else re.sub(r"\D", "", text), is_number)
    yield from blank_pages(composer, composed // 10)
    room = held_out_room(validation)
    for index, world in enumerate(WORLDS.values()):
        for number in range(held_out):
            held = single_number(world, np.random.default_rng([SEED, index, number]), room)
            (label,) = (label for label in held.labels if label.text)
            yield Example(held.picture, re.sub(r"\D", "", label.text), is_number=True)


def blank_pages(composer: SceneComposer, count: int) -> Iterator[Example]:
    """Yield paper on which nothing is written, every other time of one shade only."""
    for number in range(count):
        random = np.random.default_rng([SEED, number])
        height, width = np.exp(random.uniform(*np.log(SIDES_PX), 2)).astype(int).tolist()
        page = composer.page(random, height, width, layout=lambda desk: None).picture
        shade = np.full((height, width), random.integers(100, 256), np.uint8)
        yield Example(page if number % 2 else shade, "", is_number=False)


if __name__ == "__main__":
    main()
