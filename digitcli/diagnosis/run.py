"""Examine a training run, and find a learning rate for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import find_architecture, resolve_recipe
from digitcli.data.corrections import correct_labels
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.diagnosis.findings import Diagnosis, percent
from digitcli.diagnosis.training_rules import (
    CAUSES,
    CONSEQUENCES,
    ExaminedRun,
    curve_faults,
    not_learning,
)
from digitcli.diagnosis.trials import range_test
from digitcli.errors import ModelError, UsageError
from digitcli.events import EpochDone
from digitcli.inference.checkpoint import MEMBER_FOLDER
from digitcli.inference.torch_runtime import infer, load_model
from digitcli.training import run_folder
from digitcli.training.configuration import TrainConfig
from digitcli.training.trainer import separate_random_numbers

# Training digits on which a network is examined.
EXAMINED = 5_000


def examine_run(folder: Path, device: str = "auto") -> Diagnosis:
    """Return facts about a run, and what is wrong with it; nothing is written.

    Of runs that do not read single digits, only the curves are examined.

    Raises:
        ModelError: the folder has no saved run, or a damaged one.
        The errors of `load_dataset`.
    """
    saved = run_folder.read_state(folder)
    config = run_folder.read_config(folder, saved)
    _refuse_ensemble(folder, config)
    if saved is None or config is None or not saved[0].training["history"]:
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
    findings = [] if config.patience else [*curve_faults(history)]
    if find_architecture(config.arch).task == "digit":
        config = replace(config, device=device)
        with separate_random_numbers(config):
            run = _examined(folder, config, recipe, history, steps)
            facts["accuracy on training digits"] = percent(run.training_is_correct.mean())
            for rule in CAUSES:
                findings += rule(run)
            for consequence in CONSEQUENCES:
                findings += () if findings else consequence(run)
            findings = [*not_learning(run), *findings]
    return Diagnosis(f"run {folder}", facts, tuple(findings))


def find_learning_rate(subject: str, device: str | None = None) -> Diagnosis:
    """Return the learning rate that a range test suggests for a run folder or an architecture.

    Raises:
        UsageError: there is no such architecture.
        ModelError: the run is damaged.
        The errors of `train`, except those of the run folder.
    """
    folder = Path(subject)
    if folder.is_dir():
        saved = run_folder.read_state(folder)
        stored = run_folder.read_config(folder, saved)
        _refuse_ensemble(folder, stored)
        if stored is None:
            raise ModelError(f"{folder} holds no run.", "Name the folder of a run, or an architecture.")
        config = stored
    else:
        config = TrainConfig(arch=subject)
    if device is not None:
        config = replace(config, device=device)
    recipe = resolve_recipe(config.arch, **config.recipe)
    test = range_test(config)
    facts = {
        "architecture": config.arch,
        "optimizer": recipe.optimizer,
        "learning rates": f"{test.lrs[0]:.1e} to {test.lrs[-1]:.1e} in {len(test.lrs)} steps",
        "loss": f"{test.losses[0]:.3f}, lowest {min(test.losses):.3f}, last {test.losses[-1]:.3f}",
        "suggested learning rate": f"{test.suggestion:g}",
        "learning rate of the run" if folder.is_dir() else "learning rate of the recipe": f"{recipe.lr:g}",
    }
    return Diagnosis(f"learning rate of {subject}", facts, has_verdict=False)


def _refuse_ensemble(folder: Path, config: TrainConfig | None) -> None:
    if config is not None and config.is_ensemble:
        member = folder / MEMBER_FOLDER.format(0)
        raise ModelError(f"{folder} is an ensemble of several runs.", f"Name one of them, e.g. {member}.")


def _examined(
    folder: Path, config: TrainConfig, recipe: Recipe, history: Sequence[EpochDone], steps: int
) -> ExaminedRun:
    stored: dict[str, Any] = {name: value for name, value in vars(recipe).items() if value is not None}
    dataset = load_dataset(config.data)
    parts = split(dataset)
    if config.corrections is not None:
        parts = correct_labels(parts, dataset, Path(config.corrections))
    network = load_model(folder, device=config.device)
    training = parts.train.take(np.arange(min(EXAMINED, len(parts.train))))
    correct = [
        infer(network, digits.images).numpy().argmax(axis=-1) == digits.labels
        for digits in (training, parts.validation)
    ]
    examined = replace(config, recipe=stored)
    return ExaminedRun(
        examined, config.recipe, recipe, history, steps, network, training, parts.validation, *correct
    )
