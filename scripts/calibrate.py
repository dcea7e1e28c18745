"""Fit and measure the confidence of the shipped readers: `python scripts/calibrate.py COMMAND`.

Run `pictures` and `pages` first: they fit the weights of the confidence. Then `limits` measures which
confidence keeps the share of wrong answers below which limit. Each writes into checkpoints in models/. What
is read was never trained on: people and fonts that training holds out, MNIST's validation digits, and the
kinds of `benchmarks/calibrating`. Nothing of it judges.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from calibrating.ink import calibration_room
from calibrating.kinds import KINDS
from judging.score import LARGEST_CUT, judge
from scenes import DrawnScene
from support import digits_of, held_out_composer, open_app

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.evaluation.calibration import risk_table, threshold_for_error
from digitcli.imaging.grayscale import Grey
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import load_line_recognizer
from digitcli.recognition.confidence import (
    ALONE,
    Weights,
    features,
    features_of_nothing,
)
from digitcli.recognition.line_reading import Line, whole_picture
from digitcli.recognition.numbers import recognize
from digitcli.recognition.pages import CERTAIN, PageNetworks, find_numbers_on, look, shows_several
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import DEFAULT_MAX_ERROR, Number
from digitcli.strip_format import OTHER
from digitcli.synthesis.page import Kind, line_box, numbers_of
from digitcli.synthesis.page_layouts import fill_with_nothing
from digitcli.synthesis.scenes import Scene, SceneComposer
from digitcli.synthesis.strips import strip_of_picture
from digitcli.training.synthetic_strips import compose_scenes

app = open_app(__doc__)
# What tells whether the text of a number is right.
FEATURES = ("reading", "surest", "nothing", "finder", "other", "beside", "digits", "pitch", "bias")
# What tells whether a number stands there, whatever its digits are.
PRESENCE_FEATURES = ("reading", "nothing", "finder", "other", "beside", "pitch", "bias")
# What tells whether the text of a network for whole pictures is right.
PICTURE_FEATURES = ("reading", "nothing", "digits", "pitch", "bias")
# What tells whether a number stands where no network found one, see `features_of_nothing`.
NOTHING_FEATURES = ("nothing", "bias")
Outcomes = list[tuple[float, bool]]  # the confidence of each answer, and whether it is right
SEED = 4711  # different from the seed of `digitcli evaluate`
PICTURE_SEED = 90210  # of the pictures for `glance`; different from those of training
# Ranges of the sides of blank pages, and of large pages to fit on.
BLANK_PX, PAGE_PX = (30, 1200), (200, 1400)
LINES_SHARE = 0.2  # of the pages are one line, such as an amount or a date
NOTHING_SHARE = 0.4  # of the large pages show no number: without them the presence is overrated
LEAST_OVERLAP = 0.3  # share of the smaller of two boxes that are the same line
# Of the squared weights. Fitted on half of 7,899 places, the other half has a lower log-loss with it than
# with 1e-3, and one as low as with 1e-5 and with none.
WEIGHT_DECAY = 1e-4
# The weights with which the probability of the text is the confidence.
READING_ALONE = Weights({"reading": 1.0, ALONE + "reading": 1.0})
MOST_NUMBERS = 4  # on the pages of a kind, for each of the pictures that are asked for


@dataclass(frozen=True)
class Example:
    """A picture, the digits of its only number, empty if there is none, and whether it shows any number."""

    picture: Grey
    text: str
    is_number: bool


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


@app.command()
def pictures(composed: int = 6000, others: int = 100) -> None:
    """Fit the confidence of `glance`.

    It reads composed pictures, pictures of other generators, and blank paper. The weights are those of the
    probability that its text is right, and that a number stands where no network found one.
    """
    examples = list(compose_examples(composed, others))
    write("glance", acceptance=fit_acceptance(examples), presence={})
    write("glance", presence=fit_presence(examples))


@app.command()
def pages(pages: int = 1200, pictures: int = 4000) -> None:
    """Fit the confidence of `reader`, the weights of `recognition.confidence`.

    It reads composed pages, and composed pictures of at most one number. The weights of the presence leave
    places out where a number stands and is misread: most of these cannot be read, and look like no number.
    """
    networks, composer = networks_of(Reader(device="cpu")), held_out_composer()
    randoms = (np.random.default_rng([SEED, number]) for number in range(pages))
    whole = (compose_page(composer, random) for random in randoms)
    # Fitted with columns of numbers among these pictures, 89.8 % of the answers to pages that training never
    # sees were right, 91.5 % without.
    parts = (
        scene
        for scene in compose_scenes(composer, np.random.default_rng([SEED, 3]), pictures)
        if sum(label.kind is Kind.NUMBER for label in scene.labels) < 2
    )
    places = [place for scene in itertools.chain(whole, parts) for place in places_of(scene, networks)]
    print(f"{len(places)} places, {np.mean([place.is_number for place in places]):.1%} with a number")
    told = [place for place in places if place.is_right or not place.is_number]
    acceptance = fit(places, [place.is_right for place in places], both(FEATURES))
    presence = fit(told, [place.is_number for place in told], both(PRESENCE_FEATURES))
    write("reader", acceptance=acceptance, presence=presence)


@app.command()
def limits(pictures: int = 300) -> None:
    """Measure which confidence keeps the share of wrong answers below which limit.

    The default models read `--pictures` of each kind of `benchmarks/calibrating`, with and without numbers.
    Every kind has the same weight, and an answer to a picture without a number is wrong. The only number that
    is read in a picture counts in one table of limits, and numbers beside others in another, as in `digitcli
    predict`. What each kind would have had with the limits of the others is printed.
    """
    reader = Reader(device="cpu", min_confidence=0.0)
    outcomes = {name: answers(reader, scenes_of(name, SEED, pictures)) for name in KINDS}
    for place, name_of_table in enumerate(("risk", "page_risk")):
        of_kinds = {name: both[place] for name, both in outcomes.items() if both[place]}
        table = table_of(of_kinds, pictures)
        print(f"{name_of_table}: {table}")
        for name, own in of_kinds.items():
            others = table_of({other: each for other, each in of_kinds.items() if other != name}, pictures)
            threshold = threshold_for_error(DEFAULT_MAX_ERROR, others)
            answered = [is_right for confidence, is_right in own if confidence >= threshold]
            wrong = answered.count(False) / max(len(answered), 1)
            print(f"  {name:16} {len(answered):4} of {len(own):4} answered, {wrong:.1%} of these wrong")
        write("reader", **{name_of_table: table})


def table_of(outcomes: Mapping[str, Outcomes], pictures: int) -> dict[str, float]:
    """Return the risk table of answers by kind, in which each kind has the same weight."""
    rows = [(*outcome, 1 / max(len(own), pictures)) for own in outcomes.values() for outcome in own]
    return risk_table(*zip(*rows, strict=True))


def write(model: str, **fields: dict[str, float]) -> None:
    """Print fields of a header, and write them into the checkpoint of a model."""
    for name, values in fields.items():
        print(name, {key: round(value, 3) for key, value in values.items()})
    path = resolve_model(model).path
    header, tensors = read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(header, **fields), tensors)


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


def fit_acceptance(examples: Sequence[Example]) -> dict[str, float]:
    """Return the weights of the probability that the text of the network is right."""
    reader = load_line_recognizer("glance", "cpu")
    places = []
    for example in examples:
        line = whole_picture(example.picture, reader)
        number = recognize(line, Weights(), None, 1)
        if isinstance(number, Number) and not shows_several(line):
            places.append(Place(values_of(line, number), number.text == example.text, example.is_number))
    print(f"{len(places)} numbers, {np.mean([place.is_right for place in places]):.1%} right")
    return fit(places, [place.is_right for place in places], PICTURE_FEATURES)


def fit_presence(examples: Sequence[Example]) -> dict[str, float]:
    """Return the weights of the probability that a number stands where no network found one."""
    reader = Reader(device="cpu")
    networks, places = networks_of(reader), []
    for example in examples:
        if not reader.read(example.picture).numbers:
            nothing = look(example.picture, networks, None, 1).nothing
            assert nothing is not None  # no picture is too long
            places.append(Place(features_of_nothing(nothing), False, example.is_number))
    print(
        f"{len(places)} without an answer, {np.mean([place.is_number for place in places]):.1%} with a number"
    )
    return fit(places, [place.is_number for place in places], NOTHING_FEATURES)


def networks_of(reader: Reader) -> PageNetworks:
    """Return the networks of a reader of pages."""
    assert reader.models.page_networks is not None
    return reader.models.page_networks


def values_of(line: Line, number: Number) -> Mapping[str, float]:
    """Return the values that the weights multiply; the confidence of a number is that of its text."""
    nothing = line.probability * line.hypotheses.get("", 0.0)
    return features(line, number.text, number.confidence, nothing)


def compose_examples(composed: int, pictures: int) -> Iterator[Example]:
    """Yield composed pictures, blank paper, and pictures of at most one number of other kinds."""
    composer = held_out_composer()
    for scene in compose_scenes(composer, np.random.default_rng(PICTURE_SEED), composed):
        text = strip_of_picture(scene).text
        is_number = any(label.kind is Kind.NUMBER and label.text for label in scene.labels)
        yield Example(scene.picture, "" if OTHER in text else digits_of(text), is_number)
    yield from blank_pages(composer, composed // 10)
    for name in KINDS:
        for scene in scenes_of(name, PICTURE_SEED, pictures):
            texts = [digits_of(label.text) for label in scene.labels if label.text]
            if len(texts) < 2 and not scene.ignored:
                yield Example(scene.picture, "".join(texts), bool(texts))


def scenes_of(name: str, seed: int, count: int) -> Iterator[DrawnScene]:
    """Yield pictures of a kind; of those with many numbers fewer."""
    room, index, numbers = calibration_room(split(load_mnist()).validation), list(KINDS).index(name), 0
    for number in range(count):
        scene = KINDS[name](np.random.default_rng([seed, index, number]), room)
        numbers += max(1, sum(bool(label.text) for label in scene.labels))
        yield scene
        if numbers >= MOST_NUMBERS * count:
            return


def blank_pages(composer: SceneComposer, count: int) -> Iterator[Example]:
    """Yield paper on which nothing is written, every other time of one shade only."""
    for number in range(count):
        random = np.random.default_rng([PICTURE_SEED, number])
        height, width = np.exp(random.uniform(*np.log(BLANK_PX), 2)).astype(int).tolist()
        page = composer.page(random, height, width, layout=lambda desk: None).picture
        shade = np.full((height, width), random.integers(100, 256), np.uint8)
        yield Example(page if number % 2 else shade, "", is_number=False)


def places_of(scene: Scene, networks: PageNetworks) -> Iterator[Place]:
    """Yield the places of a page where a number is read, unless it is unclear what is right.

    There are none on pages of which the network for whole pictures is certain.
    """
    glance = look(scene.picture, networks, None, 1)
    if glance.reading is not None and (glance.reading.confidence or 0.0) >= CERTAIN:
        return
    lines, _ = find_numbers_on(scene.picture, networks, None, glance.answer)
    for line in lines:
        expected, number = _expected(line.found.box, scene), recognize(line, READING_ALONE, None, 1)
        if expected is not None and isinstance(number, Number):
            prefix = ALONE if line.is_alone else ""
            named = {prefix + name: value for name, value in values_of(line, number).items()}
            yield Place(named, number.text in expected, bool(expected))


def compose_page(composer: SceneComposer, random: np.random.Generator) -> Scene:
    """Compose a line, a small picture or a large page."""
    kind = random.random()
    if kind < LINES_SHARE:
        return composer.line(random)
    if kind < LINES_SHARE + (1 - LINES_SHARE) / 3:
        return composer.small_picture(random)
    height, width = (round(float(np.exp(random.uniform(*np.log(PAGE_PX))))) for _ in range(2))
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
    return {digits_of(number.text) for label in numbers for number in numbers_of(label)}


def answers(reader: Reader, scenes: Iterable[DrawnScene]) -> tuple[Outcomes, Outcomes]:
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


if __name__ == "__main__":
    app()
