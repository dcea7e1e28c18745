"""The settings of a run, those that follow from its start model, and their forms in files. Loads no torch."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import DATA, DISTILLATION, TRANSFER, Recipe
from digitcli.architectures.registry import ENSEMBLE, resolve_recipe
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import DigitcliError, ModelError, UsageError, did_you_mean, quoted
from digitcli.inference.checkpoint import CONFIG_FILE, MODEL_FILE
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.settings import (
    DURATION,
    PATH,
    check_settings,
    freeze_lists,
    option_name,
    parse_duration,
    setting,
    settings_of,
    user_settings,
)
from digitcli.threads import MAX_THREADS

RUN = "run"
WITHOUT_EFFECT = ("cuda_graphs",)  # settings of former versions that changed no weight
ARGUMENTS_OF_RECIPES = ("dropout", "normalization")  # that a recipe can pass to an architecture
# The share of the recipe's peak learning rate with which a trained network is trained further. It was tuned
# with `fast` on 1 to 20 pictures of each class: on digits of Swiss hands the accuracy was at most 0.2 points
# below that of the best of 1, 0.3, 0.1 and 0.03, and on clothing it was the best or as good as the best.
LR_SHARE = 0.3
# The epochs of fine-tuning and the least steps of each: 500 steps or more. Chosen by hand; after 200 steps
# `fast` read 0.4 points fewer of the digits of Swiss hands from 5 pictures of each class.
EPOCHS, MIN_EPOCH_STEPS = 10, 50


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run; `recipe` holds the settings that override the architecture's recipe.

    Raises:
        UsageError: a value has the wrong type or lies outside its range.
    """

    # fmt: off
    arch: str = setting("cnn", RUN,
        "Train this architecture: a name listed by digitcli models, or torchvision/NAME.",
        unit="name", letter="-a")
    recipe: Mapping[str, Any] = field(default_factory=dict)
    device: str = setting("auto", RUN, "Train on this device: auto, cpu, cuda, cuda:N or mps.",
        unit="device", letter="-d")
    threads: int | None = setting(None, RUN,
        "Compute with this many threads, by default one for each core; resumed runs keep theirs.",
        at_least=1, at_most=MAX_THREADS, unit="number")
    seed: int = setting(0, RUN, "Derive all random numbers of the run from this seed.",
        at_least=0, at_most=2**63 - 1, unit="number")
    time_seconds: float | None = setting(None, RUN,
        "Train for this long instead of a number of epochs, for example 90s, 5m or 1h30m.",
        above=0, unit=DURATION)
    patience: int | None = setting(None, RUN,
        "Stop after this many epochs without a better validation accuracy; keep the best epoch.",
        at_least=1, unit="epochs")
    pretrained: bool = setting(False, RUN,
        "Start from torchvision's ImageNet weights; only for architectures torchvision/NAME.")
    members: int | None = setting(None, RUN,
        "Train an ensemble of this many networks, whose seeds count up from --seed.",
        at_least=2, unit="number")
    data: str = setting(DEFAULT_DATASET, DATA,
        "Train on this dataset: a name such as mnist, a folder of pictures by digit, or IDX, .npz or .csv.",
        unit="name|dir|file")
    corrections: str | None = setting(None, DATA,
        "Correct labels of training digits by this CSV file, which digitcli doctor DATA -o writes.",
        unit=PATH)
    fonts: str | None = setting(None, DATA,
        "Draw letters of these fonts among the synthetic characters; requires --synthetic.", unit=PATH)
    teacher: tuple[str, ...] = setting((), DISTILLATION,
        "Learn from this trained model, too; several teachers answer with the mean of their probabilities.",
        unit="name|file|dir")
    start: str | None = setting(None, TRANSFER,
        "Start from the weights of this model, whose architecture is then the default of --arch.",
        unit="model")
    original: str | None = setting(None, TRANSFER,
        "Rehearse on this dataset and measure forgetting on its test part: the one of the start model.",
        unit="name|dir|file", is_option=False)
    # fmt: on

    def __post_init__(self) -> None:
        freeze_lists(self)
        check_settings(self)
        if not isinstance(self.recipe, Mapping):
            raise UsageError(f"The recipe is {self.recipe!r}.", "It must be a table of settings.")
        known = [declared.name for declared in settings_of(Recipe)]
        for name in self.recipe:
            if name not in known:
                raise UsageError(f"A recipe has no setting '{name}'.", did_you_mean(name, known))
        Recipe(**self.recipe)


@dataclass(frozen=True)
class RunStarted:
    """A training run whose settings are resolved and whose data are loaded; its first step comes next."""

    config: TrainConfig
    recipe: Recipe  # with every default filled in
    run: Path | None  # the run folder; None in a dry run
    device: str  # with the name of its maker
    parameters: int
    trained_parameters: int  # those that are not frozen
    unit: str  # the name of one example, for example "digit" or "line"
    train_size: int  # the number of examples of each split
    validation_size: int
    test_size: int
    epochs_done: int  # by an earlier part of the run,
    steps_done: int  # and its steps in the epoch after these


def config_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `TrainConfig` that are given by flat settings, as options and files name them.

    Raises:
        UsageError: a setting does not exist, or the time is not a duration.
    """
    known = {declared.key: declared for declared in user_settings(TrainConfig, Recipe)}
    of_recipe = {declared.key for declared in user_settings(Recipe)}
    of_run, recipe = dict[str, Any](), dict[str, Any]()
    for key, value in settings.items():
        key = key.replace("-", "_")
        if key not in known:
            remedy = f"{did_you_mean(key, known)} digitcli train --help lists the settings."
            raise UsageError(f"There is no setting '{key}'.", remedy)
        owner = recipe if key in of_recipe else of_run
        owner[known[key].name] = parse_duration(value) if known[key].unit == DURATION else value
    return {**of_run, "recipe": recipe}


def flat_settings(config: TrainConfig, recipe: Recipe) -> dict[str, Any]:
    """Return all settings of a run with their values, in the form that `config_fields` takes.

    The number of epochs is left out if a time was chosen instead.
    """
    by_time = config.time_seconds is not None and "epochs" not in config.recipe
    values = {
        declared.key: getattr(owner, declared.name)
        for owner in (config, recipe)
        for declared in user_settings(owner)
        if not (by_time and declared.name == "epochs")
    }
    return {key: value for key, value in values.items() if value is not None}


def train_command(config: TrainConfig, changes: Mapping[str, Any] | None = None) -> str | None:
    """Return the command that trains the same, with changes of the recipe; on whatever machine there is.

    There is none if a setting that has no option is not that of the architecture's recipe.
    """
    of_run = {
        declared.name: getattr(config, declared.name)
        for declared in user_settings(TrainConfig)
        if declared.name not in ("arch", "device", "threads")
        and getattr(config, declared.name) != declared.default
    }
    options = {declared.name: declared.option for declared in user_settings(TrainConfig, Recipe)}
    words = ["digitcli train --arch", quoted(config.arch)]
    for name, value in {**of_run, **config.recipe, **(changes or {})}.items():
        if name not in options and value != getattr(resolve_recipe(config.arch), name):
            return None
        if name not in options or value is None:
            continue
        if isinstance(value, bool):
            words.append(options[name] if value else f"--no-{options[name][2:]}")
        else:
            for each in value if isinstance(value, tuple) else (value,):
                words += [options[name], quoted(str(each))]
    return " ".join(words)


def read_toml(path: Path) -> dict[str, Any]:
    """Read the flat settings in a TOML file.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        cause = f"The configuration {path} cannot be read: {error}."
        raise UsageError(cause, "Run digitcli train --print-config to see a valid one.") from error


def stored_config(stored: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a run as they were stored, also by a version that had more of them.

    Raises:
        ModelError: the run has a setting that is no longer there.
        UsageError, TypeError: the settings are damaged.
    """
    known = {entry.name for entry in fields(TrainConfig)}
    lost = [name for name in stored if name not in known and name not in WITHOUT_EFFECT]
    if removed := [option_name(name) for name in lost if stored[name]]:
        cause = f"The run was started with {', '.join(removed)}, which is no longer possible."
        raise ModelError(cause, "Use it as a model, or start a new run.")
    return TrainConfig(**{name: value for name, value in stored.items() if name in known})


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write flat settings as TOML; JSON writes texts, numbers, true and false in the same way."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items())


def fine_tuning(start: str, **fields: Any) -> TrainConfig:
    """Return the settings of a run that starts from a model, with the recipe of fine-tuning.

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
