"""Parse the arguments of `digitcli compare`: architectures with overrides, models and saved comparisons.

Loads no torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from digitcli.architectures.registry import architectures, find_architecture, is_architecture
from digitcli.comparison.saved_comparison import SUFFIX, SavedModel, read_comparison
from digitcli.errors import UsageError
from digitcli.inference.checkpoint import RUNS
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models
from digitcli.settings import settings_of
from digitcli.training.checks import check_config, resolve_paths
from digitcli.training.configuration import TrainConfig, config_fields
from digitcli.training.transfer import with_start

SEEDS = 5  # runs of each architecture: the fewest with which an interval over seeds is of use; chosen by hand
OUT = RUNS / "compare"
CHECKPOINT_SUFFIX = ".safetensors"
SHIPPED = "shipped/"  # prefix of a shipped model, whose name alone may be that of an architecture
# The settings that are equal for all models.
SHARED_SETTINGS = ("arch", "data", "device", "threads", "seed", "patience")
SWITCHES = {"on": True, "true": True, "off": False, "false": False}


@dataclass(frozen=True)
class Specification:
    """One row of a comparison: an architecture that is trained, a model that exists, or saved runs.

    label: the text that specifies it, e.g. `cnn:augment=off`.
    config: how it is trained.
    model: the model that exists.
    saved: the runs of a saved comparison.
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
    return parsed


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
