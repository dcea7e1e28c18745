"""The events that long work reports to a callback, for example to draw its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Notice:
    """A sentence for the person who started the work.

    message: The sentence.
    routine: Whether it reports something usual; a list of many runs may leave it out.
    """

    message: str
    routine: bool = False


@dataclass(frozen=True)
class DigitsDone:
    """The progress of an evaluation.

    done: The number of digits that the model has answered.
    n: The number of digits in all.
    """

    done: int
    n: int


@dataclass(frozen=True)
class PicturesDone:
    """The progress of reading labelled pictures.

    done: The number of pictures that were read.
    n: The number of pictures in all.
    """

    done: int
    n: int


@dataclass(frozen=True)
class ModelStarted:
    """The next of several models is made.

    name: What distinguishes it from the others.
    number: Its number, from 1.
    n: How many there are in all.
    """

    name: str
    number: int
    n: int


@dataclass(frozen=True)
class StepDone:
    """The progress of a training run after some step.

    epoch: The number of the current epoch, from 1.
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
    """The figures of an epoch, which are also a row of `metrics.csv`.

    epoch: The number of the epoch, from 1.
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


class AdaptationStage(StrEnum):
    """What an adaptation does: the value names what is counted."""

    READ = "pictures read"
    CROP = "pictures cropped"
    COMPOSE = "synthetic lines composed"
    TRAIN = "training steps of the cross-validation"
    TRAIN_ALL = "training steps on all pictures"
    TEST = "held-out pictures read"


@dataclass(frozen=True)
class StageProgress:
    """The progress of a stage of an adaptation.

    stage: What is done.
    done: The number of pictures, lines or steps that are done.
    n: Their number in all.
    """

    stage: AdaptationStage
    done: int
    n: int


# `training.configuration.RunStarted` is an event, too.
Event = object
OnEvent = Callable[[object], None]
