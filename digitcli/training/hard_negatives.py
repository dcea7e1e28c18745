"""Hard negatives: places without a number that the shipped page finder takes for one.

Sung & Poggio, "Example-based learning for view-based human face detection", 1998.
"""

from __future__ import annotations

import functools
import hashlib
import math

import numpy as np

from digitcli.inference.ctc import beam_search, digit_columns
from digitcli.inference.line_finding import find_lines
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import LineRecognizer, PageFinder, load_line_recognizer, load_page_finder
from digitcli.synthesis.page_layouts import fill_with_things, fill_with_words
from digitcli.synthesis.page_parts import fill_with_choices
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.strips import LabelledStrip, strips_of_mistakes

# The shipped networks that choose the places.
FINDER, READER = "finder", "page_reader"

# The sides of the squares on which places are looked for, in pixels, and what these show. Chosen by hand.
SIDES_PX = (256, 512)
LAYOUT_SHARES = {fill_with_things: 0.55, fill_with_words: 0.25, fill_with_choices: 0.2}

# The probability of the likeliest number, above which a place is left out: a bar or a ring may look like a
# digit. Without this limit a reader called 12 in place of 4 % of single 1s nothing.
LIKE_A_NUMBER = 0.5


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
