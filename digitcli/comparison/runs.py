"""The runs of a comparison: check their settings, train or reuse them, and evaluate them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from digitcli.architectures import registry
from digitcli.architectures.compression import with_plain_weights
from digitcli.architectures.recipe import Recipe, stored_recipe
from digitcli.atomic_write import faults_of
from digitcli.comparison.specification import (
    ComparedRun,
    EvaluationSplit,
    ModelDefinition,
    Specification,
    accuracy_of,
)
from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.label_tables import digest_of
from digitcli.data.loading import load_dataset
from digitcli.errors import InputError, UsageError
from digitcli.evaluation.splits import report_overlap
from digitcli.inference.checkpoint import RESUME_FILE, Header, read_header
from digitcli.inference.devices import choose_device
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import load_classifier
from digitcli.synthesis.glyphs import hash_fonts
from digitcli.training import checks, trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.setup import StopSignal, architecture_arguments, create_network
from digitcli.training.state import TrainResult

LONGEST_FOLDER_NAME = 150  # characters; a longer label is cut, since most file systems allow 255 bytes
PASSED_ON_RESUME = (
    "arch", "data", "teacher", "device", "time_seconds", "corrections", "fonts", "pretrained", "start",
    "original",
)  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """What is equal for all runs of a comparison.

    dataset: the digits for training and evaluation.
    split: the part of them on which the models are evaluated.
    out: the folder with the run folders.
    """

    dataset: Dataset
    split: EvaluationSplit
    device: str
    out: Path
    on_event: Callable[[Any], None]
    stop_signal: StopSignal

    @functools.cached_property
    def digits(self) -> Digits:
        """The digits on which all models are evaluated."""
        parts = split(self.dataset)
        return parts.test if self.split == "test" else parts.validation


def define_model(specification: Specification, seeds: int, conditions: Conditions) -> ModelDefinition:
    """Return how a model is built and trained, after all checks that are possible before the first run.

    Raises:
        UsageError: the architecture cannot be built or trained with these settings; a run in a folder has
            another recipe, digits or fonts; saved runs are of other digits.
        InputError: a model of a saved comparison cannot be built.
        ModelError: a run in a folder is damaged.
        OutputError: a folder cannot be accessed.
    """
    if specification.config is not None:
        definition = define_from_config(specification.config)
        for seed in range(seeds):
            _check_folder(folder_of(specification, seed, conditions.out), definition, conditions)
        return definition
    if specification.model is not None:
        return _define_from_header(specification.model.header)
    assert specification.saved is not None
    saved, name = specification.saved, f"{specification.label} in a saved comparison"
    if registry.find_architecture(saved.definition.architecture).task != "digit":
        raise InputError(f"{name} reads lines.", "Leave its file out.")
    try:
        build_network(saved.definition)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} cannot be built: {error}.", "Leave its file out.") from error
    digits = (conditions.dataset.digest, conditions.split, len(conditions.digits))
    if (saved.digest, saved.split, saved.images) != digits:
        cause = (
            f"The saved runs of {specification.label} were evaluated on other digits: the {saved.split} "
            f"digits of '{saved.data}'."
        )
        raise UsageError(cause, "Leave their file out, or choose their digits with --data and --split.")
    return saved.definition


def define_from_config(config: TrainConfig) -> ModelDefinition:
    """Return how a model is built and trained with some settings.

    Raises:
        UsageError: the settings contradict each other.
        InputError, ModelError: the file of a setting cannot be read.
    """
    recipe = check_trainable(config)
    return ModelDefinition(
        config.arch,
        architecture_arguments(recipe),
        dataclasses.asdict(recipe),
        fonts=None if config.fonts is None else hash_fonts(Path(config.fonts)),
        corrections=None if config.corrections is None else digest_of(Path(config.corrections)),
        teacher=tuple(model.sha256 for model in checks.resolve_teachers(config.teacher)),
        start=None if config.start is None else resolve_model(config.start).sha256,
        original=load_dataset(config.original).digest if config.original and recipe.rehearse else None,
    )


def check_trainable(config: TrainConfig) -> Recipe:
    """Return the recipe of a run whose network can be built and trained by it.

    Raises:
        UsageError: the settings contradict each other or do not fit the network.
    """
    checks.check_single(config)
    recipe = registry.resolve_recipe(config.arch, **config.recipe)
    checks.check_config(config, recipe)
    choose_device(config.device)
    with torch.random.fork_rng(devices=[]):
        create_network(config.arch, recipe)
    return recipe


def _define_from_header(header: Header) -> ModelDefinition:
    return ModelDefinition(
        header.architecture,
        header.arguments,
        header.recipe,
        **{name: header.dataset.get(name) for name in ("fonts", "corrections", "original")},
        teacher=tuple(header.teacher.values()),
        start=header.start.get("sha256"),
    )


def build_network(definition: ModelDefinition) -> nn.Module:
    """Return the network with random weights; the state of the random number generator is kept."""
    with torch.random.fork_rng(devices=[]):
        return with_plain_weights(registry.create_model(definition.architecture, **definition.arguments))


def _check_folder(folder: Path, definition: ModelDefinition, conditions: Conditions) -> None:
    """Check that a run that exists in the folder was trained with the same recipe, digits and fonts."""
    with faults_of(folder):
        if not (folder / RESUME_FILE).exists():
            return
    header = read_header(folder / RESUME_FILE)
    same_digits = header.dataset.get("digest") == conditions.dataset.digest
    if not (same_digits and _is_trained_alike(_define_from_header(header), definition)):
        others = "another recipe, teacher or start model, or with other digits, corrections or fonts"
        cause = f"The run in {folder} was trained with {others}."
        raise UsageError(cause, "Remove it, or choose another --runs.")


def _is_trained_alike(stored: ModelDefinition, wanted: ModelDefinition) -> bool:
    """Tell whether two recipes agree; the stored one may lack newer settings, and `auto` is any dtype."""
    try:
        recipe = stored_recipe(stored.recipe)
    except (TypeError, UsageError):
        return False
    dtype = recipe.dtype if wanted.recipe["dtype"] == "auto" else wanted.recipe["dtype"]
    same_recipe = recipe == Recipe(**{**wanted.recipe, "dtype": dtype})
    others = [dataclasses.replace(each, arguments={}, recipe={}) for each in (stored, wanted)]
    return same_recipe and others[0] == others[1]


def folder_of(specification: Specification, seed: int, out: Path) -> Path:
    """Return the folder of a run: its label as a file system allows it, and its seed."""
    return out / f"{folder_name(specification.label)}-{seed}"


def folder_name(label: str) -> str:
    """Return a name for a folder that no other label gets and that every file system takes.

    A label that is long, or has characters that some file systems do not have or do not distinguish, gets a
    digest.
    """
    usual = label.replace(":", "_", 1).replace("torchvision/", "torchvision_", 1)
    name = re.sub(r"[^a-z0-9_.,=+-]", "_", usual)
    if name != usual or len(name) > LONGEST_FOLDER_NAME:
        digest = hashlib.sha256(label.encode(errors="surrogateescape")).hexdigest()
        name = name[:LONGEST_FOLDER_NAME] + digest[:12]
    return name


def evaluate_run(
    specification: Specification, seed: int | None, conditions: Conditions
) -> tuple[ComparedRun, bool]:
    """Return a run, trained first if it is missing, and whether it existed already.

    Raises:
        The errors of `train` and of `load_classifier`.
    """
    digits, misread, train_seconds, reused = conditions.digits, None, None, False
    if seed is not None:
        assert specification.config is not None
        folder = folder_of(specification, seed, conditions.out)
        state = folder / RESUME_FILE
        reused = state.exists() and bool(read_header(state).training.get("result"))
        result = _train(specification.config, seed, folder, conditions)
        model, train_seconds = str(result.run), result.train_seconds
        misread = result.misread if conditions.split == "test" else None
    else:
        assert specification.model is not None
        model = specification.model.name
    if misread is None:
        classifier = load_classifier(specification.model or model, device=conditions.device)
        if specification.model is not None:
            report_overlap(digits, conditions.dataset, classifier, conditions.on_event)
        predictions = classifier.logits(digits.images).argmax(axis=-1)
        misread = tuple(np.flatnonzero(predictions != digits.labels).tolist())
    return ComparedRun(model, accuracy_of(misread, len(digits)), misread, seed, train_seconds), reused


def _train(config: TrainConfig, seed: int, folder: Path, conditions: Conditions) -> TrainResult:
    """Train the run in a folder, or resume it, and return its result."""
    on_event, stop_signal = conditions.on_event, conditions.stop_signal
    if not (folder / RESUME_FILE).exists():
        config = replace(config, seed=seed)
        return trainer.train(config, out=folder, on_event=on_event, stop_signal=stop_signal)
    changes = {"seed": seed, **{name: getattr(config, name) for name in PASSED_ON_RESUME}}
    return trainer.resume(folder, changes, on_event=on_event, stop_signal=stop_signal)
