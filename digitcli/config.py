"""Everything a person can choose about a training run. Loads no torch."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from digitcli.errors import UsageError, did_you_mean

Loss = Literal["cross_entropy", "squared_error", "margin", "ctc"]
Optimizer = Literal["sgd", "adam", "adamw", "muon"]
Schedule = Literal["constant", "cosine", "linear"]
Initialization = Literal["default", "glorot", "he", "lecun", "orthogonal"]
Normalization = Literal["batch", "group", "layer", "instance", "none"]
Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an architecture is trained. What it does not say holds for all of them.

    `warmup` is a share of the training, over which the learning rate rises linearly before the schedule
    takes it to zero; `dropout`, `stochastic_depth` and `normalization` are None where the architecture has
    none (`architectures/variants.py` says what they do); `augment` is whether the digits are changed at
    all, `affine` to `mixup` how (`data/augmentation.py`); `synthetic` is how many synthetic characters there
    are for each training digit, half of them letters that are no digit (`synthesis/characters.py`).
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    loss: Loss = "cross_entropy"
    label_smoothing: float = 0.0
    dropout: float | None = None
    stochastic_depth: float | None = None
    initialization: Initialization = "default"
    normalization: Normalization | None = None
    augment: bool = False
    affine: bool = True
    stroke_width: bool = True
    elastic: float = 0.0
    random_lines: float = 0.0
    random_convolution: float = 0.0
    random_erasing: float = 0.0
    mixup: float = 0.0
    synthetic: float = 0.0
    ema_decay: float = 0.0
    max_grad_norm: float = 0.0
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        _check(self, "epochs", lambda value: value >= 1, "at least 1")
        _check(self, "batch_size", lambda value: value >= 1, "at least 1")
        _check(self, "lr", lambda value: value > 0, "above 0")
        _check(self, "momentum", lambda value: 0 <= value < 1, "from 0 up to, but not, 1")
        _check(self, "beta1", lambda value: 0 <= value < 1, "from 0 up to, but not, 1")
        _check(self, "beta2", lambda value: 0 <= value < 1, "from 0 up to, but not, 1")
        _check(self, "weight_decay", lambda value: value >= 0, "0 or more")
        _check(self, "warmup", lambda value: 0 <= value < 1, "from 0 up to, but not, 1")
        _check(self, "label_smoothing", lambda value: 0 <= value < 1, "from 0 up to, but not, 1")
        for name in ("dropout", "stochastic_depth"):
            _check(self, name, lambda value: value is None or 0 <= value < 1, "from 0 up to, but not, 1")
        _check(self, "synthetic", lambda value: 0 <= value <= 10, "from 0 to 10")
        _check(self, "ema_decay", lambda value: 0 <= value < 1, "from 0 up to, but not, 1")
        _check(self, "max_grad_norm", lambda value: value >= 0, "0 or more")
        _check_choice(self, "dtype", get_args(Dtype))
        _check_choice(self, "optimizer", get_args(Optimizer))
        _check_choice(self, "schedule", get_args(Schedule))
        _check_choice(self, "loss", get_args(Loss))
        _check_choice(self, "initialization", get_args(Initialization))
        if self.normalization is not None:
            _check_choice(self, "normalization", get_args(Normalization))
        for name in ("augment", "affine", "stroke_width"):
            _check_type(self, name, bool, "true or false")
        _check(self, "elastic", lambda value: 0 <= value <= 5, "from 0 to 5")
        for name in ("random_lines", "random_convolution", "random_erasing"):
            _check(self, name, lambda value: 0 <= value <= 1, "from 0 to 1")
        _check(self, "mixup", lambda value: 0 <= value <= 10, "from 0 to 10")
        for name in ("label_smoothing", "synthetic"):
            if getattr(self, name) > 0 and self.loss != "cross_entropy":
                raise UsageError(f"{spoken(name)} does not go with {self.loss}.", "Leave it out.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run: what is trained on what, how, and where.

    `recipe` holds only what differs from the architecture's own; `time_seconds` trains for that long
    instead of a number of epochs; `patience` stops after so many epochs without a better validation
    accuracy and keeps the best; `strokes` names pen trajectories that lines are written with, `fonts` those
    whose letters are drawn; `pretrained` begins with the weights of ImageNet, which torchvision has for its
    own; `cuda_graphs` records a step on a GPU and repeats it.
    """

    arch: str = "cnn"
    data: str = "mnist"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    time_seconds: float | None = None
    patience: int | None = None
    strokes: str | None = None
    fonts: str | None = None
    pretrained: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        _check(self, "seed", lambda value: 0 <= value < 2**63, "from 0 up to 2**63 - 1")
        _check(self, "time_seconds", lambda value: value is None or value > 0, "above 0")
        _check(self, "patience", lambda value: value is None or value >= 1, "at least 1")
        for name in ("arch", "data", "device"):
            _check_type(self, name, str, "a text")
        for name in ("strokes", "fonts"):
            if getattr(self, name) is not None:
                _check_type(self, name, str, "a text")
        _check_type(self, "recipe", Mapping, "a table")
        for name in ("pretrained", "cuda_graphs"):
            _check_type(self, name, bool, "true or false")
        known = [entry.name for entry in dataclasses.fields(Recipe)]
        for name in self.recipe:
            if name not in known:
                raise UsageError(f"A recipe has no '{name}'.", did_you_mean(name, known))
        Recipe(**self.recipe)


Settings = TypeVar("Settings", Recipe, TrainConfig)


def change(settings: Settings, **changes: Any) -> Settings:
    """The same settings with some of them changed, and checked."""
    return dataclasses.replace(settings, **changes)


def configured(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `TrainConfig` from flat settings, as options and configuration files give them.

    `time` may be a number of seconds or a duration such as `5m`.

    Raises:
        UsageError: a setting that does not exist; the remedy suggests the nearest.
    """
    of_recipe = {entry.name for entry in dataclasses.fields(Recipe)}
    of_config = {entry.name.removesuffix("_seconds") for entry in dataclasses.fields(TrainConfig)} - {
        "recipe"
    }
    fields: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    for name, value in settings.items():
        name = name.replace("-", "_")
        if name not in of_recipe | of_config:
            raise UsageError(f"There is no setting '{name}'.", did_you_mean(name, of_recipe | of_config))
        if name in of_recipe:
            recipe[name] = value
        elif name == "time":
            fields["time_seconds"] = parse_duration(value)
        else:
            fields[name] = value
    return {**fields, "recipe": recipe}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, named as the options of `digitcli train`.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The configuration {path} cannot be read: {error}.", "See --print-config."
        ) from error


def settings_of(config: TrainConfig, recipe: Recipe) -> dict[str, Any]:
    """The flat settings that `configured` makes the same run of, with every default spelt out."""
    fields = {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config)}
    fields["time"] = fields.pop("time_seconds")
    del fields["recipe"]
    if config.time_seconds is not None and "epochs" not in config.recipe:
        recipe_settings = {**dataclasses.asdict(recipe), "epochs": None}
    else:
        recipe_settings = dataclasses.asdict(recipe)
    return {name: value for name, value in {**fields, **recipe_settings}.items() if value is not None}


def as_toml(settings: Mapping[str, Any]) -> str:
    """Flat settings as a TOML file; JSON writes strings, numbers and truth values the way TOML does."""
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items())


def parse_duration(text: str | float) -> float:
    """Seconds from `90`, `90s`, `5m`, `1h30m`.

    Raises:
        UsageError: not a duration.
    """
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", str(text).strip())
    try:
        hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    except ValueError:
        hours = minutes = seconds = 0.0
    duration = 3600 * hours + 60 * minutes + seconds
    if duration <= 0 or not math.isfinite(duration):
        raise UsageError(f"--time is '{text}'.", "Give a duration such as 90s, 5m or 1h30m.")
    return duration


def spoken(name: str) -> str:
    """How a person types a setting: `batch_size` is `--batch-size`, `time_seconds` is `--time`."""
    return "--" + name.removesuffix("_seconds").replace("_", "-")


def _check(settings: Any, name: str, holds: Callable[[Any], bool], must_be: str) -> None:
    value = getattr(settings, name)
    expected = {entry.name: entry.type for entry in dataclasses.fields(settings)}[name]
    whole = str(expected).startswith("int")
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    finite = number and (whole or abs(value) <= sys.float_info.max)  # a whole number may be beyond that
    if not (finite or value is None and "None" in str(expected)):
        raise UsageError(f"{spoken(name)} is {value!r}.", f"It must be a {'whole ' * whole}number {must_be}.")
    if not holds(value):
        raise UsageError(f"{spoken(name)} is {value}.", f"It must be {must_be}.")


def _check_type(settings: Any, name: str, kind: type, must_be: str) -> None:
    value = getattr(settings, name)
    if not isinstance(value, kind):
        raise UsageError(f"{spoken(name)} is {value!r}.", f"It must be {must_be}.")


def _check_choice(settings: Any, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(settings, name)
    if value not in choices:
        raise UsageError(f"{spoken(name)} is {value!r}.", did_you_mean(str(value), choices))
