"""The task of reading lines: where the lines come from, their batches, the loss, and what is measured.

Lines are composed of digits and pen strokes during training, or read from a folder.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.data.dataset import Dataset, Failure, split
from digitcli.errors import InputError, counted
from digitcli.evaluation.calibration import minimize_over_temperature
from digitcli.evaluation.metrics import exact_match, line_ece, line_nll, read_digits
from digitcli.inference.torch_runtime import infer_lines
from digitcli.strip_format import ALPHABET as STRIP_ALPHABET
from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX, STRIP_PAPER
from digitcli.synthesis.line_folders import hash_lines, read_lines, split_lines
from digitcli.synthesis.lines import ALPHABET, Line, count_ctc_columns
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.strips import LabelledStrip
from digitcli.synthesis.strokes import EMBEDDED_STROKES
from digitcli.threads import usable_cores
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.pools import StoredExamples
from digitcli.training.scene_changes import change_strip
from digitcli.training.synthetic_lines import (
    STRIP_COMPOSERS,
    TRAINING_COMPOSERS,
    compose,
    compose_ink_of_strips,
    compose_training_strips,
    handwriting_digest,
    networks_digest,
    scene_composer,
)
from digitcli.training.task import TEST_SEED, VALIDATION_SEED, FinalMetrics, PoolReader, Pools, derive_seed

NEAR_COLUMNS = 2  # columns on either side of a character's centre that learn its box; chosen by hand
SHIFTED_SHARE = 0.3  # lines in a batch that begin at a random place, not at the left; chosen by hand
EPOCH_LINES = 20_480  # composed lines that count as an epoch; chosen by hand, as they have no natural epoch
POOL_BATCHES = 128  # that are composed together and sorted by width, so that batches need little padding
VALIDATION_LINES = 1_000  # composed lines, so few that epochs stay short
TEST_LINES = 5_000  # makes the standard error of an exact match of 98 % smaller than 0.2 percentage points
STRIP_USES = 4  # how often a strip is used, changed each time: to compose strips takes much of the time
# The share of the lines of a `reader` that are the ink of such strips, as a page finder shows them. Chosen by
# hand.
INK_OF_STRIPS_SHARE = 0.5
BUCKET_PX = 8  # widths from which the strips of a batch are mixed, so that a strip meets others each time
WORKERS = min(8, max(1, usable_cores() - 1))  # one core is left to the training, and 8 keep up with a GPU
GUIDED_SHARE = 0.4  # the first share of the run, which also trains the positions of characters; by hand
BLANK_WEIGHT = 0.3  # of the blank in that part of the loss, where most columns are blank; chosen by hand

AnyLine = Line | LabelledStrip  # the boxes of a line are empty, (0, 4), if they are not known


@dataclass(frozen=True)
class LineBatch:
    """B lines with their targets, padded to a width of T columns of 4 pixels."""

    images: npt.NDArray[np.uint8]  # B, C, 40, 4 T
    characters: npt.NDArray[np.int64]  # of all lines in a row
    lengths: npt.NDArray[np.int64]  # B, the number of characters of each line
    nearest: npt.NDArray[np.int64]  # B, T, the character whose centre lies in a column, or the blank
    boxes: npt.NDArray[np.float32]  # B, T, 4, of the nearest character, see `Reader.locate`
    boxed: npt.NDArray[np.bool_]  # B, T, whether a column has a box


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
    shape = (len(lines), *(channels or [1]), height, columns * COLUMN_PX)
    batch = LineBatch(
        images=np.full(shape, STRIP_PAPER if channels else 0, np.uint8),
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
        batch.nearest[row, centres] = [alphabet.index(each) for each in line.text if each != " "]
        distances = np.abs(np.arange(columns)[:, None] - centres)  # columns, characters
        near = np.flatnonzero(distances.min(axis=1) <= NEAR_COLUMNS)
        owner = distances[near].argmin(axis=1)
        x = (near + 0.5) * COLUMN_PX - start
        edges = np.stack([x - x0[owner], x1[owner] - x, y0[owner], y1[owner]], axis=1)
        batch.boxes[row, near], batch.boxed[row, near] = edges / BOX_SCALE_PX, True
    return batch


@dataclass(frozen=True)
class ComposedPools:
    """Pools of newly composed lines for an architecture; the lines of a batch have similar widths.

    A `reader` learns from lines and from the ink of strips of scenes, the others from the strips.
    """

    composer: SceneComposer
    architecture: str
    batch_size: int
    seed: int
    stored: StoredExamples[LabelledStrip] | None = None

    def __getitem__(self, number: int) -> list[LineBatch]:
        """Compose the lines of a pool."""
        random, size = np.random.default_rng(derive_seed(self.seed, number)), POOL_BATCHES * self.batch_size
        if self.architecture not in TRAINING_COMPOSERS:
            ink = compose_ink_of_strips(self.composer, random, round(INK_OF_STRIPS_SHARE * size))
            lines = compose(self.composer.lines, random, size - len(ink))
            return as_batches([*lines, *ink], self.batch_size, random)
        count = size // STRIP_USES
        if self.stored is None:
            strips = TRAINING_COMPOSERS[self.architecture](self.composer, random, count)
        else:
            strips = self.stored.take(number * count, count)
        batches: list[LineBatch] = []
        for order in [random.permutation(len(strips)) for _ in range(STRIP_USES)]:
            ordered = [
                change_strip(strips[index], random, count_ctc_columns(strips[index].text)) for index in order
            ]
            batches += as_batches(ordered, self.batch_size, random, STRIP_ALPHABET, BUCKET_PX)
        return batches


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
        random = np.random.default_rng(derive_seed(self.seed, number))
        batches: list[LineBatch] = []
        for epoch in np.unique(positions // used).tolist():
            order = np.random.default_rng(derive_seed(self.seed, epoch)).permutation(len(self.lines))
            indices = order[positions[positions // used == epoch] % used].tolist()
            batches += as_batches([self.lines[index] for index in indices], self.batch_size, random)
        return batches


class ComposedLines:
    """A source of lines that are composed for an architecture, a `reader` or one of `STRIP_COMPOSERS`.

    The lines of a split use its digits, and those to validate and to test on use held-out writers and fonts.
    """

    composes = True

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        architecture: str = "reader",
        stored: StoredExamples[LabelledStrip] | None = None,
    ) -> None:
        self.name, self.failures = dataset.name, dataset.failures
        is_of_strips = architecture in STRIP_COMPOSERS
        self.alphabet = STRIP_ALPHABET if is_of_strips else ALPHABET
        self.digest = handwriting_digest(dataset) if is_of_strips else _strokes_digest(dataset)
        if TRAINING_COMPOSERS.get(architecture, compose_training_strips) is compose_training_strips:
            self.digest = hashlib.sha256((self.digest + networks_digest()).encode()).hexdigest()
        if stored:
            self.digest = stored.digest
        self.sizes = {"train": EPOCH_LINES, "validation": VALIDATION_LINES, "test": TEST_LINES}
        self._splits, self._seed = split(dataset), seed
        self._architecture, self._stored = architecture, stored

    def composer(self, part: Literal["train", "validation", "test"]) -> SceneComposer:
        """Return a composer with the digits of a split; writers and fonts are held out but for training."""
        return scene_composer(getattr(self._splits, part), "train" if part == "train" else "calibrate")

    def pools(self, batch_size: int) -> Pools[LineBatch]:
        """Return pools of lines that are composed from the training digits."""
        composer = self.composer("train")
        return ComposedPools(composer, self._architecture, batch_size, self._seed, self._stored)

    def validation(self) -> Sequence[AnyLine]:
        """Compose lines from the validation digits."""
        random = np.random.default_rng(derive_seed(self._seed, *VALIDATION_SEED))
        return self._compose(self.composer("validation"), random, VALIDATION_LINES)

    def test(self, count: int | None = None) -> Sequence[AnyLine]:
        """Compose lines from the test digits, by default `TEST_LINES`."""
        random = np.random.default_rng(derive_seed(self._seed, *TEST_SEED))
        return self._compose(self.composer("test"), random, TEST_LINES if count is None else count)

    def _compose(self, composer: SceneComposer, random: np.random.Generator, count: int) -> Sequence[AnyLine]:
        if self._architecture in STRIP_COMPOSERS:
            return STRIP_COMPOSERS[self._architecture](composer, random, count)
        return compose(composer.lines, random, count)


def _strokes_digest(dataset: Dataset) -> str:
    return hashlib.sha256(dataset.digest.encode() + EMBEDDED_STROKES.read_bytes()).hexdigest()


class StoredLines:
    """A source of the lines in a folder, of which a part is held out; `train` are those to train on.

    Raises:
        InputError: the folder cannot be read, or has too few lines.
    """

    composes = False
    alphabet = ALPHABET
    failures: tuple[Failure, ...] = ()

    def __init__(self, folder: Path, seed: int) -> None:
        lines = read_lines(folder)
        self.name, self.digest, self._seed = folder.name, hash_lines(lines), seed
        self.train, self._validation, self._test = parts = split_lines(lines)
        self.sizes = dict(zip(("train", "validation", "test"), map(len, parts), strict=True))
        if not all(parts):
            number = counted(len(lines), "line")
            cause = f"{folder} has {number}, too few for training, validation and testing."
            raise InputError(cause, "Provide at least 12 lines; digitcli synthesize makes more.")

    def pools(self, batch_size: int) -> Pools[LineBatch]:
        """Return pools of the lines that are not held out."""
        return StoredPools(self.train, batch_size, self._seed)

    def validation(self) -> Sequence[AnyLine]:
        """Return the held-out lines to validate on, one of twelve."""
        return self._validation

    def test(self) -> Sequence[AnyLine]:
        """Return the held-out lines to test on, one of seven."""
        return self._test


class LineTask:
    """A `TrainingTask` on lines of characters.

    guided: whether the first part of the run is also guided by the positions of the characters.
    """

    unit = "line"
    least_temperature = 1.0

    def __init__(
        self,
        source: ComposedLines | StoredLines,
        recipe: Recipe,
        device: torch.device,
        workers: int,
        processes: Processes = ONE_PROCESS,
        *,
        guided: bool = True,
    ) -> None:
        self._source, self._device, self._guided = source, device, guided
        self.name, self.digest, self.failures = source.name, source.digest, source.failures
        self.sizes = source.sizes
        self.sources: dict[str, str] = {}
        self.batch_size = min(recipe.batch_size, source.sizes["train"])
        self.steps = max(source.sizes["train"] // self.batch_size, recipe.min_epoch_steps)
        self.header: dict[str, Any] = {"alphabet": source.alphabet}
        share = self.batch_size // processes.size
        workers = workers if source.composes else 0
        self._pools = PoolReader(lambda: source.pools(share), workers, processes)
        self.train_hashes = None  # lines are generated, and no evaluation can contain the same ones
        self.preparation_seconds = 0.0

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the `line_loss` of this process's part of the batch."""
        batch = self._pools.batch(*divmod(epoch * self.steps + step, POOL_BATCHES))
        guidance = max(0.0, 1 - progress / GUIDED_SHARE) if self._guided else 0.0
        return line_loss(network, batch, self._device, guidance, self._source.alphabet)

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the negative log-likelihood and the exact match of the validation lines' digits."""
        answers = *_answers(network, self._validation_lines), self._source.alphabet
        return float(line_nll(*answers).mean()), exact_match(*answers)

    def validate_batch(self, network: nn.Module) -> float:
        """Return the exact match on one batch of the validation lines."""
        lines = self._validation_lines[: self.batch_size]
        return exact_match(*_answers(network, lines), self._source.alphabet)

    def test(self, network: nn.Module) -> FinalMetrics:
        """Fit the temperature on the validation lines, then use the test lines, once."""
        alphabet = self._source.alphabet
        answers = *_answers(network, self._validation_lines), alphabet
        validation_accuracy = exact_match(*answers)
        temperature = minimize_over_temperature(
            lambda value: float(line_nll(*answers, value).mean()),
            all_correct=validation_accuracy == 1,
            least=self.least_temperature,
        )
        logits, texts = _answers(network, self._source.test())
        pairs = zip(read_digits(logits, alphabet), texts, strict=True)
        return FinalMetrics(
            validation_accuracy=validation_accuracy,
            temperature=temperature,
            test_accuracy=exact_match(logits, texts, alphabet),
            test_nll=float(line_nll(logits, texts, alphabet, temperature).mean()),
            test_ece=line_ece(logits, texts, alphabet, temperature),
            misread=tuple(index for index, (digits, text) in enumerate(pairs) if digits != text),
        )

    @functools.cached_property
    def _validation_lines(self) -> Sequence[AnyLine]:
        return self._source.validation()


def _answers(network: nn.Module, lines: Sequence[AnyLine]) -> tuple[list[npt.NDArray[np.float32]], list[str]]:
    """Return the logits of lines, and what they should be read as."""
    return line_logits(network, lines), [line.digits for line in lines]


def line_logits(network: nn.Module, lines: Sequence[AnyLine]) -> list[npt.NDArray[np.float32]]:
    """Return the logits (T, A + 1) of each line."""
    return [output.logits for output in infer_lines(network, [line.image for line in lines])]


def line_loss(
    network: nn.Module, batch: LineBatch, device: torch.device, guidance: float, alphabet: str = ALPHABET
) -> Tensor:
    """Return the loss of a batch of lines: CTC, the boxes of the characters, and at first their columns.

    CTC alone takes long to find where characters are, so a network without trained weights first learns the
    column of each character's centre too, with a `guidance` that falls from 1 to 0. The weights of the three
    parts were chosen by hand.
    """
    images = torch.from_numpy(batch.images).to(device).float().div_(255)
    images = images.contiguous(memory_format=torch.channels_last)
    locates = hasattr(network, "locate")
    logits, boxes = network.locate(images) if locates else (network(images), None)  # type: ignore[operator]
    logits = logits.float()  # B, T, A + 1
    lengths = torch.from_numpy(batch.lengths)
    ctc_device = torch.device("cpu") if device.type == "mps" else device  # PyTorch has no CTC for MPS
    ctc = F.ctc_loss(
        logits.log_softmax(dim=-1).transpose(0, 1).to(ctc_device),
        torch.from_numpy(batch.characters).to(ctc_device),
        torch.full_like(lengths, logits.shape[1]),
        lengths,
        blank=len(alphabet),
        reduction="sum",
        zero_infinity=True,
    )
    ctc = ctc.to(device) / len(lengths)
    box_loss = torch.zeros((), device=device) if boxes is None else _box_loss(boxes.float(), batch)
    if guidance == 0:
        return ctc / 4 + 2 * box_loss
    weights = torch.ones(len(alphabet) + 1, device=device)
    weights[-1] = BLANK_WEIGHT
    nearest = torch.from_numpy(batch.nearest).to(device)
    column_loss = F.cross_entropy(logits.flatten(0, 1), nearest.flatten(), weight=weights)
    return ctc * (1 - 0.7 * guidance) / 4 + 3 * guidance * column_loss + 2 * box_loss


def _box_loss(boxes: Tensor, batch: LineBatch) -> Tensor:
    """Return the mean loss of the predicted boxes (B, T, 4) in the columns that have a character."""
    boxed = torch.from_numpy(batch.boxed).to(boxes.device)
    targets = torch.from_numpy(batch.boxes).to(boxes.device)[boxed]
    loss = F.smooth_l1_loss(boxes[boxed], targets, reduction="sum")
    return loss / max(4 * int(batch.boxed.sum()), 1)
