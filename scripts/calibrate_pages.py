"""Fit the confidence of the networks that read pages.

    python scripts/calibrate_pages.py

The weights of `recognition.page_decision` are fitted on composed pages, written by the people and in the
fonts that training holds out, with MNIST's validation digits. Those of the presence leave places out where a
number stands and is misread: most of these cannot be read, and look like no number. The script writes them
into the checkpoint of `page_reader`. `scripts/calibrate.py` measures what they bring.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.model_resolution import resolve_model
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.page_decision import ALONE, FEATURES, PRESENCE_FEATURES
from digitcli.recognition.reader import Reader
from digitcli.recognition.recognize import recognize_region
from digitcli.synthesis.page import Kind, line_box, numbers_of
from digitcli.synthesis.page_layouts import fill_with_nothing
from digitcli.synthesis.scenes import Scene, SceneComposer
from digitcli.training.synthetic_lines import PICTURE_SHARES, compose_scenes, scene_composer

SEED = 4711
SIDES_PX = (200, 1400)  # of the large pages; a third of the pages are small
LINES_SHARE = 0.2  # of the pages are one line, such as an amount or a date
NOTHING_SHARE = 0.4  # of the large pages show no number: without them the presence is overrated
LARGEST_CUT = 0.1  # share outside of the page, above which a number is neither right nor wrong
LEAST_OVERLAP = 0.3  # share of the smaller of two boxes that are the same line
# Of the squared weights. Fitted on half of 7,899 places, the other half has a lower log-loss with it than
# with 1e-3, and one as low as with 1e-5 and with none.
WEIGHT_DECAY = 1e-4
READING_ALONE = {
    "reading": 1.0,
    ALONE + "reading": 1.0,
}  # the weights with which the probability of the text is the confidence
# The shares of the small pictures. Fitted with columns of numbers among them, 89.8 in place of 91.5 % of the
# answers to pages that training never sees were right.
SHARES = {**PICTURE_SHARES, "column": 0.0}
MODEL = "page_reader"  # whose checkpoint holds the weights


@dataclass(frozen=True)
class Place:
    """A place where the networks read a number.

    features: the values that the weights multiply, by their names.
    is_right: whether this number stands there.
    is_number: whether a number stands there.
    """

    features: Mapping[str, float]
    is_right: bool
    is_number: bool


def main() -> None:
    """Fit the weights, print them and write them into the checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=1200, help="composed pages to fit on (default: 1,200)")
    parser.add_argument(
        "--pictures", type=int, default=4000, help="composed pictures of at most one number (default: 4,000)"
    )
    arguments = parser.parse_args()
    models = Reader(device="cpu", rotate="0").models
    validation = split(load_mnist()).validation
    composer = scene_composer(validation, held_out=True)
    randoms = (np.random.default_rng([SEED, number]) for number in range(arguments.pages))
    pages = (_compose(composer, random) for random in randoms)
    pictures = compose_scenes(composer, np.random.default_rng([SEED, 3]), arguments.pictures, SHARES)
    places = [place for scene in itertools.chain(pages, pictures) for place in places_of(scene, models)]
    acceptance = fit(places, [place.is_right for place in places], both(FEATURES))
    told = [place for place in places if place.is_right or not place.is_number]
    presence = fit(told, [place.is_number for place in told], both(PRESENCE_FEATURES))
    print(f"{len(places)} places, {np.mean([place.is_number for place in places]):.1%} with a number")
    for name, weights in (("acceptance", acceptance), ("presence", presence)):
        print(name, {feature: round(weight, 3) for feature, weight in weights.items()})
    path = resolve_model(MODEL).path
    header, tensors = read_checkpoint(path)
    header = dataclasses.replace(header, acceptance=acceptance, presence=presence)
    write_checkpoint(path, header, tensors)


def both(names: Sequence[str]) -> list[str]:
    """Return the names of the weights for numbers among others, and of those for the only one of a page."""
    return [*names, *(ALONE + name for name in names)]


def fit(places: Sequence[Place], labels: Sequence[bool], names: Sequence[str]) -> dict[str, float]:
    """Return the weights, by their names, of a logistic regression of labels on the features of places."""
    rows = [[place.features.get(name, 0.0) for name in names] for place in places]
    values = torch.tensor(rows, dtype=torch.float64)  # N, F
    targets = torch.tensor(labels, dtype=values.dtype)
    weights = torch.zeros(values.shape[1], dtype=values.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(values @ weights, targets)
        loss = loss + WEIGHT_DECAY * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return dict(zip(names, weights.detach().tolist(), strict=True))


def places_of(scene: Scene, models: RecognitionModels) -> Iterator[Place]:
    """Yield the places of a page where a number is read, unless it is unclear what is right.

    There are none on pages of which the network for whole pictures is certain.
    """
    assert models.page_networks is not None and models.picture_network is not None
    first = models.picture_network.read(scene.picture, None, 1)
    page_reader = dataclasses.replace(models.page_networks, acceptance=READING_ALONE, presence={})
    page = page_reader.find_and_read(scene.picture, first.line)
    for evidence in [] if first.is_certain else page.regions:
        expected = _expected(evidence.crops.line.box, scene)
        parts = [] if expected is None else evidence.parts()
        for part, result in zip(parts, recognize_region(evidence, None, 1) if parts else [], strict=True):
            if result.number is not None:
                text, nothing = result.number.text, part.hypotheses(ANY_DIGITS).get("", 0.0)
                values = part.features(text, result.confidence, nothing)
                prefix = ALONE if part.is_alone else ""
                named = {prefix + name: value for name, value in values.items()}
                yield Place(named, text in (expected or ()), bool(expected))


def _compose(composer: SceneComposer, random: np.random.Generator) -> Scene:
    kind = random.random()
    if kind < LINES_SHARE:
        return composer.line(random)
    if kind < LINES_SHARE + (1 - LINES_SHARE) / 3:
        return composer.small_picture(random)
    height, width = (round(float(np.exp(random.uniform(*np.log(SIDES_PX))))) for _ in range(2))
    layout = fill_with_nothing if random.random() < NOTHING_SHARE else None
    return composer.page(random, height, width, layout=layout)


def _expected(box: LineBox, scene: Scene) -> set[str] | None:
    """Return the digits of the numbers that stand in a box; None if one of them is cut off."""
    size = scene.picture.shape[::-1]
    numbers = [
        label
        for label in scene.labels
        if label.kind is Kind.NUMBER and box.overlap(line_box(label)) > LEAST_OVERLAP
    ]
    if any(not label.text or label.shares_outside(size).mean() > LARGEST_CUT for label in numbers):
        return None
    return {re.sub(r"\D", "", number.text) for label in numbers for number in numbers_of(label)}


if __name__ == "__main__":
    main()
