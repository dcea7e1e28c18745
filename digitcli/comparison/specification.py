"""Parse the arguments of `digitcli compare` and `tune`: architectures with overrides, models, ranges.

A saved comparison is a JSON file with the runs of models, which later comparisons read instead of training.
Loads no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import architectures, find_architecture, is_architecture, resolve_recipe
from digitcli.atomic_write import write_whole
from digitcli.errors import UsageError, did_you_mean
from digitcli.inference.checkpoint import RUNS
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models
from digitcli.json_records import read_json
from digitcli.settings import Setting, settings_of, user_settings
from digitcli.training.checks import check_config, resolve_paths
from digitcli.training.configuration import TrainConfig, config_fields, recipe_from_start, with_start

if TYPE_CHECKING:
    from optuna.trial import Trial

SEEDS = 5  # runs of each architecture: the fewest with which an interval over seeds is of use; chosen by hand
OUT = RUNS / "compare"
CHECKPOINT_SUFFIX = ".safetensors"
SHIPPED = "shipped/"  # prefix of a shipped model, whose name alone may be that of an architecture
# The settings that are equal for all models.
SHARED_SETTINGS = ("arch", "data", "device", "threads", "seed", "patience")
SUFFIX = ".json"
SCHEMA = 1
REMEDY = f"Save a comparison with: digitcli compare cnn fast -o FILE{SUFFIX}"
SWITCHES = {"on": True, "true": True, "off": False, "false": False}

# The settings that are varied if none is named, as far as the architecture has them: what papers tune first.
DEFAULT_SETTINGS = ("lr", "batch_size", "weight_decay", "warmup", "dropout")
# The learning rate is searched between a tenth and ten times that of the recipe.
LR_FACTOR = 10.0
# The usual values in papers on networks of this size; a setting that is not here needs its own range.
USUAL = {
    "batch_size": "32,64,128,256,512",
    "weight_decay": "0.0001..1",
    "warmup": "0..0.3",
    "dropout": "0..0.5",
    "stochastic_depth": "0..0.3",
    "label_smoothing": "0..0.2",
    "ema_decay": "0,0.99,0.998,0.999",
    "momentum": "0.8..0.99",
    "beta1": "0.8..0.98",
    "beta2": "0.95..0.999",
    "max_grad_norm": "0,0.5,1,2,5",
    "elastic": "0..2",
    "random_lines": "0..0.5",
    "random_convolution": "0..0.5",
    "random_erasing": "0..0.5",
    "mixup": "0..0.5",
}
# A range whose ends differ by this factor is searched on a logarithmic scale.
LOGARITHMIC = 10.0
# More digits of a number than these change nothing that could be measured, and make commands long. A narrow
# range as 0.99..0.9999 needs more, since the first ones are those of all its numbers.
SIGNIFICANT_DIGITS = 3

EvaluationSplit = Literal["test", "validation"]  # the part of a dataset on which models are evaluated


@dataclass(frozen=True)
class ComparedRun:
    """One trained model and its errors.

    model: the run folder, the checkpoint file or the name of a shipped model.
    accuracy: the share of the images that it reads correctly.
    misread: the indices of the images that it reads wrongly, in the part of the dataset that was used.
    seed, train_seconds: None for a model that was not trained by the comparison.
    """

    model: str
    accuracy: float
    misread: tuple[int, ...]
    seed: int | None = None
    train_seconds: float | None = None


@dataclass(frozen=True)
class ModelDefinition:
    """How a model is built and trained: the fields of a checkpoint, and digests of what else it depends on.

    teacher: those of the models whose answers it learned from.
    start: that of the model whose weights it started from.
    original: that of the data that it rehearsed.
    """

    architecture: str
    arguments: Mapping[str, Any]
    recipe: Mapping[str, Any]
    fonts: str | None = None
    corrections: str | None = None
    teacher: tuple[str, ...] = ()
    start: str | None = None
    original: str | None = None


@dataclass(frozen=True)
class SavedModel:
    """The runs of one model, and the images on which they were evaluated.

    data, digest, split, images: the dataset, the digest of its content, the part of it on which the runs were
        evaluated, and the number of images in that part.
    """

    label: str
    definition: ModelDefinition
    data: str
    digest: str
    split: EvaluationSplit
    images: int
    runs: tuple[ComparedRun, ...]

    def __post_init__(self) -> None:
        seeds = [run.seed for run in self.runs]
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"{self.label} has no run, or two runs with one seed")
        for run in self.runs:
            misread = {index for index in run.misread if 0 <= index < self.images}
            if self.images < 1 or len(misread) < len(run.misread):
                raise ValueError(f"{self.label} misreads an image that does not exist, or one image twice")
            if run.accuracy != accuracy_of(run.misread, self.images):
                raise ValueError(f"an accuracy of {self.label} does not follow from its misread images")


@dataclass(frozen=True)
class SavedComparison:
    """The content of a file."""

    schema: int
    models: tuple[SavedModel, ...]

    def __post_init__(self) -> None:
        if self.schema != SCHEMA or not self.models:
            raise ValueError("it holds no model, or another version of digitcli wrote it")


def accuracy_of(misread: Sequence[int], images: int) -> float:
    """Return the accuracy of a run that misreads `misread` out of `images` images."""
    return (images - len(misread)) / images


@dataclass(frozen=True)
class Specification:
    """One row of a comparison: an architecture that is trained, a model that exists, or saved runs.

    label: the text that specifies it, e.g. `cnn:augment=off`.
    """

    label: str
    config: TrainConfig | None = None
    model: ResolvedModel | None = None
    saved: SavedModel | None = None


def parse_specifications(texts: Sequence[str], data: str, device: str) -> list[Specification]:
    """Parse all arguments; `all` stands for every architecture of single digits, a file for its models.

    Raises:
        UsageError: see `parse_specification`; a model is named twice, or there is none.
        ModelError: see `parse_specification`.
        InputError: a saved comparison cannot be read.
    """
    every = [name for name, row in architectures().items() if row.task == "digit"]
    parsed: list[Specification] = []
    for text in texts:
        if text.lower().endswith(SUFFIX):
            models = read_comparison(Path(text))
            parsed += [Specification(model.label, saved=model) for model in models]
        else:
            names = every if text == "all" else [text]
            parsed += [parse_specification(name, data, device) for name in names]
    if not parsed:
        raise UsageError("There is nothing to compare.", f"Name some of {', '.join(every)}.")
    labels = [specification.label for specification in parsed]
    if repeated := [label for label in labels if labels.count(label) > 1]:
        raise UsageError(f"{repeated[0]} is named twice.", "Name it once; the models of a file count, too.")
    _check_different(parsed)
    return parsed


def _check_different(specifications: Sequence[Specification]) -> None:
    """Check that no two specifications train the same, as `softmax` and `softmax:augment=off` do."""
    configs: dict[str, TrainConfig] = {}
    for label, config in ((each.label, each.config) for each in specifications):
        if config is None:
            continue
        recipe = dataclasses.asdict(resolve_recipe(config.arch, **config.recipe))
        config = dataclasses.replace(config, recipe=recipe)
        if same := next((earlier for earlier, other in configs.items() if other == config), None):
            cause = f"{same} and {label} have the same recipe, so they train the same model."
            remedy = f"See the recipe with: digitcli train --arch {config.arch} --print-config"
            raise UsageError(cause, remedy)
        configs[label] = config


def parse_specification(text: str, data: str, device: str) -> Specification:
    """Parse `cnn`, `cnn:augment=off,dropout=0`, `shipped/cnn`, a run folder or a checkpoint file.

    A shipped model whose name is not also the name of an architecture needs no `shipped/`.

    Raises:
        UsageError: an architecture or a setting does not exist, or a value is out of range.
        ModelError: a model does not exist or is damaged.
    """
    name, colon, overrides = text.partition(":")
    if not is_architecture(name):
        shipped = text.removeprefix(SHIPPED)
        if shipped in shipped_models():
            return _specify_model(f"{SHIPPED}{shipped}", shipped)
        if os.path.lexists(text) or "/" in text or text.endswith(CHECKPOINT_SUFFIX):
            return _specify_model(text, shipped)
        if name in shipped_models():
            cause = f"'{name}' is a shipped model, whose recipe cannot be changed."
            raise UsageError(cause, f"Write {SHIPPED}{name}.")
    if find_architecture(name).task != "digit":
        raise UsageError(f"Architecture '{name}' reads lines.", "Name architectures of single digits.")
    settings = _parse_overrides(text, overrides) if colon else {}
    fields = config_fields({"arch": name, "data": data, "device": device, **settings})
    config = resolve_paths(TrainConfig(**with_start(fields)))
    if config.members is not None:
        cause = f"{text} is an ensemble, but a comparison trains one network for each seed."
        raise UsageError(cause, "Train it with digitcli train, and name its folder.")
    check_config(config)
    return Specification(text, config=config)


def _specify_model(label: str, name: str) -> Specification:
    model = resolve_model(name)
    if model.header.task != "digit":
        raise UsageError(f"{label} reads lines.", "Name models of single digits.")
    return Specification(label, model=model)


def _parse_overrides(text: str, overrides: str) -> dict[str, Any]:
    lists = [declared.key for declared in settings_of(TrainConfig) if declared.is_list]
    texts = [declared.key for declared in settings_of(TrainConfig) if declared.type is str]
    settings: dict[str, Any] = {}
    for override in overrides.split(","):
        key, equals, value = override.partition("=")
        key = key.replace("-", "_")
        if not equals:
            name = text.partition(":")[0]
            cause = f"'{override}' in {text} has no value."
            if not override:
                cause = f"'{text}' names no setting after {'a comma' if overrides else 'the colon'}."
            remedy = f"Write {name}:epochs=3,augment=off; see the settings with digitcli train --help."
            raise UsageError(cause, remedy)
        if key in SHARED_SETTINGS:
            raise UsageError(f"{text} sets {key}, which is the same for all models.", f"Leave {key} out.")
        if key in lists:
            settings.setdefault(key, []).append(value)
            continue
        if key in settings:
            raise UsageError(f"{text} sets {key} twice.", "Set it once.")
        settings[key] = value if key in texts else parse_value(value)
    return settings


def parse_value(text: str) -> Any:
    """Return the value of a setting in an argument: a switch (on, off), a number, or a word."""
    if text in SWITCHES:
        return SWITCHES[text]
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def plan_runs(specifications: Sequence[Specification], seeds: int) -> list[tuple[Specification, int | None]]:
    """Return the runs to train or evaluate: first seed 0 of every specification, then seed 1, and so on."""
    waiting = [
        [(each, seed) for seed in (range(seeds) if each.config else [None])]
        for each in specifications
        if each.saved is None
    ]
    return [run for round_of_runs in zip_longest(*waiting) for run in round_of_runs if run is not None]


def save_comparison(path: Path, models: Sequence[SavedModel]) -> None:
    """Write the models to a file, one on each line.

    Raises:
        OutputError: the file cannot be written; a file that existed before is unchanged.
    """
    lines = [json.dumps(dataclasses.asdict(model)) for model in models]
    content = f'{{"schema": {SCHEMA}, "models": [\n' + ",\n".join(lines) + "\n]}\n"
    write_whole(path, content.encode())


def read_comparison(path: Path) -> tuple[SavedModel, ...]:
    """Return the models of a file that `save_comparison` wrote.

    Raises:
        InputError: the file cannot be read, or is not a saved comparison.
    """
    return read_json(path, SavedComparison, "a saved comparison", REMEDY).models


@dataclass(frozen=True)
class SearchRange:
    """The values of a setting from which the search chooses: some choices, or numbers from low to high."""

    setting: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_integer: bool = False

    @property
    def is_logarithmic(self) -> bool:
        """Whether the numbers are searched on a logarithmic scale."""
        return self.low > 0 and self.high >= LOGARITHMIC * self.low

    def suggest(self, trial: Trial) -> Any:
        """Return the value that the search chooses for a trial."""
        if self.choices:
            return trial.suggest_categorical(self.setting, self.choices)
        if self.is_integer:
            return trial.suggest_int(self.setting, int(self.low), int(self.high), log=self.is_logarithmic)
        value = trial.suggest_float(self.setting, self.low, self.high, log=self.is_logarithmic)
        digits = SIGNIFICANT_DIGITS + int(math.log10(self.high / (self.high - self.low)))
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def ends(self) -> tuple[Any, ...]:
        """Return the values that must be allowed so that all of them are."""
        return self.choices or ((int(self.low), int(self.high)) if self.is_integer else (self.low, self.high))


def parse_ranges(texts: Sequence[str], config: TrainConfig) -> tuple[SearchRange, ...]:
    """Parse `lr`, `lr=1e-4..1e-2` and `optimizer=adamw,muon`; without any, take the usual settings.

    Raises:
        UsageError: there is no such setting, it is given twice or is fixed, or a value is not allowed.
    """
    recipe = resolve_recipe(config.arch, **config.recipe)
    of_start_model = recipe_from_start(config).items()
    fixed = {name for name, value in config.recipe.items() if (name, value) not in of_start_model}
    usual = [each for each in DEFAULT_SETTINGS if each not in fixed and getattr(recipe, each) is not None]
    ranges = tuple(_parse_range(text, recipe) for text in texts or usual)
    names = [each.setting for each in ranges]
    for each in ranges:
        if names.count(each.setting) > 1:
            raise UsageError(f"--vary names {each.setting} twice.", "Name it once.")
        if each.setting in fixed:
            raise UsageError(f"{each.setting} is both fixed and varied.", "Leave one of them out.")
        for value in each.ends():
            check_config(dataclasses.replace(config, recipe={**config.recipe, each.setting: value}))
    return ranges


def _parse_range(text: str, recipe: Recipe) -> SearchRange:
    name, equals, values = text.partition("=")
    name = name.replace("-", "_")
    declarations = {declared.name: declared for declared in user_settings(Recipe)}
    if name == "epochs":
        cause = "--vary epochs would reward long trainings."
        raise UsageError(cause, "Fix them for all trials: --arch NAME:epochs=3")
    if name not in declarations:
        raise UsageError(f"There is no setting '{name}' in a recipe.", did_you_mean(name, declarations))
    declared = declarations[name]
    values = values if equals else _usual_values(declared, recipe)
    low, dots, high = values.partition("..")
    if dots:
        return _number_range(text, declared, parse_value(low), parse_value(high))
    choices = tuple(map(parse_value, values.split(",")))
    if len(set(choices)) < 2:
        raise UsageError(f"--vary {text} has one value.", f"Write {name}=LOW..HIGH, or several values.")
    return SearchRange(name, choices)


def _usual_values(declared: Setting, recipe: Recipe) -> str:
    if declared.name == "lr":
        return f"{recipe.lr / LR_FACTOR:g}..{recipe.lr * LR_FACTOR:g}"
    if declared.type is bool:
        return "on,off"
    values = USUAL.get(declared.name, ",".join(declared.choices))
    if not values:
        cause = f"--vary {declared.name} needs its values."
        raise UsageError(cause, f"Write {declared.name}=LOW..HIGH, or {declared.name}=VALUE,VALUE.")
    return values


def _number_range(text: str, declared: Setting, low: Any, high: Any) -> SearchRange:
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if declared.type not in (int, float) or not numbers or not all(map(math.isfinite, (low, high))):
        cause = f"--vary {text} is no range of numbers."
        raise UsageError(cause, f"It must be {declared.allowed}, for example {declared.name}=LOW..HIGH.")
    if low >= high:
        raise UsageError(f"--vary {text} is empty.", "The first number must be the lower one.")
    return SearchRange(declared.name, low=low, high=high, is_integer=declared.type is int)
