"""Examine a run or a trained model: curves, dead units, and short trainings at other learning rates."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from digitcli.architectures.recipe import Recipe, stored_recipe
from digitcli.architectures.registry import find_architecture, resolve_recipe
from digitcli.data.dataset import Digits, split
from digitcli.data.label_tables import correct_labels, digest_of
from digitcli.data.loading import load_dataset
from digitcli.data.mnist import load_mnist
from digitcli.diagnosis.findings import Diagnosis, Finding, faults_of_reading, percent
from digitcli.errors import DivergedError, InputError, ModelError, UsageError, counted
from digitcli.evaluation.statistics import mcnemar
from digitcli.events import EpochDone
from digitcli.inference.checkpoint import MEMBER_FOLDER, Header, name_members
from digitcli.inference.model_resolution import ModelLike, resolve_model
from digitcli.inference.torch_runtime import as_input, device_of, infer, load_model
from digitcli.interpretation.activations import hooks
from digitcli.training import run_folder
from digitcli.training.configuration import TrainConfig, recipe_from_start, train_command
from digitcli.training.loop import take_step
from digitcli.training.optimization import scheduled_lr
from digitcli.training.setup import TrainingSetup, prepare
from digitcli.training.state import TrainingState
from digitcli.training.trainer import separate_random_numbers

# Training digits on which a network is examined, and those of them on which its units are.
EXAMINED, SHOWN = 5_000, 1_000
# Images that a network sees together: a deep one enlarges them to 224 pixels, where each takes 100 MB.
BATCH_SIZE = 50
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
# A learning rate that differs less from that of the recipe or a range test is not the cause of a failure.
LR_FACTOR = 3.0
# The share of a layer's ReLUs that may be dead; in the shipped recipes it is a sixth at most (`cnn`).
DEAD_SHARE = 0.5
# The learning rates of the range test: nothing is learned with the first, and few networks bear the last.
LOWEST_LR, HIGHEST_LR, RANGE_STEPS = 1e-6, 10.0, 100
# The share of a step's loss in the smoothed loss, so that one easy batch does not decide.
SMOOTHING = 0.2
# The range test ends where the loss is this many times the lowest one.
DIVERGED = 4.0


class Trial(NamedTuple):
    """Whether each digit (N,) is read correctly after a few steps, and their mean negative log-likelihood."""

    is_correct: npt.NDArray[np.bool_]
    nll: float


class RangeTest(NamedTuple):
    """A learning-rate range test: the rising learning rate of every step, and the smoothed training loss.

    Smith, "Cyclical learning rates for training neural networks", 2017.
    """

    lrs: Sequence[float]
    losses: Sequence[float]

    @property
    def suggestion(self) -> float:
        """A tenth of the learning rate at which the loss was lowest, with one digit."""
        if not self.losses:  # the first loss is not finite
            return LOWEST_LR
        return float(f"{self.lrs[self.losses.index(min(self.losses))] / 10:.0e}")


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

    @property
    def trial_steps(self) -> int:
        """The steps of a trial."""
        return max(1, min(TRIAL_STEPS, self.steps // TRIALS_IN_RUN))

    def command(self, **changes: Any) -> str | None:
        """Return the command that trains the same with changes of the recipe, if there is one."""
        return train_command(replace(self.config, recipe=self.changes), changes)

    @functools.cached_property
    def control(self) -> Trial:
        """A trial by the settings of the run."""
        return train_briefly(self.config, self.trial_steps, self.validation)

    def is_beaten_by(self, trial: Trial) -> bool:
        """Return whether a trial with other settings is better than the run, and not for being a trial.

        The learning rate of a trial falls to its last value, which that of an unfinished run has not yet.
        """
        for other in (self.validation_is_correct, self.control.is_correct):
            gained, lost = (int((trial.is_correct & ~other).sum()), int((~trial.is_correct & other).sum()))
            if gained <= lost or mcnemar(lost, gained) >= SIGNIFICANT:
                return False
        return True


def examine_model(model: ModelLike, device: str = "auto") -> Diagnosis:
    """Return facts about a model, and what is wrong with it; of models of lines and pages, only facts.

    Raises:
        ModelError: there is no such model, or its file is damaged or has weights that are no numbers.
    """
    resolved = resolve_model(model)
    header = resolved.header
    facts = {"architecture": header.architecture, "task": header.task, "identity": resolved.id}
    facts |= {"members": members} if (members := name_members(header)) else {}
    network, subject = load_model(resolved, device=device), f"model {resolved.name}"
    if header.task != "digit":
        return Diagnosis(subject, facts, has_verdict=False)
    return Diagnosis(subject, facts, tuple(dead_units(network, load_mnist().train.images[:SHOWN])))


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
        recipe, steps = stored_recipe(header.recipe), int(header.training["steps_total"])
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
        return Diagnosis(f"run {folder}", facts, tuple(overfitting(config, history)))
    config = replace(config, device=device)
    with separate_random_numbers(config):
        run = _examined(folder, config, header, history, steps)
        facts["accuracy on training digits"] = percent(run.training_is_correct.mean())
        findings = (
            *learning_rate(run),
            *dead_units(run.network, run.training.images[:SHOWN]),
            *overfitting(config, history, run.loss_error),
            *not_learning(run),
        )
    return Diagnosis(f"run {folder}", facts, findings)


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
    if config.members is not None:
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
    recipe = stored_recipe(header.recipe)
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
        config=replace(
            config, recipe={name: value for name, value in vars(recipe).items() if value is not None}
        ),
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
    )


def _check_unchanged(name: str, digest: str, trained_on: str | None) -> None:
    """Check that data have the digest that a run was trained on.

    Raises:
        InputError: they have another one.
    """
    if digest != trained_on:
        cause = f"{name} has changed since the run was trained."
        raise InputError(cause, "Restore it: with other digits nothing can be said about the run.")


def overfitting(
    config: TrainConfig, history: Sequence[EpochDone], loss_error: float = 0.0
) -> Iterator[Finding]:
    """Yield overfitting of a run that does not stop early by itself.

    loss_error: the standard error of the validation loss, if it is known.
    """
    lowest, last = min(history, key=lambda row: row.validation_loss), history[-1]
    rise = last.validation_loss - lowest.validation_loss
    is_clear = rise > max((OVERFITTED - 1) * lowest.validation_loss, loss_error)
    if is_clear and last.train_loss < lowest.train_loss and not config.patience:
        yield Finding(
            "overfitting",
            "warning",
            f"The validation loss was lowest after epoch {lowest.epoch} ({lowest.validation_loss:.4f}) and "
            f"ended at {last.validation_loss:.4f}, while the training loss fell from "
            f"{lowest.train_loss:.4f} to {last.train_loss:.4f}.",
            "Augment the digits (--augment), add dropout or weight decay, or stop early (--patience 3).",
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


def learning_rate(run: ExaminedRun) -> Iterator[Finding]:
    """Yield another learning rate if a few steps with it are better than the whole run."""
    last = run.history[-1].validation_loss
    is_absurd = run.recipe.loss == "cross_entropy" and last > WORSE_THAN_UNIFORM * UNIFORM_LOSS
    # The recipe of the architecture, or that of fine-tuning if the run started from a model.
    usual = resolve_recipe(run.config.arch, **recipe_from_start(run.config))
    suggested = range_test(run.config).suggestion
    for source, lr in {"that of the recipe": usual.lr, "which a range test suggests": suggested}.items():
        if max(lr / run.recipe.lr, run.recipe.lr / lr) < LR_FACTOR:
            continue
        trial = train_briefly(run.config, run.trial_steps, run.validation, lr=lr)
        is_less_absurd = is_absurd and trial.nll < UNIFORM_LOSS
        if not is_less_absurd and not run.is_beaten_by(trial):
            continue
        evidence = (
            f"With a learning rate of {lr:g}, {source}, the network reads "
            f"{percent(trial.is_correct.mean())} of the validation digits after "
            f"{counted(run.trial_steps, 'step')}; the run with {run.recipe.lr:g} reads "
            f"{percent(run.validation_is_correct.mean())} after {run.steps:,}."
        )
        if is_less_absurd:
            evidence += f" Its validation loss is {last:.3g}, and that of ten equal probabilities is "
            evidence += f"{UNIFORM_LOSS:.3f}."
        rule = "learning_rate_too_high" if run.recipe.lr > lr else "learning_rate_too_low"
        yield Finding(rule, "error", evidence, "Change the learning rate.", run.command(lr=lr))
        return


@torch.no_grad()
def dead_units(network: nn.Module, images: npt.NDArray[np.uint8]) -> Iterator[Finding]:
    """Yield layers whose ReLUs are mostly zero for all images, uint8 (N, 28, 28): nothing changes them.

    A unit of a convolution is a channel. A layer that is used several times, as in torchvision's residual
    blocks, counts each time.
    """
    is_alive: dict[tuple[str, int], Tensor] = {}  # of each use of a layer: bool, one for each unit
    uses: Counter[str] = Counter()

    def watch(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def remember(layer: nn.Module, inputs: object, output: Tensor) -> None:
            use = name, uses[name]
            answers = (output > 0).transpose(0, 1).flatten(1).any(dim=1)
            is_alive[use] = is_alive.get(use, torch.zeros_like(answers)) | answers
            uses[name] += 1

        return remember

    layers = {name: each for name, each in network.named_modules() if isinstance(each, nn.ReLU | nn.ReLU6)}
    with hooks(*(layer.register_forward_hook(watch(name)) for name, layer in layers.items())):
        for batch in torch.from_numpy(images.copy()).to(device_of(network)).split(BATCH_SIZE):
            uses.clear()
            network(as_input(batch))
    for (name, _), units in is_alive.items():
        share = 1 - float(units.float().mean())
        if share >= DEAD_SHARE:
            yield Finding(
                "dead_units",
                "warning",
                f"In layer {name} ({type(layers[name]).__name__}), {percent(share, 0)} of the units are zero "
                f"for all of {len(images):,} digits.",
                "Lower the learning rate (digitcli doctor RUN --lr-range), or choose another initialization.",
            )


def start(config: TrainConfig) -> tuple[TrainingSetup, TrainingState]:
    """Return a run before its first step, without a folder; of synthetic characters it has few."""
    unlimited = replace(config, time_seconds=None, patience=None)
    return prepare(unlimited)


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
