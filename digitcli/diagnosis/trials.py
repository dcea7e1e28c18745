"""Short trainings that show what a setting does: a run of a few steps, and the learning-rate range test."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from digitcli.data.dataset import Digits
from digitcli.inference.torch_runtime import infer
from digitcli.training.configuration import TrainConfig
from digitcli.training.loop import take_step
from digitcli.training.optimization import scheduled_lr
from digitcli.training.setup import TrainingSetup, prepare
from digitcli.training.state import TrainingState
from digitcli.training.trainer import separate_random_numbers

# The learning rates of the range test: nothing is learned with the first, and few networks bear the last.
LOWEST_LR, HIGHEST_LR, RANGE_STEPS = 1e-6, 10.0, 100
# The share of a step's loss in the smoothed loss, so that one easy batch does not decide.
SMOOTHING = 0.2
# The range test ends where the loss is this many times the lowest one.
DIVERGED = 4.0


@dataclass(frozen=True)
class Trial:
    """A training of a few steps.

    is_correct: whether each of some digits is read correctly at the end, (N,).
    nll: the mean negative log-likelihood of these digits in nats; infinite if the training diverged.
    """

    is_correct: npt.NDArray[np.bool_]
    nll: float


@dataclass(frozen=True)
class RangeTest:
    """A learning-rate range test: training steps with a rising learning rate.

    Smith, "Cyclical learning rates for training neural networks", 2017.

    lrs, losses: the learning rate of every step, and the smoothed training loss.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the learning rate at which the loss was lowest, with one digit."""
        if not self.losses:  # the first loss is not finite
            return LOWEST_LR
        return float(f"{self.lrs[self.losses.index(min(self.losses))] / 10:.0e}")


def start(config: TrainConfig) -> tuple[TrainingSetup, TrainingState]:
    """Return a run before its first step, without a folder and with no limit of time.

    Of synthetic characters it has few, as a dry run.
    """
    unlimited = replace(config, time_seconds=None, patience=None)
    return prepare(unlimited, None, None, lambda event: None, lambda: None)


def train_briefly(config: TrainConfig, steps: int, digits: Digits, **changes: Any) -> Trial:
    """Train for a few steps, in which the whole schedule of the learning rate takes place, and read digits.

    changes: settings of the recipe that differ from those of `config`.

    Raises:
        The errors of `train`, except those of the run folder.
    """
    with separate_random_numbers(config):
        setup, state = start(replace(config, recipe={**config.recipe, **changes}))
        for step in range(steps):
            if not math.isfinite(_step(setup, state, scheduled_lr(setup.recipe, step / steps))):
                return Trial(np.zeros(len(digits), bool), math.inf)
        logits = infer(state.weights(), digits.images)
    nll = float(functional.cross_entropy(logits, torch.from_numpy(digits.labels)))
    return Trial(logits.argmax(dim=-1).numpy() == digits.labels, nll)


def range_test(config: TrainConfig, steps: int = RANGE_STEPS) -> RangeTest:
    """Train with a learning rate that rises exponentially, until the loss is four times the lowest.

    Raises:
        The errors of `train`, except those of the run folder.
    """
    lrs: list[float] = []
    losses: list[float] = []
    with separate_random_numbers(config):
        setup, state = start(config)
        for lr in np.geomspace(LOWEST_LR, HIGHEST_LR, steps).tolist():
            loss = _step(setup, state, lr)
            if not math.isfinite(loss) or (losses and loss > DIVERGED * min(losses)):
                break
            lrs.append(lr)
            losses.append(SMOOTHING * loss + (1 - SMOOTHING) * losses[-1] if losses else loss)
    return RangeTest(tuple(lrs), tuple(losses))


def _step(setup: TrainingSetup, state: TrainingState, lr: float) -> float:
    """Take a step, and begin the next epoch after the last one."""
    loss = float(take_step(setup, state, lr))
    if state.step == setup.task.steps:
        state.epoch, state.step = state.epoch + 1, 0
    return loss
