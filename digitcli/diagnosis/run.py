"""Examine a training run, and find a learning rate for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from digitcli.architectures.recipe import DISTILLATION, Recipe
from digitcli.architectures.registry import find_architecture, resolve_recipe
from digitcli.data.corrections import correct_labels, digest_of
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.diagnosis.findings import Diagnosis, percent
from digitcli.diagnosis.subjects import faults_of_reading
from digitcli.diagnosis.training_rules import (
    CONSEQUENCES,
    ExaminedRun,
    causes,
    curve_faults,
    not_learning,
)
from digitcli.diagnosis.trials import range_test
from digitcli.errors import DivergedError, InputError, ModelError, UsageError, quoted
from digitcli.events import EpochDone
from digitcli.inference.checkpoint import MEMBER_FOLDER, Header
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import infer, load_model
from digitcli.settings import settings_of
from digitcli.training import run_folder
from digitcli.training.configuration import TrainConfig
from digitcli.training.trainer import separate_random_numbers

# The settings of a recipe that have an effect with a teacher only.
DISTILLATION_SETTINGS = {each.name for each in settings_of(Recipe) if each.group == DISTILLATION}
# Training digits on which a network is examined.
EXAMINED = 5_000


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
    _refuse_ensemble(folder, config)
    if saved is None or not saved[0].training["history"]:
        cause = f"{folder} holds no run that has finished an epoch."
        raise ModelError(cause, "Name the folder of a run, for example runs/cnn-1.")
    _check_models(config)
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
        findings = [*curve_faults(config, history)]
    else:
        config = replace(config, device=device)
        with separate_random_numbers(config):
            run = _examined(folder, config, header, history, steps)
            facts["accuracy on training digits"] = percent(run.training_is_correct.mean())
            findings = [*causes(run)]
            curves = curve_faults(config, history, run.loss_error)
            # Where something else is wrong, it explains epochs that brought nothing.
            findings += [each for each in curves if each.rule != "too_many_epochs" or not findings]
            for consequence in CONSEQUENCES:
                findings += () if findings else consequence(run)
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
    _refuse_ensemble(folder, stored)
    config = stored or TrainConfig(arch=subject)
    _check_models(config)
    if device is not None:
        config = replace(config, device=device)
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


def _refuse_ensemble(folder: Path, config: TrainConfig | None) -> None:
    if config is not None and config.is_ensemble:
        member = folder / MEMBER_FOLDER.format(0)
        raise ModelError(f"{folder} is an ensemble of several runs.", f"Name one of them, e.g. {member}.")


def _check_models(config: TrainConfig) -> None:
    """Check that the models from which a run learned are there, since it is trained again for a few steps.

    Raises:
        ModelError: one is not.
    """
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
        stored = {name: value for name, value in stored.items() if name not in DISTILLATION_SETTINGS}
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
