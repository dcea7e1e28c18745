"""The settings of a training run, and their form in configuration files and stored runs. Loads no torch."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import DATA, DISTILLATION, TRANSFER, Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import ModelError, UsageError, did_you_mean, quoted
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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run; `recipe` holds the settings that override the architecture's recipe.

    Raises:
        UsageError: a value has the wrong type or lies outside its range.
    """

    arch: str = setting(
        "cnn", RUN, "Train this architecture: a name listed by digitcli models, or torchvision/NAME.",
        unit="name", letter="-a",
    )  # fmt: skip
    recipe: Mapping[str, Any] = field(default_factory=dict)
    device: str = setting(
        "auto", RUN, "Train on this device: auto, cpu, cuda, cuda:N or mps.", unit="device", letter="-d"
    )
    threads: int | None = setting(
        None, RUN, "Compute with this many threads, by default one for each core; resumed runs keep theirs.",
        at_least=1, at_most=MAX_THREADS, unit="number",
    )  # fmt: skip
    seed: int = setting(
        0, RUN, "Derive all random numbers of the run from this seed.",
        at_least=0, at_most=2**63 - 1, unit="number",
    )  # fmt: skip
    time_seconds: float | None = setting(
        None, RUN, "Train for this long instead of a number of epochs, for example 90s, 5m or 1h30m.",
        above=0, unit=DURATION,
    )  # fmt: skip
    patience: int | None = setting(
        None, RUN, "Stop after this many epochs without a better validation accuracy; keep the best epoch.",
        at_least=1, unit="epochs",
    )  # fmt: skip
    pretrained: bool = setting(
        False, RUN, "Start from torchvision's ImageNet weights; only for architectures torchvision/NAME."
    )
    members: int | None = setting(
        None, RUN, "Train an ensemble of this many networks, whose seeds count up from --seed.",
        at_least=2, unit="number",
    )  # fmt: skip
    data: str = setting(
        DEFAULT_DATASET, DATA,
        "Train on this dataset: a name such as mnist, a folder of pictures by digit, or IDX, .npz or .csv.",
        unit="name|dir|file",
    )  # fmt: skip
    corrections: str | None = setting(
        None, DATA,
        "Correct labels of training digits by this CSV file, which digitcli doctor DATA -o writes.",
        unit=PATH,
    )  # fmt: skip
    fonts: str | None = setting(
        None, DATA, "Draw letters of these fonts among the synthetic characters; requires --synthetic.",
        unit=PATH,
    )  # fmt: skip
    teacher: tuple[str, ...] = setting(
        (), DISTILLATION,
        "Learn from this trained model, too; several teachers answer with the mean of their probabilities.",
        unit="name|file|dir",
    )  # fmt: skip
    start: str | None = setting(
        None, TRANSFER,
        "Start from the weights of this model, whose architecture is then the default of --arch.",
        unit="model",
    )  # fmt: skip
    original: str | None = setting(
        None, TRANSFER,
        "Rehearse on this dataset and measure forgetting on its test part: the one of the start model.",
        unit="name|dir|file", is_option=False,
    )  # fmt: skip

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
    """A training run whose settings are resolved and whose data are loaded; its first step comes next.

    config: The settings of the run.
    recipe: The resolved recipe, with every default filled in.
    run: The run folder; None in a dry run.
    device: The device with the name of its maker.
    parameters: The number of parameters.
    trained_parameters: The number of those that are not frozen.
    unit: The name of one example, "digit" or "line".
    train_size, validation_size, test_size: The number of examples of each split.
    epochs_done: The number of epochs that an earlier part of the run completed.
    steps_done: The number of steps that it took in the epoch after these.
    """

    config: TrainConfig
    recipe: Recipe
    run: Path | None
    device: str
    parameters: int
    trained_parameters: int
    unit: str
    train_size: int
    validation_size: int
    test_size: int
    epochs_done: int
    steps_done: int


def config_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `TrainConfig` that are given by flat settings, as options and files name them.

    Raises:
        UsageError: a setting does not exist, or the time is not a duration.
    """
    known = {declared.key: declared for declared in user_settings(TrainConfig, Recipe)}
    of_recipe = {declared.key for declared in user_settings(Recipe)}
    of_run: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
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


WITHOUT_EFFECT = ("cuda_graphs",)  # settings of former versions that changed no weight


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
