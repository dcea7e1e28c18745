"""Training a network of lines: its loss, and what it is chosen and judged by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from digitcli.architectures.recipe import Recipe
from digitcli.evaluation.calibration import best_temperature
from digitcli.evaluation.line_metrics import exact_match, line_ece, line_nll, read_digits
from digitcli.inference.torch_runtime import infer_lines
from digitcli.synthesis.lines import ALPHABET, Line
from digitcli.training.distributed import ALONE, Processes
from digitcli.training.line_sources import POOL_BATCHES, LineBatch, LineSource
from digitcli.training.task import Judgement
from digitcli.worker_process import set_up_worker

WORKERS = min(8, max(1, (os.cpu_count() or 1) - 1))
GUIDED = 0.4  # of the training: so long the loss also says where characters are
BLANK_WEIGHT = 0.3


class LineMaterial:
    """Lines to train on, to choose by and to judge by, see `Material`."""

    unit = "line"

    def __init__(
        self,
        source: LineSource,
        recipe: Recipe,
        device: torch.device,
        workers: int,
        processes: Processes = ALONE,
    ) -> None:
        self._source, self._device, self._processes = source, device, processes
        self.name, self.digest, self.failures = source.name, source.digest, source.failures
        self.sizes = source.sizes
        self.sources: dict[str, str] = {}
        self.batch_size = min(recipe.batch_size, source.sizes["train"])
        self.steps = source.sizes["train"] // self.batch_size
        self.header: dict[str, Any] = {"alphabet": ALPHABET}
        self._workers = workers if source.composes else 0
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
            self._source.pools(self.batch_size // self._processes.size),  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(first * self._processes.size + self._processes.rank, 2**31, self._processes.size),
            collate_fn=_as_they_are,
            num_workers=self._workers,
            worker_init_fn=_begin_child,
            generator=torch.Generator(),  # or it would draw from the one that dropout draws from
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
        matched = exact_match(columns, texts, ALPHABET)
        temperature = best_temperature(
            lambda value: float(line_nll(columns, texts, ALPHABET, value).mean()), all_right=matched == 1
        )
        test_lines = self._source.test()
        test_texts, test_columns = [line.digits for line in test_lines], self._answers(network, test_lines)
        pairs = zip(read_digits(test_columns, ALPHABET), test_texts, strict=True)
        return Judgement(
            validation_accuracy=matched,
            temperature=temperature,
            test_accuracy=exact_match(test_columns, test_texts, ALPHABET),
            test_nll=float(line_nll(test_columns, test_texts, ALPHABET, temperature).mean()),
            test_ece=line_ece(test_columns, test_texts, ALPHABET, temperature),
            misread=tuple(place for place, (found, text) in enumerate(pairs) if found != text),
        )

    def _validation_lines(self) -> list[Line]:
        if not self._validation:
            self._validation = self._source.validation()
        return self._validation

    def _answers(self, network: nn.Module, lines: Sequence[Line]) -> list[npt.NDArray[np.float32]]:
        return [output.logits for output in infer_lines(network, [line.image for line in lines])]

    def hashes(self) -> Tensor | None:
        """Lines are composed anew, and none can be met again."""
        return None


def line_loss(network: nn.Module, batch: LineBatch, device: torch.device, progress: float) -> Tensor:
    """CTC, the boxes of the characters, and at first where their middles are, which CTC alone finds late."""
    images = torch.from_numpy(batch.images).to(device).float().div_(255)
    images = images.contiguous(memory_format=torch.channels_last)
    locates = hasattr(network, "locate")
    logits, boxes = network.locate(images) if locates else (network(images), None)  # type: ignore[operator]
    logits = logits.float()  # B, T, A + 1
    lengths = torch.from_numpy(batch.lengths)
    ctc_device = torch.device("cpu") if device.type == "mps" else device  # which has no CTC
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
    box_loss = torch.zeros((), device=device) if boxes is None else _box_loss(boxes.float(), batch)
    guidance = max(0.0, 1 - progress / GUIDED)
    if guidance == 0:
        return ctc / 4 + 2 * box_loss
    weights = torch.ones(len(ALPHABET) + 1, device=device)
    weights[-1] = BLANK_WEIGHT
    nearest = torch.from_numpy(batch.nearest).to(device)
    where = F.cross_entropy(logits.flatten(0, 1), nearest.flatten(), weight=weights)
    return ctc * (1 - 0.7 * guidance) / 4 + 3 * guidance * where + 2 * box_loss


def _box_loss(boxes: Tensor, batch: LineBatch) -> Tensor:
    """Of boxes (B, T, 4) the mean over where there are any."""
    boxed = torch.from_numpy(batch.boxed).to(boxes.device)
    wanted = torch.from_numpy(batch.boxes).to(boxes.device)[boxed]
    loss = F.smooth_l1_loss(boxes[boxed], wanted, reduction="sum")
    return loss / max(4 * int(batch.boxed.sum()), 1)


def _begin_child(number: int) -> None:
    set_up_worker()


def _as_they_are(pool: list[LineBatch]) -> list[LineBatch]:
    return pool
