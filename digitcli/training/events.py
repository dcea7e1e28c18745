"""What a training run reports while it goes on, and in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from digitcli.architectures.recipe import Recipe
from digitcli.events import Notice as Notice
from digitcli.training.configuration import TrainConfig


@dataclass(frozen=True)
class RunStarted:
    """Everything is resolved and loaded; the first step comes next. `run` is None in a dry run."""

    config: TrainConfig
    recipe: Recipe
    run: Path | None
    device: str
    parameters: int
    unit: str
    train_size: int
    validation_size: int
    test_size: int
    epochs_done: int


@dataclass(frozen=True)
class StepDone:
    """Where training stands; `loss` is the mean since the epoch began, `progress` goes from 0 to 1."""

    epoch: int
    step: int
    steps: int
    progress: float
    loss: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch's figures, a row of `metrics.csv`; `seconds` counts from the first step of the run."""

    epoch: int
    lr: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    images_per_second: float
    seconds: float


Event = Notice | RunStarted | StepDone | EpochDone
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class TrainResult:
    """A finished run. Accuracies are fractions; a dry run has no run folder and no test accuracy.

    `train_seconds` go from the first step to the last, validation and saving between them included;
    `unreadable` counts the files of the dataset that could not be used. `misread` are the test examples that
    are read wrongly, by their place; None where that was not kept.
    """

    architecture: str
    run: str | None
    checkpoint: str | None
    seed: int
    epochs: int
    train_seconds: float
    total_seconds: float
    validation_accuracy: float
    test_accuracy: float | None
    test_nll: float | None
    test_ece: float | None
    temperature: float
    parameters: int
    device: str
    dtype: str
    unreadable: int
    data: str
    misread: tuple[int, ...] | None = None
