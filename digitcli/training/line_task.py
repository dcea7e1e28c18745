"""The task of reading strips: their batches, the loss, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Dataset, split
from digitcli.data.loading import find_dataset
from digitcli.data.mnist import load_mnist
from digitcli.errors import UsageError
from digitcli.evaluation.calibration import minimize_over_temperature
from digitcli.evaluation.metrics import exact_match, line_ece, line_nll, read_digits
from digitcli.inference.torch_runtime import infer_lines
from digitcli.strip_format import ALPHABET, BOX_SCALE_PX, COLUMN_PX, STRIP_PAPER, count_ctc_columns
from digitcli.synthesis.scenes import scene_composer
from digitcli.synthesis.strips import LabelledStrip, unpack_strips
from digitcli.threads import usable_cores
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.pools import POOL_FILE, StoredExamples
from digitcli.training.scene_changes import change_strip
from digitcli.training.synthetic_strips import (
    FINDER,
    GLANCE,
    compose_pictures,
    compose_strips,
    compose_training_strips,
)
from digitcli.training.task import TEST_SEED, VALIDATION_SEED, FinalMetrics, SceneKind, SceneTask, derive_seed

NEAR_COLUMNS = 2  # columns on either side of a character's centre that learn its box; chosen by hand
SHIFTED_SHARE = 0.3  # strips in a batch that begin at a random place, not at the left; chosen by hand
BUCKET_PX = 8  # widths from which the strips of a batch are mixed, so that a strip meets others each time
WORKERS = min(8, max(1, usable_cores() - 1))  # one core is left to the training, and 8 keep up with a GPU
GUIDED_SHARE = 0.4  # the first share of the run, which also trains the positions of characters; by hand
BLANK_WEIGHT = 0.3  # of the blank in that part of the loss, where most columns are blank; chosen by hand
PRINT_WEIGHT = 0.1  # of the loss of print, which is easy to learn; chosen by hand
EVALUATION_STRIPS = 2_000  # that are composed where no folder is named
EVALUATION_SEED = 2026


@dataclass(frozen=True)
class LineBatch:
    """B strips with their targets, padded to a width of T columns of 4 pixels."""

    images: npt.NDArray[np.uint8]  # B, 3, 40, 4 T
    characters: npt.NDArray[np.int64]  # of all strips in a row
    lengths: npt.NDArray[np.int64]  # B, the number of characters of each strip
    nearest: npt.NDArray[np.int64]  # B, T, the character whose centre lies in a column, or the blank
    boxes: npt.NDArray[np.float32]  # B, T, 4, of the nearest character, see `Reader.locate`
    boxed: npt.NDArray[np.bool_]  # B, T, whether a column has a box
    prints: npt.NDArray[np.float32]  # B, T, whether that character is printed, see `LabelledStrip`


def as_batches(strips: Sequence[LabelledStrip], size: int, random: np.random.Generator) -> list[LineBatch]:
    """Return batches of strips of similar width, in a random order.

    Widths in the same bucket of `BUCKET_PX` count as equal, and their strips keep their order.
    """
    strips = sorted(strips, key=lambda strip: strip.image.shape[-1] // BUCKET_PX)
    starts = size * random.permutation(len(strips) // size)
    return [as_batch(strips[start : start + size], random) for start in starts]


def as_batch(strips: Sequence[LabelledStrip], random: np.random.Generator) -> LineBatch:
    """Pad strips to one width and compute their targets."""
    columns = -(-max(strip.image.shape[-1] for strip in strips) // COLUMN_PX // 2) * 2
    shape = (len(strips), *strips[0].image.shape[:2], columns * COLUMN_PX)
    batch = LineBatch(
        images=np.full(shape, STRIP_PAPER, np.uint8),
        characters=np.array([ALPHABET.index(c) for strip in strips for c in strip.text], np.int64),
        lengths=np.array([len(strip.text) for strip in strips], np.int64),
        nearest=np.full((len(strips), columns), len(ALPHABET)),
        boxes=np.zeros((len(strips), columns, 4), np.float32),
        boxed=np.zeros((len(strips), columns), bool),
        prints=np.full((len(strips), columns), np.nan, np.float32),
    )
    for row, strip in enumerate(strips):
        width = strip.image.shape[-1]
        margin = columns * COLUMN_PX - width
        start = int(random.integers(0, margin + 1)) if random.random() < SHIFTED_SHARE else 0
        batch.images[row, :, :, start : start + width] = strip.image
        if not len(strip.boxes):  # nothing is written, or it is not known where
            continue
        x0, y0, x1, y1 = strip.boxes.T
        centres = np.clip(((x0 + x1) / 2 + start) // COLUMN_PX, 0, columns - 1).astype(np.int64)
        batch.nearest[row, centres] = [ALPHABET.index(each) for each in strip.text if each != " "]
        distances = np.abs(np.arange(columns)[:, None] - centres)  # columns, characters
        near = np.flatnonzero(distances.min(axis=1) <= NEAR_COLUMNS)
        owner = distances[near].argmin(axis=1)
        x = (near + 0.5) * COLUMN_PX - start
        edges = np.stack([x - x0[owner], x1[owner] - x, y0[owner], y1[owner]], axis=1)
        batch.boxes[row, near], batch.boxed[row, near] = edges / BOX_SCALE_PX, True
        batch.prints[row, near] = strip.prints[owner]
    return batch


def _changed(strip: LabelledStrip, random: np.random.Generator) -> LabelledStrip:
    return change_strip(strip, random, count_ctc_columns(strip.text))


def line_logits(network: nn.Module, strips: Sequence[LabelledStrip]) -> list[npt.NDArray[np.float32]]:
    """Return the logits (T, A + 1) of each strip."""
    return [output.logits for output in infer_lines(network, [strip.image for strip in strips])]


def _measure(
    network: nn.Module, batches: list[list[LabelledStrip]], device: torch.device
) -> tuple[float, float]:
    """Return the negative log-likelihood and the exact match of the digits."""
    strips = [strip for batch in batches for strip in batch]
    answers = line_logits(network, strips), [strip.digits for strip in strips], ALPHABET
    return float(line_nll(*answers).mean()), exact_match(*answers)


def line_loss(network: nn.Module, batch: LineBatch, device: torch.device, guidance: float = 0.0) -> Tensor:
    """Return the loss of a batch: CTC, boxes, print, and at first the columns of the characters.

    CTC alone takes long to find where characters are, so a network without trained weights first learns the
    column of each character's centre too, with a `guidance` that falls from 1 to 0. The weights of the parts
    were chosen by hand.
    """
    images = torch.from_numpy(batch.images).to(device).float().div_(255)
    images = images.contiguous(memory_format=torch.channels_last)
    outputs = network.locate(images) if hasattr(network, "locate") else (network(images),)  # type: ignore[operator]
    logits, *others = (output.float() for output in outputs)  # B, T, A + 1
    heads: tuple[str, ...] = getattr(network, "parallel", ())[1:]
    lengths = torch.from_numpy(batch.lengths)
    ctc_device = torch.device("cpu") if device.type == "mps" else device  # PyTorch has no CTC for MPS
    ctc = F.ctc_loss(
        logits.log_softmax(dim=-1).transpose(0, 1).to(ctc_device),
        torch.from_numpy(batch.characters).to(ctc_device),
        torch.full_like(lengths, logits.shape[1]),
        lengths,
        blank=len(ALPHABET),
        reduction="sum",
        zero_infinity=True,
    )
    ctc = ctc.to(device) / len(lengths)
    rest = torch.zeros((), device=device)
    for head, output in zip(heads, others, strict=True):
        rest = rest + HEAD_LOSSES[head](output, batch)
    if guidance == 0:
        return ctc / 4 + rest
    weights = torch.ones(len(ALPHABET) + 1, device=device)
    weights[-1] = BLANK_WEIGHT
    nearest = torch.from_numpy(batch.nearest).to(device)
    column_loss = F.cross_entropy(logits.flatten(0, 1), nearest.flatten(), weight=weights)
    return ctc * (1 - 0.7 * guidance) / 4 + 3 * guidance * column_loss + rest


def _box_loss(boxes: Tensor, batch: LineBatch) -> Tensor:
    """Return twice the mean loss of the predicted boxes (B, T, 4) in the columns that have a character."""
    boxed = torch.from_numpy(batch.boxed).to(boxes.device)
    targets = torch.from_numpy(batch.boxes).to(boxes.device)[boxed]
    loss = F.smooth_l1_loss(boxes[boxed], targets, reduction="sum")
    return 2 * loss / max(4 * int(batch.boxed.sum()), 1)


def _print_loss(prints: Tensor, batch: LineBatch) -> Tensor:
    """Return the mean loss of the logits of print (B, T, 1), by its weight, where print is known."""
    targets = torch.from_numpy(batch.prints).to(prints.device)
    known = ~targets.isnan()
    loss = F.binary_cross_entropy_with_logits(prints[..., 0][known], targets[known], reduction="sum")
    return PRINT_WEIGHT * loss / known.sum().clamp(min=1)


HEAD_LOSSES = {
    "distances": _box_loss,
    "prints": _print_loss,
}  # of the heads of a `Reader` but its classes


# An epoch and the number of strips to measure on have sizes that were chosen by hand: composed strips
# have no natural epoch, and 5,000 make the standard error of an exact match of 80 % smaller than 0.6 points.
GLANCES = SceneKind(
    "line", epoch=20_480, validation=1_000, test=5_000, pool_batches=128, uses=4,
    compose=compose_pictures, loss=line_loss, measure=_measure, change=_changed, batches=as_batches,
)  # fmt: skip
STRIPS = replace(
    GLANCES,
    compose=compose_strips,
    compose_training=compose_training_strips,
    networks=(FINDER, GLANCE),
)


def kind_of(architecture: str) -> SceneKind[LabelledStrip]:
    """Return what an architecture learns to read: whole pictures for the glance, strips for others."""
    return GLANCES if architecture == GLANCE else STRIPS


def held_out_strips(
    architecture: str, part: Literal["validation", "test"], seed: int, count: int
) -> list[LabelledStrip]:
    """Compose strips, as an architecture reads them, by held-out writers and fonts with digits of a part.

    A training with this seed is measured on the first of them.
    """
    digits = split(load_mnist()).validation if part == "validation" else split(load_mnist()).test
    parts = VALIDATION_SEED if part == "validation" else TEST_SEED
    random = np.random.default_rng(derive_seed(seed, *parts))
    return kind_of(architecture).compose(scene_composer(digits, "calibrate"), random, count)


def strips_to_evaluate(architecture: str, data: str) -> tuple[list[LabelledStrip], str]:
    """Return strips on which a model is evaluated, and the name of their split.

    data: a folder of `digitcli synthesize --for`, or mnist for strips that are composed of its test digits.

    Raises:
        UsageError: the data is no such folder.
        InputError: the strips cannot be read, or are for another architecture.
    """
    path = find_dataset(data)
    if path is not None and (path / POOL_FILE).is_file():
        stored = StoredExamples(path, architecture, unpack_strips)
        return stored.take(0, stored.count), "all"
    if data != DEFAULT_DATASET:
        remedy = f"Name a folder that digitcli synthesize --for {architecture} has written."
        raise UsageError(f"{data} holds no strips.", remedy)
    return held_out_strips(architecture, "test", EVALUATION_SEED, EVALUATION_STRIPS), "test"


class LineTask(SceneTask[LabelledStrip]):
    """A `TrainingTask` on strips.

    guided: whether the first part of the run is also guided by the positions of the characters.
    """

    def __init__(
        self,
        architecture: str,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        workers: int,
        processes: Processes = ONE_PROCESS,
        stored: StoredExamples[LabelledStrip] | None = None,
        *,
        guided: bool = True,
    ) -> None:
        super().__init__(kind_of(architecture), dataset, recipe, seed, device, workers, processes, stored)
        self._guided = guided
        self.header = {"alphabet": ALPHABET}

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the `line_loss` of this process's part of the batch."""
        guidance = max(0.0, 1 - progress / GUIDED_SHARE) if self._guided else 0.0
        return line_loss(network, self.batch(epoch, step), self._device, guidance)

    def test(self, network: nn.Module) -> FinalMetrics:
        """Fit the temperature on the validation strips, then use the test strips, once."""
        texts = [strip.digits for strip in self._validation]
        logits = line_logits(network, self._validation)
        validation_accuracy = exact_match(logits, texts, ALPHABET)
        temperature = minimize_over_temperature(
            lambda value: float(line_nll(logits, texts, ALPHABET, value).mean()),
            all_correct=validation_accuracy == 1,
            least=self.least_temperature,
        )
        strips = self._test
        texts, logits = [strip.digits for strip in strips], line_logits(network, strips)
        pairs = zip(read_digits(logits, ALPHABET), texts, strict=True)
        return FinalMetrics(
            validation_accuracy=validation_accuracy,
            temperature=temperature,
            test_accuracy=exact_match(logits, texts, ALPHABET),
            test_nll=float(line_nll(logits, texts, ALPHABET, temperature).mean()),
            test_ece=line_ece(logits, texts, ALPHABET, temperature),
            misread=tuple(index for index, (digits, text) in enumerate(pairs) if digits != text),
        )
