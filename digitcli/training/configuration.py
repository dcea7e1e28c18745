"""The settings of a training run, their form in configuration files, and their checks. Loads no torch."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import DATA, TRANSFER, Recipe
from digitcli.architectures.registry import TORCHVISION, find_architecture, resolve_recipe
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import InputError, UsageError, did_you_mean
from digitcli.settings import DURATION, PATH, check_settings, parse_duration, setting, settings_of
from digitcli.training.transfer import check_transfer, resolve_start, with_start

RUN = "run"
DATASETS_WITHOUT_DIGITS = ("fashion-mnist", "kmnist")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run; `recipe` holds the settings that override the architecture's recipe.

    Raises:
        UsageError: a value has the wrong type or lies outside its range.
    """

    arch: str = setting(
        "cnn",
        RUN,
        "Train this architecture: a name listed by digitcli models, or torchvision/NAME.",
        unit="name",
        letter="-a",
    )
    recipe: Mapping[str, Any] = field(default_factory=dict)
    device: str = setting(
        "auto", RUN, "Train on this device: auto, cpu, cuda, cuda:N or mps.", unit="device", letter="-d"
    )
    seed: int = setting(
        0,
        RUN,
        "Derive all random numbers of the run from this seed.",
        at_least=0,
        at_most=2**63 - 1,
        unit="number",
    )
    time_seconds: float | None = setting(
        None,
        RUN,
        "Train for this long instead of a number of epochs, for example 90s, 5m or 1h30m.",
        above=0,
        unit=DURATION,
    )
    patience: int | None = setting(
        None,
        RUN,
        "Stop after this many epochs without a better validation accuracy, and keep the best epoch.",
        at_least=1,
        unit="epochs",
    )
    pretrained: bool = setting(
        False, RUN, "Start from torchvision's ImageNet weights; only for architectures torchvision/NAME."
    )
    cuda_graphs: bool = setting(
        False, RUN, "Record one training step on an NVIDIA GPU and replay it, which saves time per step."
    )
    data: str = setting(
        DEFAULT_DATASET,
        DATA,
        "Train on this dataset: mnist or another name, a folder of IDX files, a folder of pictures in "
        "subfolders 0 to 9, or a .npz or .csv file; to read lines also a folder of digitcli synthesize.",
        unit="name|dir|file",
    )
    corrections: str | None = setting(
        None,
        DATA,
        "Correct labels of training digits by this CSV file, which digitcli doctor DATA -o writes.",
        unit=PATH,
    )
    strokes: str | None = setting(
        None,
        DATA,
        "Compose training lines from these pen trajectories too; only for architectures that read lines.",
        unit=PATH,
    )
    fonts: str | None = setting(
        None,
        DATA,
        "Draw letters of these fonts among the synthetic characters; requires --synthetic.",
        unit=PATH,
    )

    start: str | None = setting(
        None,
        TRANSFER,
        "Start from the weights of this model: a shipped name, a checkpoint file or a run folder. Its "
        "architecture is then the default of --arch.",
        unit="model",
    )
    original: str | None = setting(
        None,
        TRANSFER,
        "Rehearse on this dataset and measure forgetting on its test part, in place of the dataset that the "
        "start model was trained on.",
        unit="name|dir|file",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not isinstance(self.recipe, Mapping):
            raise UsageError(f"The recipe is {self.recipe!r}.", "It must be a table of settings.")
        known = [declared.name for declared in settings_of(Recipe)]
        for name in self.recipe:
            if name not in known:
                raise UsageError(f"A recipe has no setting '{name}'.", did_you_mean(name, known))
        Recipe(**self.recipe)


def fine_tuning(start: str, **fields: Any) -> TrainConfig:
    """Return the settings of a run that starts from a model: its architecture, and the recipe of fine-tuning.

    fields: Fields of `TrainConfig`, which override what follows from the model.

    Raises:
        UsageError: a value is out of range, or the architecture is not that of the model.
        ModelError: there is no such model.
    """
    return TrainConfig(**with_start({"start": start, **fields}))


def config_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `TrainConfig` that are given by flat settings, as options and files name them.

    Raises:
        UsageError: a setting does not exist, or the time is not a duration.
    """
    of_recipe = {declared.key: declared for declared in settings_of(Recipe)}
    of_run = {declared.key: declared for declared in settings_of(TrainConfig)}
    fields: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    for key, value in settings.items():
        key = key.replace("-", "_")
        if key in of_recipe:
            recipe[key] = value
        elif key in of_run:
            declared = of_run[key]
            fields[declared.name] = parse_duration(value) if declared.unit == DURATION else value
        else:
            remedy = f"{did_you_mean(key, of_recipe | of_run)} digitcli train --help lists the settings."
            raise UsageError(f"There is no setting '{key}'.", remedy)
    return {**fields, "recipe": recipe}


def flat_settings(config: TrainConfig, recipe: Recipe) -> dict[str, Any]:
    """Return all settings of a run with their values, in the form that `config_fields` takes.

    The number of epochs is left out if a time was chosen instead.
    """
    by_time = config.time_seconds is not None and "epochs" not in config.recipe
    values = {
        declared.key: getattr(owner, declared.name)
        for owner in (config, recipe)
        for declared in settings_of(owner)
        if not (by_time and declared.name == "epochs")
    }
    return {key: value for key, value in values.items() if value is not None}


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


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write flat settings as TOML; JSON writes texts, numbers, true and false in the same way."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items())


def resolve_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration with absolute paths of corrections, strokes, fonts, start and original data.

    Raises:
        InputError: a path does not exist.
        UsageError: there is no such dataset.
        ModelError: there is no such model.
    """
    for name in ("corrections", "strokes", "fonts"):
        path = getattr(config, name)
        if path is not None and not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for long names)
            raise InputError(f"There is no file or folder {path}.", f"Give an existing path to --{name}.")
        if path is not None:
            absolute: dict[str, Any] = {name: str(Path(path).resolve())}
            config = replace(config, **absolute)
    return resolve_start(config)


def check_config(config: TrainConfig) -> None:
    """Check that the settings of a new run fit together.

    Raises:
        UsageError: two settings contradict each other, or a value is out of range.
        ModelError: a plug-in cannot be imported, or there is no such start model.
    """
    if config.pretrained and not config.arch.startswith(TORCHVISION):
        cause = f"Architecture '{config.arch}' has no pretrained weights."
        raise UsageError(cause, "Leave --pretrained out.")
    recipe = resolve_recipe(config.arch, **config.recipe)
    if config.pretrained and recipe.initialization != "default":
        cause = f"--initialization {recipe.initialization} would overwrite the pretrained weights."
        raise UsageError(cause, "Leave --initialization or --pretrained out.")
    check_data_settings(config, recipe)
    check_transfer(config, recipe)


def check_data_settings(config: TrainConfig, recipe: Recipe) -> None:
    """Check that corrections, strokes, fonts and synthetic characters fit the architecture and the dataset.

    Raises:
        UsageError: the architecture or the dataset cannot use one of them.
    """
    task = find_architecture(config.arch).task
    if task != "digit" and recipe.synthetic:
        cause = f"The task of '{config.arch}' is {task}s, but synthetic characters are single digits."
        raise UsageError(cause, "Leave --synthetic out.")
    if config.corrections is not None and task != "digit":
        raise UsageError(f"The task of '{config.arch}' is {task}s, not digits.", "Leave --corrections out.")
    if config.strokes is not None and task != "line":
        raise UsageError(f"The task of '{config.arch}' is {task}s, not lines.", "Leave --strokes out.")
    if recipe.synthetic and config.data in DATASETS_WITHOUT_DIGITS:
        cause = f"The dataset {config.data} has no digits, but synthetic characters are digits and letters."
        raise UsageError(cause, "Leave --synthetic out.")
    if config.fonts is not None and not recipe.synthetic:
        cause = "--fonts has no effect without --synthetic."
        raise UsageError(cause, "Add --synthetic, or leave --fonts out.")
