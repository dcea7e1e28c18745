"""Where the lines come from that a run trains on: composed as they are needed, or read from a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Failure, split
from digitcli.errors import InputError
from digitcli.imaging.line_ink import BOX_SCALE_PX, COLUMN_PX
from digitcli.synthesis.line_folders import count_ctc_columns, hash_lines, read_lines, split_lines
from digitcli.synthesis.lines import ALPHABET, Line, LineSynthesizer
from digitcli.synthesis.strokes import WriterStrokes, read_stroke_bytes, read_strokes
from digitcli.training.task import derive_seed

EPOCH_LINES = 20_480  # are composed
POOL_BATCHES = 16  # are drawn together
VALIDATION_LINES, TEST_LINES = 1_000, 5_000
LONGEST_PX = 420  # longer lines are not trained on: the network sees the same short stretches in them
HELD_OUT_WRITERS = 10  # every so many-th writer of the strokes is not trained on
NEAR_COLUMNS = 2  # on either side of a character's middle are taught its box
SET_ANYWHERE = 0.3  # of the lines in a batch; the others begin at its left
_VALIDATION, _TEST = (0, 1), (0, 2)  # make seeds that no pool of training lines has


@dataclass(frozen=True)
class LineBatch:
    """Lines side by side, T columns wide, and what is to be learnt of them.

    images: uint8 (B, 1, 40, 4 T). characters: int64, of all lines in a row. lengths: int64 (B,).
    nearest: int64 (B, T), the character whose middle lies in a column, or the blank. boxes: float32
    (B, T, 4), see `Reader.locate`, where `boxed`, bool (B, T).
    """

    images: npt.NDArray[np.uint8]
    characters: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    boxed: npt.NDArray[np.bool_]


class LinePools(Protocol):
    """Pool n is a list of batches that follows from the seed and n alone."""

    def __getitem__(self, number: int) -> list[LineBatch]:
        """`POOL_BATCHES` batches."""


class LineSource(Protocol):
    """Where lines come from: `count` to train on an epoch, and those to choose by and to judge by."""

    name: str
    digest: str
    failures: tuple[Failure, ...]
    sizes: dict[str, int]
    composes: bool  # which takes so long that other processes do it

    def pools(self, batch_size: int) -> LinePools:
        """What is trained on."""

    def validation(self) -> list[Line]:
        """Lines to choose by."""

    def test(self) -> list[Line]:
        """Lines to judge by."""


@dataclass(frozen=True)
class ComposedPools:
    """Every pool is composed anew, see `LinePools`."""

    synthesizer: LineSynthesizer
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[LineBatch]:
        """Sorted by width, so that a batch needs little padding."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        lines = compose(self.synthesizer, random, POOL_BATCHES * self.batch_size)
        return as_batches(lines, self.batch_size, random)


@dataclass(frozen=True)
class StoredPools:
    """All lines once an epoch, see `LinePools`."""

    lines: Sequence[Line]
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[LineBatch]:
        """Sorted by width within an epoch; a pool may reach into the next."""
        used = len(self.lines) // self.batch_size * self.batch_size
        size = POOL_BATCHES * self.batch_size
        places = np.arange(number * size, (number + 1) * size)
        orders = {
            epoch: np.random.default_rng(derive_seed(self.seed, epoch)).permutation(len(self.lines))
            for epoch in np.unique(places // used).tolist()
        }
        random = np.random.default_rng(derive_seed(self.seed, number))
        batches: list[LineBatch] = []
        for epoch, order in orders.items():
            chosen = order[places[places // used == epoch] % used].tolist()
            batches += as_batches([self.lines[index] for index in chosen], self.batch_size, random)
        return batches


class ComposedLines:
    """Lines composed of a dataset's digits and of strokes, see `LineSource`.

    What is chosen by and judged by is composed of the digits that are held out for that, and by writers who
    are held out from training.
    """

    composes = True

    def __init__(self, dataset: Dataset, strokes: str | None, seed: int) -> None:
        self.name, self.failures = dataset.name, dataset.failures
        self.digest = _digest(dataset, strokes)
        self.sizes = {"train": EPOCH_LINES, "validation": VALIDATION_LINES, "test": TEST_LINES}
        self._splits, self._seed = split(dataset), seed
        self._writers, self._held_out = _writers(strokes)

    def pools(self, batch_size: int) -> LinePools:
        """Of the training digits."""
        synthesizer = LineSynthesizer(self._splits.train, self._writers)
        return ComposedPools(synthesizer, batch_size, self._seed)

    def validation(self) -> list[Line]:
        """Of the validation digits."""
        random = np.random.default_rng(derive_seed(self._seed, *_VALIDATION))
        return compose(self.validation_synthesizer(), random, VALIDATION_LINES)

    def validation_synthesizer(self) -> LineSynthesizer:
        """Writes with the validation digits, and by the writers who are held out."""
        return LineSynthesizer(self._splits.validation, self._held_out)

    def test(self) -> list[Line]:
        """Of the test digits."""
        random = np.random.default_rng(derive_seed(self._seed, *_TEST))
        return compose(LineSynthesizer(self._splits.test, self._held_out), random, TEST_LINES)


class StoredLines:
    """Lines in a folder, see `LineSource`; a part of them is held out."""

    composes = False
    failures: tuple[Failure, ...] = ()

    def __init__(self, folder: Path, seed: int) -> None:
        lines = read_lines(folder)
        self.name, self.digest, self._seed = folder.name, hash_lines(lines), seed
        self._train, self._validation, self._test = split_lines(lines)
        self.sizes = {
            "train": len(self._train),
            "validation": len(self._validation),
            "test": len(self._test),
        }
        if not all(self.sizes.values()):
            cause = f"{folder} has {len(lines)} lines, too few to hold some out."
            raise InputError(cause, "Training needs at least 12; make more with digitcli synthesize.")

    def pools(self, batch_size: int) -> LinePools:
        """Of the lines that are not held out."""
        return StoredPools(self._train, batch_size, self._seed)

    def validation(self) -> list[Line]:
        """One twelfth."""
        return self._validation

    def test(self) -> list[Line]:
        """One seventh."""
        return self._test


def compose(synthesizer: LineSynthesizer, random: np.random.Generator, count: int) -> list[Line]:
    """So many lines that are not too long, and long enough for CTC."""
    lines: list[Line] = []
    while len(lines) < count:
        line = synthesizer.synthesize_line(random)
        if (
            line.image.shape[1] <= LONGEST_PX
            and count_ctc_columns(line.text) * COLUMN_PX <= line.image.shape[1]
        ):
            lines.append(line)
    return lines


def as_batches(lines: list[Line], size: int, random: np.random.Generator) -> list[LineBatch]:
    """Batches of lines of about one width, in any order."""
    lines = sorted(lines, key=lambda line: line.image.shape[1])
    starts = size * random.permutation(len(lines) // size)
    return [as_batch(lines[start : start + size], random) for start in starts]


def as_batch(lines: Sequence[Line], random: np.random.Generator) -> LineBatch:
    """Lines padded to one width, three of ten set somewhere within it."""
    columns = -(-max(line.image.shape[1] for line in lines) // COLUMN_PX // 2) * 2
    height = lines[0].image.shape[0]
    batch = LineBatch(
        images=np.zeros((len(lines), 1, height, columns * COLUMN_PX), np.uint8),
        characters=np.array([ALPHABET.index(c) for line in lines for c in line.text], np.int64),
        lengths=np.array([len(line.text) for line in lines], np.int64),
        nearest=np.full((len(lines), columns), len(ALPHABET)),
        boxes=np.zeros((len(lines), columns, 4), np.float32),
        boxed=np.zeros((len(lines), columns), bool),
    )
    for row, line in enumerate(lines):
        width = line.image.shape[1]
        room = columns * COLUMN_PX - width
        start = int(random.integers(0, room + 1)) if random.random() < SET_ANYWHERE else 0
        batch.images[row, 0, :, start : start + width] = line.image
        if not line.text:
            continue
        x0, y0, x1, y1 = line.boxes.T
        middles = np.clip(((x0 + x1) / 2 + start) // COLUMN_PX, 0, columns - 1).astype(np.int64)
        batch.nearest[row, middles] = [ALPHABET.index(character) for character in line.text]
        away = np.abs(np.arange(columns)[:, None] - middles)  # columns, characters
        near = np.flatnonzero(away.min(axis=1) <= NEAR_COLUMNS)
        owner = away[near].argmin(axis=1)
        x = (near + 0.5) * COLUMN_PX - start
        edges = np.stack([x - x0[owner], x1[owner] - x, y0[owner], y1[owner]], axis=1)
        batch.boxes[row, near], batch.boxed[row, near] = edges / BOX_SCALE_PX, True
    return batch


def _writers(strokes: str | None) -> tuple[list[WriterStrokes], list[WriterStrokes]]:
    """Writers to train on, and those held out."""
    writers = read_strokes(Path(strokes)) if strokes else []
    held_out = writers[HELD_OUT_WRITERS - 1 :: HELD_OUT_WRITERS]
    return [writer for writer in writers if not any(writer is other for other in held_out)], held_out


def _digest(dataset: Dataset, strokes: str | None) -> str:
    """Of the digits, and of the strokes where there are any."""
    if strokes is None:
        return dataset.digest
    return hashlib.sha256(dataset.digest.encode() + read_stroke_bytes(Path(strokes))).hexdigest()
