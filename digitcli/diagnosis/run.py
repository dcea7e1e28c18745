"""Examine a training run: its curves, its network, and short trainings with other settings."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.recipe import DISTILLATION, Recipe
from digitcli.architectures.registry import find_architecture, resolve_recipe
from digitcli.data.dataset import Digits, split
from digitcli.data.label_tables import correct_labels, digest_of
from digitcli.data.loading import load_dataset
from digitcli.diagnosis.findings import Diagnosis, Finding, faults_of_reading, percent
from digitcli.diagnosis.model import gradient_faults, inactive_units
from digitcli.diagnosis.trials import Trial, range_test, start, train_briefly
from digitcli.errors import DivergedError, InputError, ModelError, UsageError, counted, quoted
from digitcli.evaluation.statistics import mcnemar
from digitcli.events import EpochDone
from digitcli.inference.checkpoint import MEMBER_FOLDER, Header
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import as_input, device_of, infer, load_model
from digitcli.settings import settings_of
from digitcli.training import run_folder
from digitcli.training.configuration import TrainConfig, train_command
from digitcli.training.optimization import autocast
from digitcli.training.task import seed_random
from digitcli.training.trainer import separate_random_numbers
from digitcli.training.transfer import recipe_from_start

# Training digits on which a network is examined.
EXAMINED = 5_000
# Steps of a trial, and at most a third of those of the run, so that its success is a surprise.
TRIAL_STEPS, TRIALS_IN_RUN = 300, 3
# A trial is better only if McNemar's test gives chance less than this.
SIGNIFICANT = 0.001
# The validation loss over that of ten equal probabilities, above which a network is sure of what is wrong.
WORSE_THAN_UNIFORM, UNIFORM_LOSS = 2.0, math.log(10)
# A rise of the validation loss counts from this factor and from one standard error on (Breiman et al.,
# "Classification and regression trees", 1984). The recipes rise by 16 % and 0.7 errors at most (`mobilenet`),
# `mlp` without augmentation by 34 % and 1.9 errors.
OVERFITTED = 1.1
# Batch normalization gets worse below this many images. Wu & He, "Group normalization", 2018, table 2.
LEAST_FOR_BATCH_NORM = 8
# A learning rate that differs less from that of the recipe or a range test is not the cause of a failure.
LR_FACTOR = 3.0
REGULARIZATION = ("dropout", "weight_decay", "label_smoothing", "stochastic_depth")


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

    @property
    def accuracy(self) -> float:
        """The accuracy on the validation digits."""
        return float(self.validation_is_correct.mean())

    @property
    def trial_steps(self) -> int:
        """The steps of a trial."""
        return max(1, min(TRIAL_STEPS, self.steps // TRIALS_IN_RUN))

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

    def trial(self, **changes: Any) -> Trial:
        """Return a trial with changes of the recipe."""
        return train_briefly(self.config, self.trial_steps, self.validation, **changes)

    @functools.cached_property
    def control(self) -> Trial:
        """A trial by the settings of the run."""
        return self.trial()

    def is_beaten_by(self, trial: Trial) -> bool:
        """Return whether a trial with other settings is better than the run, and not for being a trial.

        The learning rate of a trial falls to its last value, which that of an unfinished run has not yet.
        """
        others = (self.validation_is_correct, self.control.is_correct)
        return all(_is_better(trial.is_correct, other) for other in others)


def _is_better(is_correct: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> bool:
    gained, lost = int((is_correct & ~other).sum()), int((~is_correct & other).sum())
    return gained > lost and mcnemar(lost, gained) < SIGNIFICANT


def examine_run(folder: Path, device: str = "auto") -> Diagnosis:
    """Return facts about a run, and what is wrong with it; nothing is written.

    Of runs that do not read single digits, only the curves are examined.

    Raises:
        ModelError: the folder has no saved run, or a damaged one, or a model that the run learned from is
            gone.
        InputError: the folder cannot be read.
        The errors of `load_dataset`.
    """
    with faults_of_reading(folder):
        saved = run_folder.read_state(folder)
        config = run_folder.read_config(folder, saved)
    _check_config(folder, config)
    if saved is None or not saved[0].training["history"]:
        cause = f"{folder} holds no run that has finished an epoch."
        raise ModelError(cause, "Name the folder of a run, for example runs/cnn-1.")
    header = saved[0]
    try:
        history = [EpochDone(**row) for row in header.training["history"]]
        recipe, steps = Recipe(**header.recipe), int(header.training["steps_total"])
    except (TypeError, KeyError, ValueError, UsageError) as error:
        cause = f"The run in {folder} was saved by another version: {error}."
        raise ModelError(cause, "Examine it with that version.") from error
    last = history[-1]
    facts = {
        "architecture": config.arch,
        "epochs": f"{len(history)} of {recipe.epochs}; steps: {steps:,}",
        "loss": f"training {last.train_loss:.4f}, validation {last.validation_loss:.4f}",
        "validation accuracy": percent(last.validation_accuracy),
    }
    if find_architecture(config.arch).task != "digit":
        return Diagnosis(f"run {folder}", facts, tuple(curve_faults(config, history)))
    config = replace(config, device=device)
    with separate_random_numbers(config):
        run = _examined(folder, config, header, history, steps)
        facts["accuracy on training digits"] = percent(run.training_is_correct.mean())
        findings = [*learning_rate(run)]
        findings += [] if findings else regularization(run)  # a wrong learning rate hides its effect
        findings += [*small_batches(run), *network_faults(run)]
        curves = curve_faults(config, history, run.loss_error)
        # Where something else is wrong, it explains epochs that brought nothing.
        findings += [each for each in curves if each.rule != "too_many_epochs" or not findings]
        findings += [] if findings else number_of_epochs(run)
        findings += not_learning(run)
    return Diagnosis(f"run {folder}", facts, tuple(findings))


def find_learning_rate(subject: str, device: str | None = None) -> Diagnosis:
    """Return the learning rate that a range test suggests for a run folder or an architecture.

    Raises:
        UsageError: there is no such architecture.
        ModelError: the run is damaged, or a model that it learned from is gone.
        InputError: the folder cannot be read.
        The errors of `train`, except those of the run folder.
    """
    folder = Path(subject)
    with faults_of_reading(subject):
        is_folder = folder.is_dir()
        stored = run_folder.read_config(folder, run_folder.read_state(folder)) if is_folder else None
    config = stored or TrainConfig(arch=subject)
    _check_config(folder, config)
    config = config if device is None else replace(config, device=device)
    recipe = resolve_recipe(config.arch, **config.recipe)
    test = range_test(config)
    if not test.losses:
        cause = "The loss is not finite before the first step."
        raise DivergedError(cause, "Check the initialization and the data.")
    facts = {
        "architecture": config.arch,
        "optimizer": recipe.optimizer,
        "learning rates": f"{test.lrs[0]:.1e} to {test.lrs[-1]:.1e} in {len(test.lrs)} steps",
        "loss": f"{test.losses[0]:.3f}, lowest {min(test.losses):.3f}, last {test.losses[-1]:.3f}",
        "suggested learning rate": f"{test.suggestion:g}",
        "learning rate of the run" if is_folder else "learning rate of the recipe": f"{recipe.lr:g}",
    }
    return Diagnosis(f"learning rate of {subject}", facts, has_verdict=False)


def _check_config(folder: Path, config: TrainConfig) -> None:
    """Check that a run is no ensemble, and that the models from which it learned are there.

    Raises:
        ModelError: it is one, or one is not.
    """
    if config.is_ensemble:
        member = folder / MEMBER_FOLDER.format(0)
        raise ModelError(f"{folder} is an ensemble of several runs.", f"Name one of them, e.g. {member}.")
    for name in (*config.teacher, *filter(None, [config.start])):
        try:
            resolve_model(name)
        except ModelError as error:
            cause = f"The run learned from a model that cannot be used: {error.cause}"
            remedy = "Put it back: to examine the run, the doctor trains with it for a few steps."
            raise ModelError(cause, remedy) from error


def _examined(
    folder: Path, config: TrainConfig, header: Header, history: Sequence[EpochDone], steps: int
) -> ExaminedRun:
    recipe = Recipe(**header.recipe)
    stored = {name: value for name, value in vars(recipe).items() if value is not None}
    if not config.teacher:  # an older recipe may have had others, which are refused without a teacher
        idle = {each.name for each in settings_of(Recipe) if each.group == DISTILLATION}
        stored = {name: value for name, value in stored.items() if name not in idle}
    dataset = load_dataset(config.data)
    _check_unchanged(config.data, dataset.digest, header.dataset.get("digest"))
    parts = split(dataset)
    if config.corrections is not None:
        corrections = Path(config.corrections)
        _check_unchanged(config.corrections, digest_of(corrections), header.dataset.get("corrections"))
        parts = correct_labels(parts, dataset, corrections)
    network = load_model(folder, device=config.device)
    training = parts.train.take(np.arange(min(EXAMINED, len(parts.train))))
    correct = []
    for digits in (training, parts.validation):
        logits, labels = infer(network, digits.images), torch.from_numpy(digits.labels)
        correct.append((logits.argmax(dim=-1) == labels).numpy())
    losses = functional.cross_entropy(logits, labels, reduction="none")  # of the validation digits
    return ExaminedRun(
        config=replace(config, recipe=stored),
        changes=config.recipe,
        recipe=recipe,
        history=history,
        steps=steps,
        network=network,
        training=training,
        validation=parts.validation,
        training_is_correct=correct[0],
        validation_is_correct=correct[1],
        loss_error=float(losses.std() / len(losses) ** 0.5) if recipe.loss == "cross_entropy" else 0.0,
        resume=None if header.training.get("result") else f"digitcli train --resume {quoted(folder)}",
    )


def _check_unchanged(name: str, digest: str, trained_on: str | None) -> None:
    """Check that data have the digest that a run was trained on.

    Raises:
        InputError: they have another one.
    """
    if digest != trained_on:
        cause = f"{name} has changed since the run was trained."
        raise InputError(cause, "Restore it: with other digits nothing can be said about the run.")


def curve_faults(
    config: TrainConfig, history: Sequence[EpochDone], loss_error: float = 0.0
) -> Iterator[Finding]:
    """Yield overfitting, and epochs that were of no use, of a run that does not stop early by itself.

    loss_error: the standard error of the validation loss, if it is known.
    """
    if config.patience:
        return
    lowest = min(history, key=lambda row: row.validation_loss)
    last, rest = history[-1], len(history) - lowest.epoch
    where = f"The validation loss was lowest after epoch {lowest.epoch} ({lowest.validation_loss:.4f})"
    rise = last.validation_loss - lowest.validation_loss
    is_clear = rise > max((OVERFITTED - 1) * lowest.validation_loss, loss_error)
    accuracies = [row.validation_accuracy for row in history]
    if is_clear and last.train_loss < lowest.train_loss:
        yield Finding(
            "overfitting",
            "warning",
            f"{where} and ended at {last.validation_loss:.4f}, while the training loss fell from "
            f"{lowest.train_loss:.4f} to {last.train_loss:.4f}.",
            "Augment the digits (--augment), add dropout or weight decay, or stop early (--patience 3).",
        )
    elif len(history) >= 4 and rest > len(history) / 2:
        if max(accuracies[lowest.epoch :]) > max(accuracies[: lowest.epoch]):
            return
        yield Finding(
            "too_many_epochs",
            "warning",
            f"{where}; {counted(rest, 'epoch')} after that brought nothing.",
            f"Train for about {counted(lowest.epoch, 'epoch')}, or stop early (--patience 3).",
        )


def not_learning(run: ExaminedRun) -> Iterator[Finding]:
    """Yield that a network answers no better than by guessing."""
    guessing = float(np.bincount(run.training.labels).max() / len(run.training))
    deviation = math.sqrt(guessing * (1 - guessing) / len(run.training))
    if run.training_is_correct.mean() <= guessing + 3 * deviation:
        yield Finding(
            "not_learning",
            "error",
            f"The network reads {percent(run.training_is_correct.mean())} of its training digits; always "
            f"answering the most frequent digit reads {percent(guessing)}. The training loss is "
            f"{run.history[-1].train_loss:.3f}.",
            "Correct what is found above. If nothing is, train for longer and check the labels.",
        )


def network_faults(run: ExaminedRun) -> Iterator[Finding]:
    """Yield gradients that vanish or explode at the beginning, and inactive units at the end.

    A large step can put units where they are inactive for all digits; without one, they may have been so from
    the beginning.
    """
    setup, state = start(run.config)
    state.network.train()
    seed_random(setup.device, run.config.seed)
    with autocast(setup.device, setup.recipe):
        loss = setup.loss(0, 0, 0.0)
    yield from gradient_faults(state.network, loss)
    images = torch.from_numpy(run.training.images[:1000]).to(device_of(run.network))
    for finding in inactive_units(run.network, as_input(images)):
        others = (run.usual_recipe.lr, run.suggested_lr)
        lower = next((lr for lr in others if run.recipe.lr >= LR_FACTOR * lr), None)
        initialization = "glorot" if run.recipe.initialization == "he" else "he"  # He et al., 2015: for ReLUs
        change = {"initialization": initialization} if lower is None else {"lr": lower}
        yield replace(finding, command=run.command(**change))


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
    last = run.history[-1].validation_loss
    is_absurd = run.recipe.loss == "cross_entropy" and last > WORSE_THAN_UNIFORM * UNIFORM_LOSS
    sources = {"that of the recipe": run.usual_recipe.lr, "which a range test suggests": run.suggested_lr}
    for source, lr in sources.items():
        if max(lr / run.recipe.lr, run.recipe.lr / lr) < LR_FACTOR:
            continue
        trial = run.trial(lr=lr)
        is_less_absurd = is_absurd and trial.nll < UNIFORM_LOSS
        if not is_less_absurd and not run.is_beaten_by(trial):
            continue
        losses = (
            f" Its validation loss is {last:.3g}, and that of ten equal probabilities is {UNIFORM_LOSS:.3f}."
        )
        yield Finding(
            "learning_rate_too_high" if run.recipe.lr > lr else "learning_rate_too_low",
            "error",
            f"With a learning rate of {lr:g}, {source}, the network reads "
            f"{percent(trial.is_correct.mean())} of the validation digits after "
            f"{counted(run.trial_steps, 'step')}; the run with {run.recipe.lr:g} reads "
            f"{percent(run.accuracy)} after {run.steps:,}.{losses if is_less_absurd else ''}",
            "Change the learning rate.",
            run.command(lr=lr),
        )
        return


def regularization(run: ExaminedRun) -> Iterator[Finding]:
    """Yield each kind of regularization without which a few steps are better than the whole run."""
    for name in (name for name in REGULARIZATION if getattr(run.recipe, name)):
        alone = run.trial(**{name: 0.0})
        if run.is_beaten_by(alone):
            option = f"--{name.replace('_', '-')}"
            yield Finding(
                "too_much_regularization",
                "error",
                f"Without {option} the network reads {percent(alone.is_correct.mean())} of the validation "
                f"digits after {counted(run.trial_steps, 'step')}; the run with {option} "
                f"{getattr(run.recipe, name):g} reads {percent(run.accuracy)} after {run.steps:,}.",
                f"Lower {option}.",
                run.command(**{name: 0.0}),
            )
