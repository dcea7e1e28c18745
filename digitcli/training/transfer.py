"""Fine-tuning: the settings of a run that starts from a trained model, and their checks. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import ENSEMBLE, find_architecture, resolve_recipe
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import DigitcliError, UsageError
from digitcli.inference.checkpoint import CONFIG_FILE, MODEL_FILE
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models
from digitcli.settings import option_name

if TYPE_CHECKING:
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
    for name in ("start", "arch", "data", "original"):
        if not isinstance(fields.get(name), str | None):
            raise UsageError(f"{option_name(name)} is {fields[name]!r}.", "It must be a text.")
    model = resolve_model(fields["start"])
    completed = {"arch": model.header.architecture, **fields}
    _check_architecture(completed["arch"], model)
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

    in_run_folder = model.path.name == MODEL_FILE
    original = _data_of_run(model.path.with_name(CONFIG_FILE)) if in_run_folder else None
    original = original or str(model.header.dataset.get("name"))
    if original not in DATASETS and not Path(original).is_absolute():
        return None
    try:
        places = [str(path.resolve()) if (path := find_dataset(each)) else each for each in (original, data)]
    except DigitcliError:
        return None
    return None if places[0] == places[1] else places[0]


def _data_of_run(path: Path) -> str | None:
    """Return the data in the `config.json` of a run folder, if there is one."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["config"]["data"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def resolve_start(config: TrainConfig) -> TrainConfig:
    """Return the configuration with absolute paths of the start model and the original data.

    Raises:
        ModelError: there is no such model.
        UsageError, InputError: there is no such dataset.
    """
    if config.start is not None and config.start not in shipped_models():
        resolve_model(config.start)
        config = replace(config, start=str(Path(config.start).resolve()))
    if config.original is not None:
        from digitcli.data.loading import find_dataset

        path = find_dataset(config.original)
        config = config if path is None else replace(config, original=str(path.resolve()))
    return config


def check_transfer(config: TrainConfig, recipe: Recipe) -> None:
    """Check the settings of a new run that have to do with the weights that it starts from.

    Raises:
        UsageError: two settings contradict each other, or the start model has another architecture.
        ModelError: there is no such model.
    """
    if config.start is None:
        _check_without_start(config, recipe)
        return
    if config.pretrained:
        raise UsageError("--from and --pretrained both name the weights to start from.", "Give one of them.")
    if recipe.initialization != "default":
        cause = f"--initialization {recipe.initialization} would overwrite the weights of the start model."
        raise UsageError(cause, "Leave --initialization or --from out.")
    model = resolve_model(config.start)
    _check_architecture(config.arch, model)
    _check_arguments(config.arch, recipe, model)
    if recipe.rehearse:
        _check_rehearsal(config)


def _check_without_start(config: TrainConfig, recipe: Recipe) -> None:
    given = {
        "--original": config.original is not None,
        "--rehearse": recipe.rehearse > 0,
        "--freeze": recipe.freeze != 0 and not config.pretrained,
    }
    for option, is_given in given.items():
        if is_given:
            cause = f"{option} is for runs that start from a trained model, but this one has random weights."
            raise UsageError(cause, f"Name the model with --from, or leave {option} out.")


def _check_architecture(arch: str, model: ResolvedModel) -> None:
    own = model.header.architecture
    if own == ENSEMBLE.name:
        cause = f"{model.name} is an ensemble, but a run starts from the weights of one network."
        raise UsageError(cause, "Start from one of its members.")
    if arch != own:
        cause = f"--arch is {arch}, but {model.name} is a model of the architecture {own}."
        raise UsageError(cause, "Leave --arch out, or start from another model.")


def _check_arguments(arch: str, recipe: Recipe, model: ResolvedModel) -> None:
    arguments = model.header.arguments
    if other := sorted(arguments.keys() - {*ARGUMENTS_OF_RECIPES, "compression"}):
        cause = f"{model.name} was built with {', '.join(other)}, which training cannot pass to '{arch}'."
        raise UsageError(cause, "Start from another model.")
    normalization = arguments.get("normalization", "batch")
    if recipe.normalization not in (None, normalization):
        cause = f"--normalization is {recipe.normalization}, but {model.name} has {normalization}."
        raise UsageError(cause, "Leave --normalization out.")


def _check_rehearsal(config: TrainConfig) -> None:
    task = find_architecture(config.arch).task
    if task != "digit" and not (task == "line" and _has_lines(config.data)):
        cause = (
            f"--rehearse is for single digits and for folders of lines; '{config.arch}' composes its {task}s."
        )
        raise UsageError(cause, "Leave --rehearse out.")
    if config.original is None:
        cause = f"It is not known on which data, other than '{config.data}', {config.start} was trained."
        raise UsageError(cause, "Name data to rehearse with --original, or leave --rehearse out.")
    if config.original == config.data:
        raise UsageError(f"--original and --data are both {config.data}.", "Name other data for one of them.")


def _has_lines(data: str) -> bool:
    from digitcli.data.loading import find_dataset
    from digitcli.synthesis.line_folders import is_line_folder

    path = find_dataset(data)
    return path is not None and is_line_folder(path)
