"""Checks that the settings of a training run fit together. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import TORCHVISION, find_architecture, resolve_recipe
from digitcli.errors import InputError, UsageError
from digitcli.training.configuration import TrainConfig

DATASETS_WITHOUT_DIGITS = ("fashion-mnist", "kmnist")


def resolve_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration with absolute paths of strokes and fonts.

    Raises:
        InputError: a path does not exist.
    """
    for name in ("strokes", "fonts"):
        path = getattr(config, name)
        if path is not None and not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for long names)
            raise InputError(f"There is no file or folder {path}.", f"Give an existing path to --{name}.")
        if path is not None:
            absolute: dict[str, Any] = {name: str(Path(path).resolve())}
            config = replace(config, **absolute)
    return config


def check_config(config: TrainConfig) -> None:
    """Check that the settings of a new run fit together.

    Raises:
        UsageError: two settings contradict each other, or a value is out of range.
        ModelError: a plug-in cannot be imported.
    """
    if config.pretrained and not config.arch.startswith(TORCHVISION):
        cause = f"Architecture '{config.arch}' has no pretrained weights."
        raise UsageError(cause, "Leave --pretrained out.")
    recipe = resolve_recipe(config.arch, **config.recipe)
    if config.pretrained and recipe.initialization != "default":
        cause = f"--initialization {recipe.initialization} would overwrite the pretrained weights."
        raise UsageError(cause, "Leave --initialization or --pretrained out.")
    check_data_settings(config, recipe)


def check_data_settings(config: TrainConfig, recipe: Recipe) -> None:
    """Check that strokes, fonts and synthetic characters fit the architecture and the dataset.

    Raises:
        UsageError: they do not.
    """
    reads_lines = find_architecture(config.arch).task == "line"
    if reads_lines and recipe.synthetic:
        cause = f"Architecture '{config.arch}' reads lines, but synthetic characters are single digits."
        raise UsageError(cause, "Leave --synthetic out.")
    if config.strokes is not None and not reads_lines:
        raise UsageError(f"Architecture '{config.arch}' reads digits, not lines.", "Leave --strokes out.")
    if recipe.synthetic and config.data in DATASETS_WITHOUT_DIGITS:
        cause = f"The dataset {config.data} has no digits, but synthetic characters are digits and letters."
        raise UsageError(cause, "Leave --synthetic out.")
    if config.fonts is not None and not recipe.synthetic:
        cause = "--fonts has no effect without --synthetic."
        raise UsageError(cause, "Add --synthetic, or leave --fonts out.")
