"""Fit the confidence of `picture_reader`: `python scripts/calibrate_pictures.py`.

The script shows it composed pictures by held-out hands and in held-out fonts, and pictures of generators that
training never sees, and writes the weights of the probability that its text is right into its checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from calibrate_pages import Place, fit
from held_out.sheet import held_out_room
from held_out_scenes import WORLDS, single_number

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.imaging.finder_input import Grey
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import load_line_recognizer
from digitcli.recognition.pages.recognize import recognize_region
from digitcli.recognition.picture_reader import PictureReader
from digitcli.strip_format import OTHER
from digitcli.synthesis.strips import strip_of_picture
from digitcli.training.line_sources import compose_scenes
from digitcli.training.scene_source import scene_composer

MODEL = "picture_reader"
SEED = 90210  # different from those of other scripts and of training


def main() -> None:
    """Fit the weights, print them and write them into the checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--composed", type=int, default=6000, help="composed pictures (default: 6,000)")
    parser.add_argument("--held-out", type=int, default=300, help="of each generator (default: 300)")
    arguments = parser.parse_args()
    reader = PictureReader(load_line_recognizer(MODEL, "cpu"), acceptance={})
    places = []
    for picture, text in pictures(arguments.composed, arguments.held_out):
        evidence = reader.look(picture)
        nothing = evidence.hypotheses(ANY_DIGITS).get("", 0.0)
        (result, *others) = recognize_region(evidence, None, 1)
        if result.number is not None and not others and OTHER not in evidence.raw:
            read, probability = result.number.text, result.confidence
            values = evidence.features(probability, nothing, len(read))
            places.append(Place(list(values.values()), read == text, bool(text)))
    acceptance = fit(places, [place.is_right for place in places])
    print(f"{len(places)} numbers, {np.mean([place.is_right for place in places]):.1%} right")
    print({feature: round(weight, 3) for feature, weight in acceptance.items()})
    path = resolve_model(MODEL).path
    header, tensors = read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(header, acceptance=acceptance), tensors)


def pictures(composed: int, held_out: int) -> Iterator[tuple[Grey, str]]:
    """Yield pictures and the digits of their only number, which are empty if there is none."""
    validation = split(load_mnist()).validation
    composer = scene_composer(validation, held_out=True)
    for scene in compose_scenes(composer, np.random.default_rng(SEED), composed):
        text = strip_of_picture(scene).text
        yield scene.picture, "" if OTHER in text else re.sub(r"\D", "", text)
    room = held_out_room(validation)
    for index, world in enumerate(WORLDS.values()):
        for number in range(held_out):
            held = single_number(world, np.random.default_rng([SEED, index, number]), room)
            (label,) = (label for label in held.labels if label.text)
            yield held.picture, re.sub(r"\D", "", label.text)


if __name__ == "__main__":
    main()
