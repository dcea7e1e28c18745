"""Lines to train on: composed as they are needed, by other processes, or read from a folder."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from digitcli.architectures.reader import BOX_SCALE_PX, COLUMN_PX
from digitcli.config import Recipe, TrainConfig
from digitcli.data.digits import Dataset, split
from digitcli.evaluation.calibration import best_temperature
from digitcli.evaluation.line_metrics import exact_match, line_ece, line_nll
from digitcli.inference import infer_lines
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.synthesis.strokes import Writer, read_strokes
from digitcli.synthesis.texts import ALPHABET
from digitcli.training.material import Judgement, derive_seed

EPOCH_LINES = 20_480
POOL_BATCHES = 16  # are drawn together and sorted by width, so that a batch needs little padding
VALIDATION_LINES, TEST_LINES = 1_000, 5_000
LONGEST_PX = 420  # longer lines are not trained on: the network sees the same short stretches in them
HELD_OUT_WRITERS = 10  # every so many-th writer of a file of strokes is not trained on
WORKERS = min(8, max(1, (os.cpu_count() or 1) - 1))
GUIDED = 0.4  # of the training: so long the loss also says where characters are
NEAR_COLUMNS = 2  # on either side of a character's middle are taught its box
BLANK_WEIGHT = 0.3
_SECOND_SEED, _THIRD_SEED = 1, 2  # of the lines to choose by and to judge by


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


@dataclass(frozen=True)
class LinePools:
    """Pool n is a list of batches that follows from the seed and n alone."""

    synthesizer: LineSynthesizer
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[LineBatch]:
        random = np.random.default_rng(derive_seed(self.seed, number))
        lines = compose(self.synthesizer, random, POOL_BATCHES * self.batch_size)
        lines.sort(key=lambda line: line.image.shape[1])
        starts = self.batch_size * random.permutation(POOL_BATCHES)
        return [as_batch(lines[start : start + self.batch_size], random) for start in starts]


class LineMaterial:
    """Lines composed of a dataset's digits and of strokes, see `Material`.

    What is chosen by and judged by is composed of the digits that are held out for that, and by writers who
    are held out from training.
    """

    unit = "line"

    def __init__(
        self, config: TrainConfig, recipe: Recipe, dataset: Dataset, device: torch.device, workers: int
    ) -> None:
        self._splits, self._device, self._seed = split(dataset), device, config.seed
        trained, self._held_out = _writers(config.strokes)
        self.name, self.failures = dataset.name, dataset.failures
        self.digest = _digest(dataset, config.strokes)
        self.sizes = {"train": EPOCH_LINES, "validation": VALIDATION_LINES, "test": TEST_LINES}
        self.batch_size = min(recipe.batch_size, EPOCH_LINES // POOL_BATCHES)
        self.steps = EPOCH_LINES // self.batch_size // POOL_BATCHES * POOL_BATCHES
        self.header: dict[str, Any] = {"alphabet": ALPHABET}
        self._workers = workers
        synthesizer = LineSynthesizer(self._splits.train, trained)
        self._pools = LinePools(synthesizer, self.batch_size, config.seed)
        self._coming: Iterator[list[LineBatch]] = iter(())
        self._number, self._pool = -1, list[LineBatch]()
        self._validation: list[Line] = []

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """See `line_loss`."""
        number, index = divmod(epoch * self.steps + step, POOL_BATCHES)
        if number != self._number:
            if number != self._number + 1 or self._number < 0:
                self._coming = iter(self._loader(first=number))
            self._number, self._pool = number, next(self._coming)
        return line_loss(network, self._pool[index], self._device, progress)

    def _loader(self, first: int) -> DataLoader[list[LineBatch]]:
        several: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": 3}
        return DataLoader(
            self._pools,  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(first, 2**31),
            collate_fn=_as_they_are,
            num_workers=self._workers,
            worker_init_fn=_start_worker,
            **(several if self._workers else {}),
        )

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """NLL and exact match of the digits."""
        lines = self._validation_lines()
        columns, texts = self._answers(network, lines), [line.digits for line in lines]
        return float(line_nll(columns, texts, ALPHABET).mean()), exact_match(columns, texts, ALPHABET)

    def try_out(self, network: nn.Module) -> float:
        """Exact match on one batch."""
        lines = self._validation_lines()[: self.batch_size]
        return exact_match(self._answers(network, lines), [line.digits for line in lines], ALPHABET)

    def judge(self, network: nn.Module) -> Judgement:
        """The temperature makes the probability of the right digits the highest."""
        lines, texts = self._validation_lines(), [line.digits for line in self._validation_lines()]
        columns = self._answers(network, lines)
        temperature = best_temperature(lambda value: float(line_nll(columns, texts, ALPHABET, value).mean()))
        test = LineSynthesizer(self._splits.test, self._held_out)
        test_lines = compose(test, np.random.default_rng(derive_seed(self._seed, _THIRD_SEED)), TEST_LINES)
        test_texts, test_columns = [line.digits for line in test_lines], self._answers(network, test_lines)
        return Judgement(
            validation_accuracy=exact_match(columns, texts, ALPHABET),
            temperature=temperature,
            test_accuracy=exact_match(test_columns, test_texts, ALPHABET),
            test_nll=float(line_nll(test_columns, test_texts, ALPHABET, temperature).mean()),
            test_ece=line_ece(test_columns, test_texts, ALPHABET, temperature),
        )

    def _validation_lines(self) -> list[Line]:
        if not self._validation:
            synthesizer = LineSynthesizer(self._splits.validation, self._held_out)
            random = np.random.default_rng(derive_seed(self._seed, _SECOND_SEED))
            self._validation = compose(synthesizer, random, VALIDATION_LINES)
        return self._validation

    def _answers(self, network: nn.Module, lines: Sequence[Line]) -> list[npt.NDArray[np.float32]]:
        return [answer.logits for answer in infer_lines(network, [line.image for line in lines])]

    def hashes(self) -> Tensor | None:
        """Lines are composed anew, and none can be met again."""
        return None


def compose(synthesizer: LineSynthesizer, random: np.random.Generator, count: int) -> list[Line]:
    """So many lines that are not too long."""
    lines: list[Line] = []
    while len(lines) < count:
        line = synthesizer.line(random)
        if line.image.shape[1] <= LONGEST_PX:
            lines.append(line)
    return lines


def as_batch(lines: Sequence[Line], random: np.random.Generator) -> LineBatch:
    """Lines padded to one width, three of ten set somewhere within it."""
    columns = -(-max(line.image.shape[1] for line in lines) // COLUMN_PX // 2) * 2
    height = lines[0].image.shape[0]
    batch = LineBatch(
        images=np.zeros((len(lines), 1, height, columns * COLUMN_PX), np.uint8),
        characters=np.array([ALPHABET.index(character) for line in lines for character in line.text]),
        lengths=np.array([len(line.text) for line in lines]),
        nearest=np.full((len(lines), columns), len(ALPHABET)),
        boxes=np.zeros((len(lines), columns, 4), np.float32),
        boxed=np.zeros((len(lines), columns), bool),
    )
    for row, line in enumerate(lines):
        width = line.image.shape[1]
        room = columns * COLUMN_PX - width
        start = int(random.integers(0, room + 1)) if random.random() < 0.3 else 0
        batch.images[row, 0, :, start : start + width] = line.image
        for character, (x0, y0, x1, y1) in zip(line.text, line.boxes.tolist(), strict=True):
            middle = min(columns - 1, int(((x0 + x1) / 2 + start) // COLUMN_PX))
            batch.nearest[row, middle] = ALPHABET.index(character)
            near = np.arange(max(0, middle - NEAR_COLUMNS), min(columns, middle + NEAR_COLUMNS + 1))
            x = (near + 0.5) * COLUMN_PX - start
            edges = np.stack([x - x0, x1 - x, np.full(len(x), y0), np.full(len(x), y1)], axis=1)
            batch.boxes[row, near], batch.boxed[row, near] = edges / BOX_SCALE_PX, True
    return batch


def line_loss(network: nn.Module, batch: LineBatch, device: torch.device, progress: float) -> Tensor:
    """CTC, the boxes of the characters, and at first where their middles are, which CTC alone finds late."""
    images = torch.from_numpy(batch.images).to(device).float().div_(255)
    logits, boxes = network.locate(images.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
    logits, boxes = logits.float(), boxes.float()  # B, T, A + 1 and B, T, 4
    lengths = torch.from_numpy(batch.lengths)
    ctc = F.ctc_loss(
        logits.log_softmax(dim=-1).transpose(0, 1),
        torch.from_numpy(batch.characters).to(device),
        torch.full_like(lengths, logits.shape[1]),
        lengths,
        blank=len(ALPHABET),
        reduction="sum",
        zero_infinity=True,
    ) / len(lengths)
    boxed = torch.from_numpy(batch.boxed).to(device)
    box_loss = F.smooth_l1_loss(
        boxes[boxed], torch.from_numpy(batch.boxes).to(device)[boxed], reduction="sum"
    )
    box_loss = box_loss / max(4 * int(batch.boxed.sum()), 1)
    guidance = max(0.0, 1 - progress / GUIDED)
    if guidance == 0:
        return ctc / 4 + 2 * box_loss
    weights = torch.ones(len(ALPHABET) + 1, device=device)
    weights[-1] = BLANK_WEIGHT
    nearest = torch.from_numpy(batch.nearest).to(device)
    where = F.cross_entropy(logits.flatten(0, 1), nearest.flatten(), weight=weights)
    return ctc * (1 - 0.7 * guidance) / 4 + 3 * guidance * where + 2 * box_loss


def _writers(strokes: str | None) -> tuple[list[Writer], list[Writer]]:
    """Writers to train on, and those held out."""
    writers = list(read_strokes(Path(strokes)).values()) if strokes else []
    held_out = writers[HELD_OUT_WRITERS - 1 :: HELD_OUT_WRITERS]
    return [writer for writer in writers if not any(writer is other for other in held_out)], held_out


def _digest(dataset: Dataset, strokes: str | None) -> str:
    """Of the digits, and of the strokes where there are any."""
    if strokes is None:
        return dataset.digest
    return hashlib.sha256(dataset.digest.encode() + Path(strokes).read_bytes()).hexdigest()


def _start_worker(number: int) -> None:
    """The run itself answers a signal; OpenCV's threads would only be in each other's way."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _as_they_are(pool: list[LineBatch]) -> list[LineBatch]:
    return pool
