"""Evaluation of a line model: from its name and that of lines to what it is worth on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from digitcli.data import DEFAULT_DATASET
from digitcli.data.loading import find_dataset
from digitcli.data.mnist import load_mnist_test
from digitcli.errors import UsageError
from digitcli.evaluation.line_metrics import character_error_rate, line_ece, line_nll, read_digits
from digitcli.evaluation.metrics import wilson_interval
from digitcli.events import DigitsDone, OnEvent
from digitcli.inference.model_resolution import ModelLike
from digitcli.inference.predictor import load_line_recognizer
from digitcli.inference.runtime import LINE_BATCH_SIZE, RuntimeName
from digitcli.synthesis.line_folders import hash_lines, is_line_folder, read_lines, split_lines
from digitcli.synthesis.lines import Line, LineSynthesizer

COMPOSED = 2000  # lines, where no folder is named
COMPOSED_SEED = 2026
WORST = 6
ANSWERS = ("labels", "found", "confidences")


@dataclass(frozen=True)
class LineMistake:
    """A line read wrongly; `index` counts from 0, `confidence` is the probability given to `found`."""

    index: int
    label: str
    found: str
    confidence: float


@dataclass(frozen=True)
class LineEvaluation:
    """What a line model is worth; shares are from 0 to 1, the NLL is in nats a line.

    `exact_match` is the share of lines whose digits are all right, within 95 % between `exact_match_low` and
    `exact_match_high`; `cer` is the character error rate. The answers behind the figures are no part of the
    record: the digits that are there (`labels`), those `found`, and the `confidences`.
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
    found: list[str] = field(repr=False, compare=False)
    confidences: list[float] = field(repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """The exact match."""
        return self.exact_match

    @property
    def unreadable(self) -> int:
        """Lines are all readable, or none is."""
        return 0

    def record(self) -> dict[str, Any]:
        """The figures as JSON holds them."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in ANSWERS}


def evaluate_lines(
    model: ModelLike,
    data: str | Path = DEFAULT_DATASET,
    *,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    batch_size: int = LINE_BATCH_SIZE,
    worst: int = WORST,
    on_event: OnEvent = lambda event: None,
) -> LineEvaluation:
    """Judge a line model on a folder of `digitcli synthesize`, or on lines composed of MNIST's test digits.

    Raises:
        UsageError: other data, or not the name of a device.
        InputError: the lines cannot be read.
        ModelError: no such model, a damaged one, or one that reads single digits.
        EnvironmentFault: the device is not there.
    """
    loaded = load_line_recognizer(model, device, batch_size, runtime)
    lines, split = _lines(str(data), loaded.header.dataset.get("digest"))
    answers = []
    for start in range(0, len(lines), batch_size * 4):
        part = lines[start : start + batch_size * 4]
        answers += [answer.logits for answer in loaded.outputs([line.image for line in part])]
        on_event(DigitsDone(len(answers), len(lines)))
    labels, alphabet, temperature = (
        [line.digits for line in lines],
        loaded.header.alphabet,
        loaded.header.temperature,
    )
    found = read_digits(answers, alphabet)
    right = sum(ours == label for ours, label in zip(found, labels, strict=True))
    confidences = (-line_nll(answers, found, alphabet, temperature)).exp().tolist()
    low, high = wilson_interval(right, len(lines))
    return LineEvaluation(
        model=loaded.name,
        data=str(data),
        split=split,
        n=len(lines),
        exact_match=right / len(lines),
        exact_match_low=low,
        exact_match_high=high,
        cer=character_error_rate(found, labels),
        nll=float(line_nll(answers, labels, alphabet, temperature).mean()),
        ece=line_ece(answers, labels, alphabet, temperature),
        device=str(loaded.device),
        mistakes=_worst(labels, found, confidences, worst),
        labels=labels,
        found=found,
        confidences=confidences,
    )


def _lines(data: str, trained_on: str | None) -> tuple[list[Line], str]:
    """The lines that a name stands for; of a folder that was trained on the part that was held out."""
    path = find_dataset(data)
    if path is not None and is_line_folder(path):
        lines = read_lines(path)
        return (split_lines(lines)[2], "test") if hash_lines(lines) == trained_on else (lines, "all")
    if data != DEFAULT_DATASET:
        raise UsageError(f"{data} holds no lines.", "Name a folder that digitcli synthesize has written.")
    synthesizer = LineSynthesizer(load_mnist_test())
    return [
        synthesizer.synthesize_line(np.random.default_rng([COMPOSED_SEED, n])) for n in range(COMPOSED)
    ], "test"


def _worst(labels: list[str], found: list[str], confidences: list[float], count: int) -> list[LineMistake]:
    """The mistakes with the highest confidence."""
    wrong = [
        LineMistake(index, label, ours, confidence)
        for index, (label, ours, confidence) in enumerate(zip(labels, found, confidences, strict=True))
        if ours != label
    ]
    return sorted(wrong, key=lambda mistake: -mistake.confidence)[:count]
