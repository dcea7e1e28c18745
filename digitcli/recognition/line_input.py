"""What a line model sees of a picture: the lines that `predict` shows it first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from digitcli.errors import PictureError
from digitcli.imaging.network_inputs import cut_whole, strip_ink
from digitcli.inference.line_finding import find_lines
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.predictor import PageFinder, load_page_finder
from digitcli.recognition.models import PICTURE_READER
from digitcli.recognition.pages.crops import crop_lines, reading_order
from digitcli.recognition.pages.page_reader import as_levels
from digitcli.recognition.pages.run_networks import STRIP_READER
from digitcli.recognition.reader import Reader
from digitcli.recognition.results import Reading

# The shipped model that finds the lines for strip readers.
FINDER = "finder"

CutLines = Callable[[np.ndarray], list[np.ndarray]]


def line_cutter(architecture: str, device: str = "auto") -> CutLines:
    """Return a function from a picture, float32 (H, W) in [0, 1], to its lines as an architecture sees them.

    A `picture_reader` sees the whole picture as a strip, uint8 (3, 40, W), and a `strip_reader` strips of the
    lines that the shipped page finder finds. Other architectures see the ink of these strips, uint8 (40, W).
    Of several strips of a line, this is the first. The lines are in reading order.

    Raises:
        ModelError, EnvironmentFault: the page finder cannot be loaded.
    """
    if architecture == PICTURE_READER:
        return _cut_whole
    cut = _cut_strips if architecture == STRIP_READER else _cut_ink
    return partial(cut, finder=load_page_finder(FINDER, device))


def longest_line(lines: list[np.ndarray], name: str) -> np.ndarray:
    """Return the longest line of a picture, in heights of the line.

    Raises:
        PictureError: there is no line.
    """
    if not lines:
        raise PictureError("blank", f"No number was found in {name}.", "Name a picture of a number.")
    return max(lines, key=lambda line: int(line.shape[-1]))


def reader_with(model: ResolvedModel, device: str = "auto") -> Reader | None:
    """Return what `predict` reads with if a line model is named, and a page finder where it needs one.

    There is none for a network that reads whole pictures: `predict` asks others where it is not certain.

    Raises:
        ModelError, EnvironmentFault: see `Reader`.
    """
    if model.header.architecture == PICTURE_READER:
        return None
    finders = [FINDER] if model.header.architecture == STRIP_READER else []
    return Reader(*finders, model, device=device, jobs=1)


def contains(reading: Reading, text: str) -> bool:
    """Tell whether neighbouring numbers of a reading have these digits together, which may be none."""
    texts = [number.text for number in reading.numbers] or [""]
    places = range(len(texts) + 1)
    return any("".join(texts[start:end]) == text for end in places for start in range(end))


def _cut_strips(grey: np.ndarray, finder: PageFinder) -> list[np.ndarray]:
    levels = as_levels(grey)
    regions = crop_lines(levels, reading_order(find_lines(levels, finder.maps).lines))
    return [region.strips[0].image for region in regions]


def _cut_ink(grey: np.ndarray, finder: PageFinder) -> list[np.ndarray]:
    return [strip_ink(strip) for strip in _cut_strips(grey, finder)]


def _cut_whole(grey: np.ndarray) -> list[np.ndarray]:
    return [cut_whole(as_levels(grey)).image]
