"""Batches of lines with their targets, padded to one width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX, STRIP_PAPER
from digitcli.synthesis.lines import ALPHABET

# The number of columns on either side of a character's centre that learn its box. Chosen by hand.
NEAR_COLUMNS = 2

# The share of the lines in a batch that begin at a random place, not at the left. Chosen by hand.
SHIFTED_SHARE = 0.3


@dataclass(frozen=True)
class LineBatch:
    """B lines with their targets, padded to a width of T columns of 4 pixels.

    images: The lines, uint8 (B, C, 40, 4 T).
    characters: The characters of all lines in a row, int64.
    lengths: The number of characters of each line, int64 (B,).
    nearest: The character whose centre lies in a column, or the blank, int64 (B, T).
    boxes: The box of the nearest character, see `Reader.locate`, float32 (B, T, 4).
    boxed: Whether a column has a box, bool (B, T).
    """

    images: npt.NDArray[np.uint8]
    characters: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    boxed: npt.NDArray[np.bool_]


class AnyLine(Protocol):
    """A line with its label.

    image: uint8 (40, W), or (C, 40, W) for a network with C channels.
    text: The characters that stand on it.
    boxes: float32 (n, 4), x0, y0, x1, y1 of its characters other than spaces; (0, 4) if they are not known.
    """

    @property
    def image(self) -> npt.NDArray[np.uint8]: ...  # noqa: D102

    @property
    def text(self) -> str: ...  # noqa: D102

    @property
    def boxes(self) -> npt.NDArray[np.float32]: ...  # noqa: D102

    @property
    def digits(self) -> str: ...  # noqa: D102


def as_batches(
    lines: Sequence[AnyLine],
    size: int,
    random: np.random.Generator,
    alphabet: str = ALPHABET,
    bucket_px: int = 1,
) -> list[LineBatch]:
    """Return batches of lines of similar width, in a random order.

    Widths in the same bucket of `bucket_px` count as equal, and their lines keep their order.
    """
    lines = sorted(lines, key=lambda line: line.image.shape[-1] // bucket_px)
    starts = size * random.permutation(len(lines) // size)
    return [as_batch(lines[start : start + size], random, alphabet) for start in starts]


def as_batch(lines: Sequence[AnyLine], random: np.random.Generator, alphabet: str = ALPHABET) -> LineBatch:
    """Pad lines to one width and compute their targets."""
    columns = -(-max(line.image.shape[-1] for line in lines) // COLUMN_PX // 2) * 2
    *channels, height, _ = lines[0].image.shape
    batch = LineBatch(
        images=np.full(
            (len(lines), *(channels or [1]), height, columns * COLUMN_PX),
            STRIP_PAPER if channels else 0,
            np.uint8,
        ),
        characters=np.array([alphabet.index(c) for line in lines for c in line.text], np.int64),
        lengths=np.array([len(line.text) for line in lines], np.int64),
        nearest=np.full((len(lines), columns), len(alphabet)),
        boxes=np.zeros((len(lines), columns, 4), np.float32),
        boxed=np.zeros((len(lines), columns), bool),
    )
    for row, line in enumerate(lines):
        width = line.image.shape[-1]
        margin = columns * COLUMN_PX - width
        start = int(random.integers(0, margin + 1)) if random.random() < SHIFTED_SHARE else 0
        batch.images[row, :, :, start : start + width] = line.image
        if not len(line.boxes):  # nothing is written, or it is not known where
            continue
        x0, y0, x1, y1 = line.boxes.T
        centres = np.clip(((x0 + x1) / 2 + start) // COLUMN_PX, 0, columns - 1).astype(np.int64)
        batch.nearest[row, centres] = [
            alphabet.index(character) for character in line.text if character != " "
        ]
        distances = np.abs(np.arange(columns)[:, None] - centres)  # columns, characters
        near = np.flatnonzero(distances.min(axis=1) <= NEAR_COLUMNS)
        owner = distances[near].argmin(axis=1)
        x = (near + 0.5) * COLUMN_PX - start
        edges = np.stack([x - x0[owner], x1[owner] - x, y0[owner], y1[owner]], axis=1)
        batch.boxes[row, near], batch.boxed[row, near] = edges / BOX_SCALE_PX, True
    return batch
