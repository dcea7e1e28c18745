"""The task of reading lines of characters: the loss of a line network, its validation and its test."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.evaluation.calibration import minimize_over_temperature
from digitcli.evaluation.metrics import exact_match, line_ece, line_nll, read_digits
from digitcli.inference.torch_runtime import infer_lines
from digitcli.synthesis.lines import ALPHABET
from digitcli.threads import usable_cores
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.line_sources import POOL_BATCHES, AnyLine, LineBatch, LineSource
from digitcli.training.task import FinalMetrics, PoolReader

# The processes that compose lines: one core is left to the training, and 8 keep up with a GPU.
WORKERS = min(8, max(1, usable_cores() - 1))

# The first share of the run, in which the loss also trains the positions of characters. Chosen by hand.
GUIDED_SHARE = 0.4

# The weight of the blank in that part of the loss, where most columns are blank. Chosen by hand.
BLANK_WEIGHT = 0.3


class LineTask:
    """A `TrainingTask` on lines of characters, which are composed during training or read from a folder."""

    unit = "line"
    least_temperature = 1.0

    def __init__(
        self,
        source: LineSource,
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
        workers = workers if source.composes else 0
        self._pools = PoolReader(
            lambda: source.pools(self.batch_size // processes.size), workers, 3, processes
        )
        self.train_hashes = None  # lines are generated, and no evaluation can contain the same ones
        self.preparation_seconds = 0.0

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the `line_loss` of this process's part of the batch; a `guided` run starts with guidance."""
        number, index = divmod(epoch * self.steps + step, POOL_BATCHES)
        batch = self._pools.batch(number, index)
        guidance = max(0.0, 1 - progress / GUIDED_SHARE) if self._guided else 0.0
        return line_loss(network, batch, self._device, guidance, self._source.alphabet)

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the negative log-likelihood and the exact match of the validation lines' digits."""
        lines, alphabet = self._validation_lines, self._source.alphabet
        logits, texts = line_logits(network, lines), [line.digits for line in lines]
        return float(line_nll(logits, texts, alphabet).mean()), exact_match(logits, texts, alphabet)

    def validate_batch(self, network: nn.Module) -> float:
        """Return the exact match on one batch of the validation lines."""
        lines = self._validation_lines[: self.batch_size]
        texts = [line.digits for line in lines]
        return exact_match(line_logits(network, lines), texts, self._source.alphabet)

    def test(self, network: nn.Module) -> FinalMetrics:
        """Fit the temperature on the validation lines, then use the test lines, once."""
        lines, alphabet = self._validation_lines, self._source.alphabet
        logits, texts = line_logits(network, lines), [line.digits for line in lines]
        validation_accuracy = exact_match(logits, texts, alphabet)
        temperature = minimize_over_temperature(
            lambda value: float(line_nll(logits, texts, alphabet, value).mean()),
            all_correct=validation_accuracy == 1,
            least=self.least_temperature,
        )
        test_lines = self._source.test()
        test_logits, test_texts = line_logits(network, test_lines), [line.digits for line in test_lines]
        pairs = zip(read_digits(test_logits, alphabet), test_texts, strict=True)
        return FinalMetrics(
            validation_accuracy=validation_accuracy,
            temperature=temperature,
            test_accuracy=exact_match(test_logits, test_texts, alphabet),
            test_nll=float(line_nll(test_logits, test_texts, alphabet, temperature).mean()),
            test_ece=line_ece(test_logits, test_texts, alphabet, temperature),
            misread=tuple(index for index, (digits, text) in enumerate(pairs) if digits != text),
        )

    @functools.cached_property
    def _validation_lines(self) -> Sequence[AnyLine]:
        return self._source.validation()


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
