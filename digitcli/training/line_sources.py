"""The lines that a run trains on, composed of digits and strokes or read from a folder, and their batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits, Failure, split
from digitcli.errors import InputError, counted
from digitcli.strip_format import ALPHABET as STRIP_ALPHABET
from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX, STRIP_PAPER
from digitcli.synthesis.line_folders import hash_lines, read_lines, split_lines
from digitcli.synthesis.lines import ALPHABET, Line, LineSynthesizer
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.strips import LabelledStrip
from digitcli.synthesis.strokes import EMBEDDED_STROKES, load_writers, split_writers
from digitcli.training.synthetic_lines import (
    STRIP_COMPOSERS,
    TRAINING_COMPOSERS,
    ComposeStrips,
    compose,
    compose_ink_of_strips,
    handwriting_digest,
    networks_digest,
    scene_composer,
)
from digitcli.training.task import Pools, derive_seed

# The number of columns on either side of a character's centre that learn its box. Chosen by hand.
NEAR_COLUMNS = 2

# The share of the lines in a batch that begin at a random place, not at the left. Chosen by hand.
SHIFTED_SHARE = 0.3

# The number of composed lines that count as an epoch. Chosen by hand: composed lines have no natural epoch.
EPOCH_LINES = 20_480
# The number of batches that are composed together and sorted by width, so that batches need little padding.
POOL_BATCHES = 128
# The numbers of composed lines to validate and to test on: the first keeps epochs short, the second makes the
# standard error of an exact match of 98 % smaller than 0.2 percentage points.
VALIDATION_LINES = 1_000
TEST_LINES = 5_000
# How often a strip is used: to compose strips takes much of the time. Chosen by hand.
STRIP_USES = 2
# The share of the lines of a `reader` that are the ink of such strips, as a page finder shows them. Chosen by
# hand.
INK_OF_STRIPS_SHARE = 0.5
# The range of widths from which the strips of a batch are mixed, so that a strip meets others each time.
BUCKET_PX = 8
# Parts of the seeds of the validation and test lines, which no pool of training lines has.
_VALIDATION_SEED = (0, 1)
_TEST_SEED = (0, 2)

AnyLine = Line | LabelledStrip  # the boxes of a line are empty, (0, 4), if they are not known


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


@dataclass(frozen=True)
class ComposedPools:
    """Pools of newly composed lines, and of the ink of strips of newly composed scenes."""

    composer: SceneComposer
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[LineBatch]:
        """Compose the lines of a pool; the lines of a batch have similar widths."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        size = POOL_BATCHES * self.batch_size
        strips = compose_ink_of_strips(self.composer, random, round(INK_OF_STRIPS_SHARE * size))
        lines = compose(self.composer.lines, random, size - len(strips))
        return as_batches([*lines, *strips], self.batch_size, random)


@dataclass(frozen=True)
class StoredPools:
    """Pools that contain each stored line once in an epoch."""

    lines: Sequence[Line]
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[LineBatch]:
        """Return a pool, which may contain the end of one epoch and the start of the next."""
        used = len(self.lines) // self.batch_size * self.batch_size
        size = POOL_BATCHES * self.batch_size
        positions = np.arange(number * size, (number + 1) * size)
        orders = {
            epoch: np.random.default_rng(derive_seed(self.seed, epoch)).permutation(len(self.lines))
            for epoch in np.unique(positions // used).tolist()
        }
        random = np.random.default_rng(derive_seed(self.seed, number))
        batches: list[LineBatch] = []
        for epoch, order in orders.items():
            indices = order[positions[positions // used == epoch] % used].tolist()
            batches += as_batches([self.lines[index] for index in indices], self.batch_size, random)
        return batches


class ComposedLines:
    """A `LineSource` that composes lines from the digits of a dataset and from pen strokes.

    Of the training lines a part is the ink of strips of scenes (`INK_OF_STRIPS_SHARE`). The validation and
    test lines use the digits of these splits, and writers who are held out from training.
    """

    composes = True
    alphabet = ALPHABET

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.name, self.failures = dataset.name, dataset.failures
        content = dataset.digest.encode() + EMBEDDED_STROKES.read_bytes()
        self.digest = _with_networks(hashlib.sha256(content).hexdigest())
        self.sizes = {"train": EPOCH_LINES, "validation": VALIDATION_LINES, "test": TEST_LINES}
        self._splits, self._seed = split(dataset), seed
        self._writers = load_writers()

    def pools(self, batch_size: int) -> Pools[LineBatch]:
        """Return pools of lines and of strips of scenes that are composed from the training digits."""
        composer = scene_composer(self._splits.train, held_out=False, writers=self._writers)
        return ComposedPools(composer, batch_size, self._seed)

    def training_synthesizer(self) -> LineSynthesizer:
        """Return a synthesizer with the training digits and the writers that are not held out."""
        return LineSynthesizer(self._splits.train, split_writers(self._writers, held_out=False))

    def validation(self) -> list[Line]:
        """Compose lines from the validation digits."""
        random = np.random.default_rng(derive_seed(self._seed, *_VALIDATION_SEED))
        return compose(self.validation_synthesizer(), random, VALIDATION_LINES)

    def validation_synthesizer(self) -> LineSynthesizer:
        """Return a synthesizer with the validation digits and the held-out writers."""
        return LineSynthesizer(self._splits.validation, split_writers(self._writers, held_out=True))

    def test(self, count: int = TEST_LINES) -> list[Line]:
        """Compose lines from the test digits."""
        random = np.random.default_rng(derive_seed(self._seed, *_TEST_SEED))
        synthesizer = LineSynthesizer(self._splits.test, split_writers(self._writers, held_out=True))
        return compose(synthesizer, random, count)


class ComposedStrips:
    """Lines of strips of composed scenes for one of the architectures of `STRIP_COMPOSERS`.

    The validation and test strips use the digits of these splits, and held-out writers and fonts.
    """

    composes = True
    alphabet = STRIP_ALPHABET

    def __init__(self, dataset: Dataset, seed: int, architecture: str) -> None:
        self.name, self.failures = dataset.name, dataset.failures
        self.digest = handwriting_digest(dataset)
        if TRAINING_COMPOSERS[architecture] is not STRIP_COMPOSERS[architecture]:
            self.digest = _with_networks(self.digest)
        self._architecture = architecture
        self.sizes = {"train": EPOCH_LINES, "validation": VALIDATION_LINES, "test": TEST_LINES}
        self._splits, self._seed = split(dataset), seed

    def pools(self, batch_size: int) -> Pools[LineBatch]:
        """Return pools of strips of scenes with the training digits."""
        composer = scene_composer(self._splits.train, held_out=False)
        return StripPools(composer, batch_size, self._seed, TRAINING_COMPOSERS[self._architecture])

    def validation(self) -> list[LabelledStrip]:
        """Cut strips out of scenes with the validation digits."""
        return self._held_out(self._splits.validation, _VALIDATION_SEED, VALIDATION_LINES)

    def test(self) -> list[LabelledStrip]:
        """Cut strips out of scenes with the test digits."""
        return self._held_out(self._splits.test, _TEST_SEED, TEST_LINES)

    def _held_out(self, digits: Digits, part: tuple[int, ...], count: int) -> list[LabelledStrip]:
        random = np.random.default_rng(derive_seed(self._seed, *part))
        compose_kind = STRIP_COMPOSERS[self._architecture]
        return compose_kind(scene_composer(digits, held_out=True), random, count)


@dataclass(frozen=True)
class StripPools:
    """Pools of strips of newly composed scenes."""

    composer: SceneComposer
    batch_size: int
    seed: int
    compose: ComposeStrips

    def __getitem__(self, number: int) -> list[LineBatch]:
        """Compose the strips of a pool; the strips of a batch have similar widths."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        strips = self.compose(self.composer, random, POOL_BATCHES * self.batch_size // STRIP_USES)
        orders = [random.permutation(len(strips)) for _ in range(STRIP_USES)]
        return [
            batch
            for order in orders
            for batch in as_batches(
                [strips[i] for i in order], self.batch_size, random, STRIP_ALPHABET, BUCKET_PX
            )
        ]


class StoredLines:
    """Lines of the lines in a folder; a part of them is held out.

    train: The lines to train on.

    Raises:
        InputError: the folder cannot be read, or has too few lines.
    """

    composes = False
    alphabet = ALPHABET
    failures: tuple[Failure, ...] = ()

    def __init__(self, folder: Path, seed: int) -> None:
        lines = read_lines(folder)
        self.name, self.digest, self._seed = folder.name, hash_lines(lines), seed
        self.train, self._validation, self._test = split_lines(lines)
        self.sizes = {
            "train": len(self.train),
            "validation": len(self._validation),
            "test": len(self._test),
        }
        if not all(self.sizes.values()):
            cause = (
                f"{folder} has {counted(len(lines), 'line')}, too few for training, validation and testing."
            )
            raise InputError(cause, "Provide at least 12 lines; digitcli synthesize makes more.")

    def pools(self, batch_size: int) -> Pools[LineBatch]:
        """Return pools of the lines that are not held out."""
        return StoredPools(self.train, batch_size, self._seed)

    def validation(self) -> list[Line]:
        """Return the held-out lines to validate on, one of twelve."""
        return self._validation

    def test(self) -> list[Line]:
        """Return the held-out lines to test on, one of seven."""
        return self._test


LineSource = ComposedLines | ComposedStrips | StoredLines


def composed_source(architecture: str, dataset: Dataset, seed: int) -> ComposedLines | ComposedStrips:
    """Return what an architecture for lines learns from."""
    if architecture in STRIP_COMPOSERS:
        return ComposedStrips(dataset, seed, architecture)
    return ComposedLines(dataset, seed)


def _with_networks(digest: str) -> str:
    """Return a hash of a digest and of the networks that choose hard negatives."""
    return hashlib.sha256((digest + networks_digest()).encode()).hexdigest()
