"""The strips that readers learn from, which are cut out of synthetic scenes.

Some are hard negatives: places without a number that the shipped page finder
takes for one (Sung & Poggio, "Example-based learning for view-based human face detection", 1998).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from digitcli.data.dataset import Dataset
from digitcli.inference.ctc import beam_search, digit_columns
from digitcli.inference.line_finding import find_lines
from digitcli.inference.predictor import LineRecognizer, PageFinder, load_line_recognizer, load_page_finder
from digitcli.strip_format import COLUMN_PX, count_ctc_columns
from digitcli.synthesis.page_layouts import fill_with_things, fill_with_words
from digitcli.synthesis.page_parts import fill_with_choices
from digitcli.synthesis.scenes import Scene, SceneComposer
from digitcli.synthesis.shares import choose
from digitcli.synthesis.strips import (
    LabelledStrip,
    fills_picture,
    strip_of_picture,
    strips_of,
    strips_of_mistakes,
)
from digitcli.synthesis.strokes import EMBEDDED

SCENE_SIDE_PX = 256  # of the squares of scenes out of which strips are cut
# The share of the scenes that one number fills that are shown whole: a page finder may miss a thin stroke at
# an end. Chosen by hand.
WHOLE_SHARE = 0.25
HARD_NEGATIVES_SHARE = 0.07  # of the strips to learn from; chosen by hand
SCENES_FOR_NEGATIVE = 50  # searched for each of them at most; about two suffice for the shipped networks
LONGEST_PX = 420  # of lines to train on: longer ones show the network the same short stretches again
FINDER, GLANCE = "finder", "glance"  # choose the places, and are trained before
# The sides of the squares on which places are looked for, in pixels, and what these show. Chosen by hand.
SIDES_PX = (256, 512)
LAYOUT_SHARES = {fill_with_things: 0.55, fill_with_words: 0.25, fill_with_choices: 0.2}
# The probability of the likeliest number, above which a place is left out: a bar or a ring may look like a
# digit. Without this limit a reader called 12 in place of 4 % of single 1s nothing.
LIKE_A_NUMBER = 0.5


def handwriting_digest(dataset: Dataset) -> str:
    """Return a hash of the digits, the strokes and the fonts."""
    files = sorted(file for file in EMBEDDED.rglob("*") if file.suffix in (".xz", ".woff"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(dataset.digest.encode() + content).hexdigest()


def compose_strips(composer: SceneComposer, random: np.random.Generator, count: int) -> list[LabelledStrip]:
    """Cut `count` strips that are at most `LONGEST_PX` wide out of scenes, or show these whole."""
    strips: list[LabelledStrip] = []
    while len(strips) < count:
        kind = choose(random, "scenes.strips")
        if kind == "line":
            scene = composer.line(random)
        elif kind == "character":
            scene = composer.character(random)
        else:
            scene = composer.picture(random, SCENE_SIDE_PX)
        is_whole = fills_picture(scene) and random.random() < WHOLE_SHARE
        found = [strip_of_picture(scene)] if is_whole else strips_of(random, scene)
        strips += filter(_is_trainable, found)
    return strips[:count]


def compose_training_strips(
    composer: SceneComposer, random: np.random.Generator, count: int
) -> list[LabelledStrip]:
    """Return `count` strips of scenes, of which at most `HARD_NEGATIVES_SHARE` are hard negatives."""
    wanted = round(HARD_NEGATIVES_SHARE * count)
    scenes = (mine(composer, random) for _ in range(SCENES_FOR_NEGATIVE * wanted))
    found = filter(_is_trainable, itertools.chain.from_iterable(scenes))
    negatives = list(itertools.islice(found, wanted))
    return [*compose_strips(composer, random, count - len(negatives)), *negatives]


def compose_pictures(composer: SceneComposer, random: np.random.Generator, count: int) -> list[LabelledStrip]:
    """Return `count` pictures as strips that are at most `LONGEST_PX` wide."""
    strips = (strip_of_picture(scene) for scene in compose_scenes(composer, random))
    return list(itertools.islice(filter(_is_trainable, strips), count))


def compose_scenes(
    composer: SceneComposer, random: np.random.Generator, count: int | None = None
) -> Iterator[Scene]:
    """Yield what the glance learns from: `count` scenes, or without end."""
    kinds: dict[str, Callable[[], Scene]] = {
        "character": lambda: composer.character(random),
        "image": lambda: composer.image(random),
        "line": lambda: composer.line(random),
        "page": lambda: composer.page(random, SCENE_SIDE_PX, SCENE_SIDE_PX),
        "empty": lambda: composer.empty(random),
        "column": lambda: composer.column(random),
        "row": lambda: composer.row(random),
        "small": lambda: composer.small_picture(random),
    }
    for _ in itertools.count() if count is None else range(count):
        yield kinds[choose(random, "scenes.pictures")]()


def _is_trainable(strip: LabelledStrip) -> bool:
    """Tell whether a strip is not too wide, and has enough columns for CTC."""
    return bool(count_ctc_columns(strip.text) * COLUMN_PX <= strip.image.shape[-1] <= LONGEST_PX)


def mine(composer: SceneComposer, random: np.random.Generator) -> list[LabelledStrip]:
    """Return strips of the places without a number in a new scene where `FINDER` sees one.

    Places that `GLANCE` reads as a number are left out.
    """
    finder, glance = _networks()
    layout = list(LAYOUT_SHARES)[int(random.choice(len(LAYOUT_SHARES), p=list(LAYOUT_SHARES.values())))]
    side = int(random.choice(SIDES_PX))
    scene = composer.page(random, side, side, layout=layout)
    boxes = [line.box for line in find_lines(scene.picture, finder.maps).lines]
    strips = strips_of_mistakes(random, scene, boxes)
    alphabet, temperature = glance.header.alphabet, glance.header.temperature
    outputs = glance.outputs([strip.image for strip in strips])
    columns = [digit_columns(output.logits, alphabet, temperature) for output in outputs]
    likeliest = [beam_search(each)[0] for each in columns]
    return [
        strip
        for strip, (text, log_probability) in zip(strips, likeliest, strict=True)
        if not text or math.exp(log_probability) <= LIKE_A_NUMBER
    ]


@functools.cache
def _networks() -> tuple[PageFinder, LineRecognizer]:
    """Return the networks in floats, whose answers are nearly alike on all processors."""
    return (
        load_page_finder(FINDER, device="cpu", runtime="onnxruntime", threads=1),
        load_line_recognizer(GLANCE, device="cpu", runtime="onnxruntime", threads=1),
    )
