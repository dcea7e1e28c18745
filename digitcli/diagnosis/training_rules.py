"""The rules that examine a run: its curves, its network, and short trainings with other settings."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.data.dataset import Digits
from digitcli.diagnosis.findings import Finding, percent
from digitcli.diagnosis.layers import gradient_faults, inactive_units
from digitcli.diagnosis.trials import Trial, range_test, start, train_briefly
from digitcli.errors import counted
from digitcli.evaluation.statistics import mcnemar
from digitcli.events import EpochDone
from digitcli.inference.torch_runtime import as_input, device_of
from digitcli.training.configuration import TrainConfig, train_command
from digitcli.training.optimization import autocast
from digitcli.training.task import seed_random
from digitcli.training.transfer import recipe_from_start

# Steps of a trial, and at most a third of those of the run, so that its success is a surprise.
TRIAL_STEPS, TRIALS_IN_RUN = 300, 3
# A trial is better only if McNemar's test gives chance less than this.
SIGNIFICANT = 0.001
# The validation loss over that of ten equal probabilities, above which a network is sure of what is wrong.
WORSE_THAN_UNIFORM = 2.0
# A rise of the validation loss counts from this factor and from one standard error on (Breiman et al.,
# "Classification and regression trees", 1984). The recipes rise by 16 % and 0.7 errors at most (`mobilenet`),
# `mlp` without augmentation by 34 % and 1.9 errors.
OVERFITTED = 1.1
# Batch normalization gets worse below this many images. Wu & He, "Group normalization", 2018, table 2.
LEAST_FOR_BATCH_NORM = 8
# A learning rate that differs less from that of the recipe or a range test is not the cause of a failure.
LR_FACTOR = 3.0
# A loss in the first steps that is this many times the first one is a jump; in the shipped recipes it is 1.04
# times at most.
JUMP = 1.5
UNIFORM_LOSS = math.log(10)
# The initializations to try, the one for ReLUs first (He et al., "Delving deep into rectifiers", 2015).
INITIALIZATIONS = ("he", "glorot")
LINEAR = "softmax"
REGULARIZATION = {"dropout": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "stochastic_depth": 0.0}


@dataclass(frozen=True)
class ExaminedRun:
    """A run of single digits with everything that the rules look at.

    config: its settings, with all settings of its recipe.
    changes: the settings of its recipe that were given.
    recipe: the settings of its recipe with every default filled in.
    history: the figures of its epochs.
    steps: the steps that it took.
    network: the trained network.
    training, validation: some of its training digits, and its validation digits.
    training_is_correct, validation_is_correct: whether the network reads each of them correctly.
    loss_error: the standard error of the validation loss; 0 if the loss is not the cross-entropy.
    resume: the command that continues the run; None for a finished run.
    trials_in_run: how many trials would take as many steps as the run.
    """

    config: TrainConfig
    changes: Mapping[str, Any]
    recipe: Recipe
    history: Sequence[EpochDone]
    steps: int
    network: nn.Module
    training: Digits
    validation: Digits
    training_is_correct: npt.NDArray[np.bool_]
    validation_is_correct: npt.NDArray[np.bool_]
    loss_error: float = 0.0
    resume: str | None = None
    trials_in_run: int = TRIALS_IN_RUN

    @property
    def accuracy(self) -> float:
        """The accuracy on the validation digits."""
        return float(self.validation_is_correct.mean())

    @property
    def trial_steps(self) -> int:
        """The steps of a trial."""
        return max(1, min(TRIAL_STEPS, self.steps // self.trials_in_run))

    def command(self, **changes: Any) -> str:
        """Return the command that trains the same with changes of the recipe."""
        return train_command(replace(self.config, recipe=self.changes), changes)

    @functools.cached_property
    def usual_recipe(self) -> Recipe:
        """The recipe of the architecture, or that of fine-tuning if the run started from a model."""
        return resolve_recipe(self.config.arch, **recipe_from_start(self.config))

    @functools.cached_property
    def suggested_lr(self) -> float:
        """The learning rate that a range test suggests."""
        return range_test(self.config).suggestion

    @functools.cached_property
    def control(self) -> Trial:
        """A trial by the settings of the run."""
        return train_briefly(self.config, self.trial_steps, self.validation)

    def is_beaten_by(self, trial: Trial) -> bool:
        """Return whether a trial with other settings is better than the run, and not for being a trial.

        The learning rate of a trial falls to its last value, which that of an unfinished run has not yet.
        """
        others = (self.validation_is_correct, self.control.is_correct)
        return _is_better(trial.is_correct, others[0]) and _is_better(trial.is_correct, others[1])

    @functools.cached_property
    def linear(self) -> Trial:
        """A trial of a linear classifier, of as many steps as the run at most."""
        config = replace(
            self.config,
            arch=LINEAR,
            recipe={"lr": 0.01},
            pretrained=False,
            fonts=None,
            teacher=(),
            start=None,
            original=None,
        )
        return train_briefly(config, min(TRIAL_STEPS, self.steps), self.validation)

    @property
    def is_worse_than_linear(self) -> bool:
        """Whether a linear classifier is better than the run of another network."""
        return self.config.arch != LINEAR and self.is_beaten_by(self.linear)

    @property
    def is_worse_than_uniform(self) -> bool:
        """Whether the cross-entropy is far above that of ten equal probabilities."""
        loss = self.history[-1].validation_loss
        return self.recipe.loss == "cross_entropy" and loss > WORSE_THAN_UNIFORM * UNIFORM_LOSS


def curve_faults(
    config: TrainConfig, history: Sequence[EpochDone], loss_error: float = 0.0
) -> Iterator[Finding]:
    """Yield overfitting, and epochs that were of no use, of a run that does not stop early by itself.

    loss_error: the standard error of the validation loss, if it is known.
    """
    if config.patience:
        return
    lowest = min(history, key=lambda row: row.validation_loss)
    last = history[-1]
    where = f"The validation loss was lowest after epoch {lowest.epoch} ({lowest.validation_loss:.4f})"
    rest = len(history) - lowest.epoch
    rise = last.validation_loss - lowest.validation_loss
    is_clear = rise > max((OVERFITTED - 1) * lowest.validation_loss, loss_error)
    if is_clear and last.train_loss < lowest.train_loss:
        yield Finding(
            "overfitting",
            "warning",
            f"{where} and ended at {last.validation_loss:.4f}, while the training loss fell from "
            f"{lowest.train_loss:.4f} to {last.train_loss:.4f}.",
            "Augment the digits (--augment), add dropout or weight decay, or stop early (--patience 3).",
        )
    elif len(history) >= 4 and rest > len(history) / 2 and not _is_better_after(history, lowest.epoch):
        yield Finding(
            "too_many_epochs",
            "warning",
            f"{where}; {counted(rest, 'epoch')} after that brought nothing.",
            f"Train for about {counted(lowest.epoch, 'epoch')}, or stop early (--patience 3).",
        )


def _is_better_after(history: Sequence[EpochDone], epoch: int) -> bool:
    """Return whether the best validation accuracy came after an epoch."""
    accuracies = [row.validation_accuracy for row in history]
    return max(accuracies[epoch:]) > max(accuracies[:epoch])


def not_learning(run: ExaminedRun) -> Iterator[Finding]:
    """Yield that a network answers no better than by guessing."""
    guessing = float(np.bincount(run.training.labels).max() / len(run.training))
    deviation = math.sqrt(guessing * (1 - guessing) / len(run.training))
    if run.training_is_correct.mean() <= guessing + 3 * deviation:
        loss = run.history[-1].train_loss
        chance = f", and that of ten equal probabilities is {UNIFORM_LOSS:.3f}"
        yield Finding(
            "not_learning",
            "error",
            f"The network reads {percent(run.training_is_correct.mean())} of its training digits; always "
            f"answering the most frequent digit reads {percent(guessing)}. The training loss is {loss:.3f}"
            f"{chance if run.recipe.loss == 'cross_entropy' and not run.config.teacher else ''}.",
            "Mend what is found above. If nothing is, train for longer and check the labels.",
        )


def network_faults(run: ExaminedRun) -> Iterator[Finding]:
    """Yield gradients that vanish or explode at the beginning, and inactive units at the end."""
    setup, state = start(run.config)
    state.network.train()
    seed_random(setup.device, run.config.seed)
    with autocast(setup.device, setup.recipe):
        loss = setup.loss(0, 0, 0.0)
    yield from gradient_faults(state.network, loss)
    images = torch.from_numpy(run.training.images[:1000]).to(device_of(run.network))
    for finding in inactive_units(run.network, as_input(images)):
        yield _with_command(finding, run)


def _with_command(finding: Finding, run: ExaminedRun) -> Finding:
    """Return a finding about inactive units with the command that avoids them.

    A large step can put units where they are inactive for all digits. Where the learning rate is as usual,
    they may have been so from the beginning, unless a trained model was the beginning.
    """
    is_trained_before = run.config.start is not None or run.config.pretrained
    lower = [
        run.usual_recipe.lr,
        run.suggested_lr,
        *([run.recipe.lr / LR_FACTOR] if is_trained_before else []),
    ]
    for lr in lower:
        if run.recipe.lr >= LR_FACTOR * lr:
            return replace(finding, remedy="Lower the learning rate.", command=run.command(lr=lr))
    others = (name for name in INITIALIZATIONS if name != run.recipe.initialization)
    remedy = "Choose another initialization of the weights, or lower the learning rate."
    return replace(finding, remedy=remedy, command=run.command(initialization=next(others)))


def small_batches(run: ExaminedRun) -> Iterator[Finding]:
    """Yield batches that are too small for batch normalization."""
    normalizes = any(isinstance(layer, _BatchNorm) for layer in run.network.modules())
    if normalizes and run.recipe.batch_size < LEAST_FOR_BATCH_NORM:
        yield Finding(
            "small_batches",
            "warning",
            f"The network normalizes over batches of {run.recipe.batch_size} digits, whose mean and variance "
            "are noisy.",
            f"Use batches of {LEAST_FOR_BATCH_NORM} or more, or group normalization.",
            run.command(normalization="group"),
        )


def number_of_epochs(run: ExaminedRun) -> Iterator[Finding]:
    """Yield a training that is shorter than the recipe's and ended before the network overfitted."""
    usual = run.usual_recipe.epochs
    training_error, validation_error = 1 - run.training_is_correct.mean(), 1 - run.accuracy
    if 2 * len(run.history) <= usual and 2 * training_error > validation_error:
        yield Finding(
            "too_few_epochs",
            "warning",
            f"Epochs of the run: {len(run.history)}, of the recipe: {usual}. The network still misreads "
            f"{percent(training_error)} of the training digits and {percent(validation_error)} of the "
            "validation digits, so that it does not overfit.",
            "Train for longer." if run.resume is None else "Continue the run.",
            run.resume or run.command(epochs=usual),
        )


def learning_rate(run: ExaminedRun) -> Iterator[Finding]:
    """Yield another learning rate if a few steps with it are better than the whole run."""
    for lr, source in _other_learning_rates(run):
        trial = train_briefly(run.config, run.trial_steps, run.validation, lr=lr)
        is_less_absurd = run.is_worse_than_uniform and trial.nll < UNIFORM_LOSS
        if not is_less_absurd and not run.is_beaten_by(trial):
            continue
        losses = (
            f" Its validation loss is {run.history[-1].validation_loss:.3g}, and that of ten equal "
            f"probabilities is {UNIFORM_LOSS:.3f}."
        )
        yield Finding(
            "learning_rate_too_high" if run.recipe.lr > lr else "learning_rate_too_low",
            "error",
            f"With a learning rate of {lr:g}, {source}, the network reads "
            f"{percent(trial.is_correct.mean())} of the validation digits after "
            f"{counted(run.trial_steps, 'step')}; the run with {run.recipe.lr:g} reads "
            f"{percent(run.accuracy)} after {run.steps:,}."
            f"{losses if is_less_absurd else ''}",
            "Change the learning rate.",
            run.command(lr=lr),
        )
        return


def _other_learning_rates(run: ExaminedRun) -> Iterator[tuple[float, str]]:
    """Yield learning rates that differ clearly from that of the run, and where they come from."""
    usual = run.usual_recipe.lr
    if _differ(usual, run.recipe.lr):
        yield usual, "that of the recipe"
    if _differ(run.suggested_lr, run.recipe.lr):
        yield run.suggested_lr, "which a range test suggests"


def _differ(lr: float, other: float) -> bool:
    return max(lr / other, other / lr) >= LR_FACTOR


def _is_better(is_correct: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> bool:
    gained, lost = int((is_correct & ~other).sum()), int((~is_correct & other).sum())
    return gained > lost and mcnemar(lost, gained) < SIGNIFICANT


def warm_up(run: ExaminedRun) -> Iterator[Finding]:
    """Yield a missing warm-up if the loss jumps up in the first steps, and does not with a warm-up."""
    if run.recipe.warmup > 0:
        return
    without, with_warmup = (
        train_briefly(run.config, run.trial_steps, run.validation, warmup=warmup) for warmup in (0.0, 0.1)
    )
    if without.jump > JUMP > with_warmup.jump:
        yield Finding(
            "missing_warmup",
            "warning",
            f"Without a warm-up the training loss jumps to {without.jump:.1f} times its first value; with a "
            f"warm-up over a tenth of the steps, to {with_warmup.jump:.1f} times.",
            "Raise the learning rate slowly at the beginning.",
            run.command(warmup=0.1),
        )


def regularization(run: ExaminedRun) -> Iterator[Finding]:
    """Yield regularization if a few steps without it are better than the whole run."""
    used = {name: off for name, off in REGULARIZATION.items() if getattr(run.recipe, name)}
    if not used:
        return
    trial = train_briefly(run.config, run.trial_steps, run.validation, **used)
    if not run.is_beaten_by(trial):
        return
    for name, off in used.items():
        alone = train_briefly(run.config, run.trial_steps, run.validation, **{name: off})
        if run.is_beaten_by(alone):
            option = f"--{name.replace('_', '-')}"
            yield Finding(
                "too_much_regularization",
                "error",
                f"Without {option} the network reads {percent(alone.is_correct.mean())} of the validation "
                f"digits after {counted(run.trial_steps, 'step')}; the run with {option} "
                f"{getattr(run.recipe, name):g} "
                f"reads {percent(run.accuracy)} after {run.steps:,}.",
                f"Lower {option}.",
                run.command(**{name: off}),
            )


def learning_rate_of_bad_run(run: ExaminedRun) -> Iterator[Finding]:
    """Yield another learning rate if as many steps with it are better than a run that a linear one beats.

    In the few steps of the usual trials, a large network may read less than a bad run does after all of its.
    """
    longer = replace(run, trials_in_run=1)
    if longer.trial_steps > run.trial_steps and run.is_worse_than_linear:
        yield from learning_rate(longer)


def underfitting(run: ExaminedRun) -> Iterator[Finding]:
    """Yield that a linear classifier, trained for a few steps, is better than another network."""
    if run.is_worse_than_linear:
        yield Finding(
            "underfitting",
            "error",
            f"The network reads {percent(run.training_is_correct.mean())} of its training digits and "
            f"{percent(run.accuracy)} of the validation digits; a linear classifier reads "
            f"{percent(run.linear.is_correct.mean())} after {counted(len(run.linear.losses), 'step')}.",
            "Train for longer, with less regularization or another learning rate, or use a larger network.",
        )


def causes(run: ExaminedRun) -> Iterator[Finding]:
    """Yield what makes a training bad; with a wrong learning rate nothing can be said of regularization."""
    of_learning_rate = tuple(learning_rate(run))
    yield from of_learning_rate
    yield from warm_up(run)
    if not of_learning_rate:
        yield from regularization(run)
    yield from small_batches(run)
    yield from network_faults(run)


# These are told only where no cause is found, the first that applies: a short run is no underfitting.
CONSEQUENCES = (learning_rate_of_bad_run, number_of_epochs, underfitting)
