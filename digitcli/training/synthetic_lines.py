"""The synthetic lines and strips that readers of lines learn from.

Strips are cut out of scenes. Some are hard negatives: places without a number that the shipped page finder
takes for one (Sung & Poggio, "Example-based learning for view-based human face detection", 1998).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from digitcli.data.dataset import Dataset, Digits
from digitcli.imaging.network_inputs import strip_ink
from digitcli.inference.ctc import beam_search, digit_columns
from digitcli.inference.line_finding import find_lines
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import LineRecognizer, PageFinder, load_line_recognizer, load_page_finder
from digitcli.strip_format import COLUMN_PX
from digitcli.synthesis.lines import ALPHABET, Line, LineSynthesizer, count_ctc_columns
from digitcli.synthesis.page_layouts import fill_with_things, fill_with_words
from digitcli.synthesis.page_parts import fill_with_choices
from digitcli.synthesis.scenes import Scene, SceneComposer
from digitcli.synthesis.shares import choose
from digitcli.synthesis.stamps import WritingRoom, load_fonts
from digitcli.synthesis.strips import (
    LabelledStrip,
    fills_picture,
    strip_of_picture,
    strips_of,
    strips_of_mistakes,
)
from digitcli.synthesis.strokes import EMBEDDED, Group, load_writers, split_writers

# Composes a number of strips, with writing by a composer.
ComposeStrips = Callable[[SceneComposer, np.random.Generator, int], list[LabelledStrip]]

SCENE_SIDE_PX = 256  # of the squares of scenes out of which strips are cut
# The share of the scenes that one number fills that are shown whole, as `reader` sees them: a page finder may
# miss a thin stroke at an end. Chosen by hand.
WHOLE_SHARE = 0.25
HARD_NEGATIVES_SHARE = 0.07  # of the strips to learn from; chosen by hand
SCENES_FOR_NEGATIVE = 50  # searched for each of them at most; about two suffice for the shipped networks
LONGEST_PX = 420  # of lines to train on: longer ones show the network the same short stretches again
FINDER, READER = "finder", "picture_reader"  # the networks that choose the places; both are trained before
# The sides of the squares on which places are looked for, in pixels, and what these show. Chosen by hand.
SIDES_PX = (256, 512)
LAYOUT_SHARES = {fill_with_things: 0.55, fill_with_words: 0.25, fill_with_choices: 0.2}
# The probability of the likeliest number, above which a place is left out: a bar or a ring may look like a
# digit. Without this limit a reader called 12 in place of 4 % of single 1s nothing.
LIKE_A_NUMBER = 0.5


def scene_composer(digits: Digits, group: Group) -> SceneComposer:
    """Return a composer with digits, and with the writers and fonts of a group."""
    writers = split_writers(load_writers(), group)
    room = WritingRoom(digits, writers, load_fonts().split(group))
    return SceneComposer(room, LineSynthesizer(digits, writers))


def handwriting_digest(dataset: Dataset) -> str:
    """Return a hash of the digits, the strokes and the fonts."""
    files = sorted(file for file in EMBEDDED.rglob("*") if file.suffix in (".xz", ".woff"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(dataset.digest.encode() + content).hexdigest()


def compose(synthesizer: LineSynthesizer, random: np.random.Generator, count: int) -> list[Line]:
    """Compose `count` lines that are at most `LONGEST_PX` wide and have enough columns for CTC."""
    lines: list[Line] = []
    while len(lines) < count:
        line = synthesizer.synthesize_line(random)
        if _is_trainable(line):
            lines.append(line)
    return lines


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


def compose_ink_of_strips(composer: SceneComposer, random: np.random.Generator, count: int) -> list[Line]:
    """Return the ink of `count` strips to learn from as lines, see `imaging.network_inputs.strip_ink`.

    A character outside of the alphabet of lines is nothing to read.
    """
    lines = []
    for strip in compose_training_strips(composer, random, count):
        is_known = [character in ALPHABET for character in strip.text if character != " "]
        text = "".join(character for character in strip.text if character in ALPHABET)
        boxes = strip.boxes[is_known] if len(strip.boxes) == len(is_known) else strip.boxes[:0]
        lines.append(Line(strip_ink(strip.image), text, boxes))
    return lines


def compose_pictures(composer: SceneComposer, random: np.random.Generator, count: int) -> list[LabelledStrip]:
    """Return `count` pictures as strips that are at most `LONGEST_PX` wide."""
    strips = (strip_of_picture(scene) for scene in compose_scenes(composer, random))
    return list(itertools.islice(filter(_is_trainable, strips), count))


def compose_scenes(
    composer: SceneComposer, random: np.random.Generator, count: int | None = None
) -> Iterator[Scene]:
    """Yield what a `picture_reader` learns from: `count` scenes, or without end."""
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


def _is_trainable(line: Line | LabelledStrip) -> bool:
    """Tell whether a line is not too wide, and has enough columns for CTC."""
    return bool(count_ctc_columns(line.text) * COLUMN_PX <= line.image.shape[-1] <= LONGEST_PX)


def mine(composer: SceneComposer, random: np.random.Generator) -> list[LabelledStrip]:
    """Return strips of the places without a number in a new scene where `FINDER` sees one.

    Places that `READER` reads as a number are left out.
    """
    finder, reader = _networks()
    layout = list(LAYOUT_SHARES)[int(random.choice(len(LAYOUT_SHARES), p=list(LAYOUT_SHARES.values())))]
    side = int(random.choice(SIDES_PX))
    scene = composer.page(random, side, side, layout=layout)
    boxes = [line.box for line in find_lines(scene.picture, finder.maps).lines]
    strips = strips_of_mistakes(random, scene, boxes)
    alphabet, temperature = reader.header.alphabet, reader.header.temperature
    outputs = reader.outputs([strip.image for strip in strips])
    columns = [digit_columns(output.logits, alphabet, temperature) for output in outputs]
    likeliest = [beam_search(each)[0] for each in columns]
    return [
        strip
        for strip, (text, log_probability) in zip(strips, likeliest, strict=True)
        if not text or math.exp(log_probability) <= LIKE_A_NUMBER
    ]


def networks_digest() -> str:
    """Return a hash of the networks that choose the places."""
    digests = "".join(resolve_model(name).sha256 for name in (FINDER, READER))
    return hashlib.sha256(digests.encode()).hexdigest()


@functools.cache
def _networks() -> tuple[PageFinder, LineRecognizer]:
    """Return the networks in floats, whose answers are nearly alike on all processors."""
    return (
        load_page_finder(FINDER, device="cpu", runtime="onnxruntime", threads=1),
        load_line_recognizer(READER, device="cpu", runtime="onnxruntime", threads=1),
    )


# How the strips for an architecture are composed: to measure it on, and to learn from.
STRIP_COMPOSERS: dict[str, ComposeStrips] = {
    "strip_reader": compose_strips,
    "picture_reader": compose_pictures,
}
TRAINING_COMPOSERS = STRIP_COMPOSERS | {"strip_reader": compose_training_strips}
