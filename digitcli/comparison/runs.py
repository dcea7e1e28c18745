"""The runs of what is compared: checked, trained or taken as they are, and judged."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from digitcli.architectures.registry import TORCHVISION, create_model, find_architecture, recipe_of
from digitcli.atomic_write import faults_of
from digitcli.comparison.saved import Built, ComparedRun, JudgedBy, share_read
from digitcli.comparison.specification import Contender
from digitcli.config import Recipe, TrainConfig, change
from digitcli.data.dataset import Dataset, Digits, split
from digitcli.errors import InputError, UsageError
from digitcli.evaluation.train_test_overlap import told_overlap
from digitcli.inference.checkpoint import RESUME_FILE, read_header
from digitcli.inference.devices import choose_device
from digitcli.inference.predictor import load_classifier
from digitcli.synthesis.letters import hash_fonts
from digitcli.training import trainer
from digitcli.training.events import OnEvent, TrainResult
from digitcli.training.muon import check_muon
from digitcli.training.setup import StopSignal, begin_network, built_with, check_choices

LONGEST_NAME = 150  # of a folder, from where on a digest stands for the rest of it


@dataclass(frozen=True)
class Conditions:
    """What all runs of a comparison have in common: the digits and which of them judge, the device, and the
    folder they lie in.
    """

    dataset: Dataset
    split: JudgedBy
    device: str
    out: Path

    @functools.cached_property
    def judging(self) -> Digits:
        """What all are judged on."""
        parts = split(self.dataset)
        return parts.test if self.split == "test" else parts.validation


def built_of(one: Contender) -> Built:
    """How a contender is built, which is tried: what fails is to be known before anything is trained.

    Raises:
        UsageError: it cannot be built, or not be trained as was chosen.
        InputError: what a saved comparison says of it cannot be built.
        ModelError: its checkpoint is damaged.
    """
    if one.config is not None:
        recipe = recipe_of(one.config.arch, **one.config.recipe)
        check_choices(one.config, recipe, choose_device(one.config.device))
        with torch.random.fork_rng(devices=[]):
            check_muon(one.config.arch, begin_network(one.config.arch, recipe), recipe)
        fonts = None if one.config.fonts is None else hash_fonts(Path(one.config.fonts))
        return Built(one.config.arch, built_with(recipe), dataclasses.asdict(recipe), fonts)
    if one.model is not None:
        header = one.model.header
        return Built(header.architecture, header.arguments, header.recipe, header.dataset.get("fonts"))
    assert one.saved is not None
    built = one.saved.built
    if find_architecture(built.architecture).task != "digit":
        raise InputError(f"{one.label} in a saved comparison reads lines.", "Leave its file out.")
    try:
        network_of(built)
    except (TypeError, ValueError, RuntimeError) as error:
        cause = f"{one.label} in a saved comparison cannot be built: {error}."
        raise InputError(cause, "Leave its file out.") from error
    return built


def network_of(built: Built) -> nn.Module:
    """The network with weights of no meaning."""
    with torch.random.fork_rng(devices=[]):
        return create_model(built.architecture, **built.arguments)


def check_saved(one: Contender, built: Built, conditions: Conditions) -> None:
    """Whether saved runs are by the recipe that is asked for, and on these digits.

    Raises:
        UsageError: they are not.
    """
    if one.saved is None:
        return
    saved = one.saved.built
    same = saved.architecture == built.architecture and saved.fonts == built.fonts
    if not same or (one.config is not None and not _by_recipe(saved.recipe, built.recipe)):
        cause = f"The saved runs of {one.label} are by another recipe or with other fonts."
        raise UsageError(cause, "Leave their file out.")
    if one.saved.split != conditions.split:
        cause = f"The saved runs of {one.label} are judged by the {one.saved.split} digits."
        raise UsageError(cause, f"Leave their file out, or give --split {one.saved.split}.")
    if (one.saved.digest, one.saved.images) != (conditions.dataset.digest, len(conditions.judging)):
        raise UsageError(
            f"The saved runs of {one.label} are on the digits of '{one.saved.data}', which are not those of "
            f"'{conditions.dataset.name}' here.",
            "Leave their file out, or name their --data.",
        )


def check_folder(one: Contender, seed: int | None, built: Built, conditions: Conditions) -> None:
    """Whether a run that lies in the folder of this one already is by the same recipe and on these digits.

    Raises:
        UsageError: it is not.
        ModelError: it is damaged.
        OutputError: the folder cannot be looked into.
    """
    folder, remedy = folder_of(one, seed, conditions), "Remove it, or take another --out."
    with faults_of(folder):
        begun = one.config is not None and (folder / RESUME_FILE).exists()
    if not begun:
        return
    saved = read_header(folder / RESUME_FILE)
    if saved.architecture != built.architecture or not _by_recipe(saved.recipe, built.recipe):
        raise UsageError(f"The run in {folder} has another recipe.", remedy)
    if (saved.dataset.get("digest"), saved.dataset.get("fonts")) != (conditions.dataset.digest, built.fonts):
        raise UsageError(f"The run in {folder} was trained on other digits or fonts.", remedy)


def _by_recipe(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a stored recipe is the wanted one. It may lack newer settings; auto stands for any dtype."""
    try:
        recipe = Recipe(**stored)
    except (TypeError, UsageError):
        return False
    any_dtype = {"dtype": recipe.dtype} if wanted["dtype"] == "auto" else {}
    return recipe == change(Recipe(**wanted), **any_dtype)


def folder_of(one: Contender, seed: int | None, conditions: Conditions) -> Path:
    """Where a run lies: its label as a file system takes it, and its seed; no two labels share a folder."""
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", one.label)
    usual = one.label.replace(":", "_", 1).replace(TORCHVISION, TORCHVISION.replace("/", "_"), 1)
    if len(name) > LONGEST_NAME or name != usual or name != name.lower():  # some disks know no capitals
        name = (
            name[:LONGEST_NAME] + hashlib.sha256(one.label.encode(errors="surrogateescape")).hexdigest()[:12]
        )
    return conditions.out / f"{name}-{seed}"


def judged_run(
    one: Contender, seed: int | None, conditions: Conditions, on_event: OnEvent, stop_signal: StopSignal
) -> tuple[ComparedRun, bool]:
    """A run, trained first if it is not there, and whether it was.

    Raises:
        The errors of `train` and of `load_classifier`.
    """
    if one.config is not None and seed is not None:
        result, kept = _trained(one.config, seed, folder_of(one, seed, conditions), on_event, stop_signal)
        name, seconds = str(result.run), result.train_seconds
        misread = result.misread if conditions.split == "test" else None
    else:
        assert one.model is not None
        name, misread, seconds, kept = one.model.name, None, None, False
    if misread is None:
        classifier = load_classifier(one.model or name, device=conditions.device)
        if one.model is not None:
            told_overlap(conditions.judging, conditions.dataset, classifier, on_event)
        answers = classifier.logits(conditions.judging.images).argmax(axis=-1)
        misread = tuple(np.flatnonzero(answers != conditions.judging.labels).tolist())
    return ComparedRun(name, share_read(misread, len(conditions.judging)), misread, seed, seconds), kept


def _trained(
    config: TrainConfig, seed: int, folder: Path, on_event: OnEvent, stop_signal: StopSignal
) -> tuple[TrainResult, bool]:
    """The result of a run in a folder, and whether nothing was left to do."""
    if not (folder / RESUME_FILE).exists():
        config = change(config, seed=seed)
        return trainer.train(config, out=folder, on_event=on_event, stop_signal=stop_signal), False
    finished = bool(read_header(folder / RESUME_FILE).training.get("result"))
    kept = ("arch", "data", "device", "time_seconds", "fonts", "pretrained", "cuda_graphs")
    chosen = {"seed": seed, **{name: getattr(config, name) for name in kept}}
    return trainer.resume(folder, chosen, on_event=on_event, stop_signal=stop_signal), finished
