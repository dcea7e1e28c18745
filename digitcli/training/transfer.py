"""Fine-tuning: the settings that follow from the model from which a run starts. Loads no torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from digitcli.architectures.registry import ENSEMBLE, resolve_recipe
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import DigitcliError, UsageError
from digitcli.inference.checkpoint import CONFIG_FILE, MODEL_FILE
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.settings import option_name
from digitcli.training.configuration import TrainConfig

# The share of the recipe's peak learning rate with which a trained network is trained further. It was tuned
# with `fast` on 1 to 20 pictures of each class: on digits of Swiss hands the accuracy was at most 0.2 points
# below that of the best of 1, 0.3, 0.1 and 0.03, and on clothing it was the best or as good as the best.
LR_SHARE = 0.3

# The epochs of fine-tuning and the least steps of each: 500 steps or more. Chosen by hand; after 200 steps
# `fast` read 0.4 points fewer of the digits of Swiss hands from 5 pictures of each class.
EPOCHS = 10
MIN_EPOCH_STEPS = 50

# The arguments of an architecture that a recipe can pass to it.
ARGUMENTS_OF_RECIPES = ("dropout", "normalization")


def fine_tuning(start: str, **fields: Any) -> TrainConfig:
    """Return the settings of a run that starts from a model: its architecture, and the recipe of fine-tuning.

    fields: Fields of `TrainConfig`, which override what follows from the model.

    Raises:
        UsageError: a value is out of range, or the architecture is not that of the model.
        ModelError: there is no such model.
    """
    return TrainConfig(**with_start({"start": start, **fields}))


def with_start(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `TrainConfig`; those of a run that starts from a model are completed.

    The architecture and its arguments become those of the model, and the recipe that of fine-tuning, where
    the fields do not say otherwise. The original data are those that the model was trained on, if their place
    is known and they are not the new data.

    Raises:
        UsageError: the architecture of the model is not installed, or is not the given one.
        ModelError: there is no such model.
    """
    if fields.get("start") is None:
        return dict(fields)
    for name in ("start", "arch", "data"):
        if not isinstance(fields.get(name), str | None):
            raise UsageError(f"{option_name(name)} is {fields[name]!r}.", "It must be a text.")
    model = resolve_model(fields["start"])
    completed = {"arch": model.header.architecture, **fields}
    check_architecture(completed["arch"], model)
    given = fields.get("recipe", {})
    completed["recipe"] = {**_recipe_of_fine_tuning(completed["arch"], model), **given}
    if fields.get("time_seconds") is not None and "epochs" not in given:
        del completed["recipe"]["epochs"]
    if fields.get("original") is None:
        completed["original"] = _find_original(model, fields.get("data", DEFAULT_DATASET))
    return completed


def recipe_from_start(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of a recipe that follow from the start model of a run; none without one.

    Raises:
        ModelError: there is no such model.
    """
    return {} if config.start is None else _recipe_of_fine_tuning(config.arch, resolve_model(config.start))


def _recipe_of_fine_tuning(arch: str, model: ResolvedModel) -> dict[str, Any]:
    recipe = resolve_recipe(arch)
    own = {name: model.header.arguments.get(name) for name in ARGUMENTS_OF_RECIPES}
    return {
        "epochs": EPOCHS,
        "min_epoch_steps": MIN_EPOCH_STEPS,
        "lr": LR_SHARE * recipe.lr,
        **{name: value for name, value in own.items() if value is not None},
    }


def _find_original(model: ResolvedModel, data: str) -> str | None:
    """Return the name or the path of the data that a model was trained on; None if unknown, or if `data`."""
    from digitcli.data.loading import DATASETS, find_dataset

    original = str(model.header.dataset.get("name"))
    if model.path.name == MODEL_FILE:  # the settings of its run know the path
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            settings = json.loads(model.path.with_name(CONFIG_FILE).read_text(encoding="utf-8"))
            original = str(settings["config"]["data"])
    if original not in DATASETS and not Path(original).is_absolute():
        return None
    try:
        places = [str(path.resolve()) if (path := find_dataset(each)) else each for each in (original, data)]
    except DigitcliError:
        return None
    return None if places[0] == places[1] else places[0]


def check_architecture(arch: str, model: ResolvedModel) -> None:
    """Check that a run of an architecture can start from a model.

    Raises:
        UsageError: the model is an ensemble or has another architecture.
    """
    own = model.header.architecture
    if own == ENSEMBLE.name:
        cause = f"{model.name} is an ensemble, but a run starts from the weights of one network."
        raise UsageError(cause, "Start from one of its members.")
    if arch != own:
        cause = f"--arch is {arch}, but {model.name} is a model of the architecture {own}."
        raise UsageError(cause, "Leave --arch out, or start from another model.")
