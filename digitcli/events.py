"""The events that long work reports to a callback, for example to draw its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """A sentence for the person who started the work; a list of many runs may leave out a routine one."""

    message: str
    routine: bool = False


@dataclass(frozen=True)
class ThingsDone:
    """The progress of countable work: `done` of `n` things, for example digits that were answered.

    things: What they are, where the work has several stages.
    """

    done: int
    n: int
    things: str = ""


@dataclass(frozen=True)
class ModelStarted:
    """The next of `n` models is made; `number` counts from 1."""

    name: str
    number: int
    n: int


@dataclass(frozen=True)
class StepDone:
    """The progress of a training run after some step; epochs count from 1.

    step: The number of steps taken in this epoch.
    steps: The number of steps of an epoch.
    progress: The completed share of the whole run, from 0 to 1.
    loss: The mean training loss since the epoch began.
    images_per_second: The training speed since the epoch began.
    seconds: The training time since the first step of the run.
    """

    epoch: int
    step: int
    steps: int
    progress: float
    loss: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class EpochDone:
    """The figures of an epoch, counted from 1, which are also a row of `metrics.csv`.

    lr: The learning rate of its last step.
    train_loss, validation_loss: The mean losses.
    validation_accuracy: A fraction from 0 to 1.
    images_per_second: The training speed of the epoch.
    seconds: The training time since the first step of the run.
    """

    epoch: int
    lr: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    images_per_second: float
    seconds: float


# `training.configuration.RunStarted` is an event, too.
Event = object
OnEvent = Callable[[object], None]
