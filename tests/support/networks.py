"""Networks whose answers the tests choose, in place of trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import cv2
import numpy as np

from digitcli.inference.checkpoint import Header
from digitcli.inference.predictor import LineRecognizer, PageFinder
from digitcli.inference.runtime import LineOutput
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.pages import PageNetworks
from digitcli.strip_format import ALPHABET

COLUMNS_OF_A_PLACE = 9
LIKELY = 0.999
# Grey levels of the pages that `FakeFinder` reads.
PAPER, NUMBER, OTHER_WRITING = 200, 20, 255
SMALL_PX = 12  # height of bars that it calls small writing


def line_output(*places: Mapping[str, float]) -> LineOutput:
    """Return the answer to a line whose places show characters with these probabilities, else the blank.

    The logits are logarithms of the probabilities. The box of each character is 24 pixels wide, and reaches
    from row 4 to row 36.
    """
    columns = np.full((COLUMNS_OF_A_PLACE * max(len(places), 1), len(ALPHABET) + 1), 1e-7, np.float32)
    columns[:, -1] = 1
    for number, shown in enumerate(places):
        column = columns[COLUMNS_OF_A_PLACE * number + 4]
        column[-1] = max(1e-7, 1 - sum(shown.values()))
        for character, probability in shown.items():
            column[ALPHABET.index(character)] = probability
    distances = np.tile(np.array([0.6, 0.6, 0.2, 1.8], np.float32), (len(columns), 1))
    return LineOutput(np.log(columns), distances)


class FakeReader:
    """A line network that answers lines with these texts in turn, and each of the strips of a line alike.

    strips: the number of strips that the same text answers.
    calls: the number of strips in each call.
    """

    device = "cpu"

    def __init__(self, *texts: str, name: str = "reader", likely: float = LIKELY, strips: int = 1):
        self.name, self.header = name, Header(architecture=name, task="line", alphabet=ALPHABET)
        self.strips, self.calls = strips, list[int]()
        self._outputs = [line_output(*({character: likely} for character in text)) for text in texts]

    def outputs(self, line_crops: Sequence[np.ndarray]) -> list[LineOutput]:
        """Return the answers to strips, uint8 (3, 40, W)."""
        first = sum(self.calls)
        self.calls.append(len(line_crops))
        lines = [place // self.strips for place in range(first, first + len(line_crops))]
        return [self._outputs[line % len(self._outputs)] for line in lines]


class FakeFinder:
    """A page finder that takes dark bars for numbers, and bars lighter than paper for other writing."""

    name, device = "finder", "cpu"

    def maps(self, page: np.ndarray) -> np.ndarray:
        """Return the maps (6, H / 4, W / 4) of a page, uint8 (4, H, W)."""
        height, width = page.shape[1] // 4, page.shape[2] // 4
        cells = page[3].reshape(height, 4, width, 4).mean(axis=(1, 3))
        maps = np.zeros((6, height, width), np.float32)
        maps[0] = np.where(cells < (PAPER + NUMBER) / 2, 8, -8)
        maps[1] = np.where(cells > (PAPER + OTHER_WRITING) / 2, 8, -8)
        _, bars, stats, _ = cv2.connectedComponentsWithStats((maps[0] > 0).astype(np.uint8))
        maps[2] = np.log2(4 * stats[:, cv2.CC_STAT_HEIGHT] / 28)[bars]
        maps[5] = np.where((maps[0] > 0) & (maps[2] < np.log2(SMALL_PX / 28)), 8, -8)
        return maps


def page_of_bars(
    *boxes: tuple[int, int, int, int], shape: tuple[int, int] = (120, 200), level: int = NUMBER
) -> np.ndarray:
    """Draw bars, x, y, width, height, that `FakeFinder` finds."""
    page = np.full(shape, PAPER, np.uint8)
    for x, y, width, height in boxes:
        page[y : y + height, x : x + width] = level
    return page


def page_networks(*readers: FakeReader, picture: FakeReader | None = None) -> PageNetworks:
    """Return networks that find bars on pages and read them; `picture` reads whole pictures before."""
    finder = cast(PageFinder, FakeFinder())
    lines, whole = cast(tuple[LineRecognizer, ...], readers), cast(LineRecognizer | None, picture)
    return PageNetworks(finder, lines, picture=whole)


def page_models(*readers: FakeReader) -> RecognitionModels:
    """Return the networks of a pipeline that finds bars on whole pages and reads them."""
    return RecognitionModels(page_networks=page_networks(*readers))
