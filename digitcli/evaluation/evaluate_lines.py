"""Evaluate a line model on labelled lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from digitcli.evaluation import MISTAKES
from digitcli.evaluation.metrics import character_error_rate, line_ece, line_nll, read_digits, wilson_interval
from digitcli.events import DigitsDone, OnEvent
from digitcli.inference.model_resolution import ModelLike
from digitcli.inference.predictor import load_line_recognizer
from digitcli.inference.runtime import RuntimeName

BATCHES_PER_STEP = 4  # batches between two reports of progress
ARRAYS = ("labels", "predicted", "confidences")  # the fields that are not part of the record


class LabelledLine(Protocol):
    """A picture of a line, uint8 (40, W) with ink 255, and the digits that are written in it."""

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The picture."""

    @property
    def digits(self) -> str:
        """The digits, without marks."""


@dataclass(frozen=True)
class LineMistake:
    """A line that was misread.

    index: its place among the evaluated lines, from 0.
    confidence: the probability of the digits that were predicted.
    """

    index: int
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class LineEvaluation:
    """The evaluation of a line model.

    n: the number of lines.
    exact_match, exact_match_low, exact_match_high: the fraction of lines whose digits are all correct, and
        its 95 % interval.
    cer: the character error rate; None if no line has a digit.
    nll: the mean negative log-likelihood of a line in nats.
    ece: the expected calibration error.
    mistakes: the mistakes of the highest confidence.
    labels, predicted, confidences: the digits that are written, the digits that were read, their probability.
    """

    model: str
    data: str
    split: str
    n: int
    exact_match: float
    exact_match_low: float
    exact_match_high: float
    cer: float | None
    nll: float
    ece: float
    device: str
    mistakes: list[LineMistake]
    labels: list[str] = field(repr=False, compare=False)
    predicted: list[str] = field(repr=False, compare=False)
    confidences: list[float] = field(repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """The exact match, which --min-accuracy compares."""
        return self.exact_match

    @property
    def wrong(self) -> int:
        """The number of lines that were misread."""
        return sum(text != label for text, label in zip(self.predicted, self.labels, strict=True))

    def record(self) -> dict[str, Any]:
        """Return the figures for JSON, without the arrays."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in ARRAYS}

    def as_csv(self) -> str:
        """Return the columns `index,label,predicted,confidence`."""
        rows = enumerate(zip(self.labels, self.predicted, self.confidences, strict=True))
        lines = [f"{index},{label},{text},{confidence:.6g}" for index, (label, text, confidence) in rows]
        return "\n".join(["index,label,predicted,confidence", *lines]) + "\n"


def evaluate_lines(
    model: ModelLike,
    lines: Sequence[LabelledLine],
    *,
    data: str,
    split: str,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    mistakes: int = MISTAKES,
    on_event: OnEvent = lambda event: None,
) -> LineEvaluation:
    """Evaluate a line model on lines; `data` and `split` say in the result where they are from.

    Raises:
        UsageError: there is no such kind of device.
        ModelError: there is no such model, or it is damaged or reads single digits.
        EnvironmentFault: this machine does not have the device.
    """
    recognizer = load_line_recognizer(model, device, runtime=runtime)
    alphabet, temperature = recognizer.header.alphabet, recognizer.header.temperature
    logits: list[npt.NDArray[np.float32]] = []
    step = BATCHES_PER_STEP * recognizer.batch_size
    for start in range(0, len(lines), step):
        outputs = recognizer.outputs([line.image for line in lines[start : start + step]])
        logits += [output.logits for output in outputs]
        on_event(DigitsDone(len(logits), len(lines)))
    labels, predicted = [line.digits for line in lines], read_digits(logits, alphabet)
    confidences = (-line_nll(logits, predicted, alphabet, temperature)).exp().tolist()
    wrong = [
        LineMistake(index, label, text, confidence)
        for index, (label, text, confidence) in enumerate(zip(labels, predicted, confidences, strict=True))
        if text != label
    ]
    correct = len(lines) - len(wrong)
    low, high = wilson_interval(correct, len(lines))
    return LineEvaluation(
        model=recognizer.name,
        data=data,
        split=split,
        n=len(lines),
        exact_match=correct / len(lines),
        exact_match_low=low,
        exact_match_high=high,
        cer=character_error_rate(predicted, labels),
        nll=float(line_nll(logits, labels, alphabet, temperature).mean()),
        ece=line_ece(logits, labels, alphabet, temperature),
        device=recognizer.device,
        mistakes=sorted(wrong, key=lambda mistake: -mistake.confidence)[:mistakes],
        labels=labels,
        predicted=predicted,
        confidences=confidences,
    )
