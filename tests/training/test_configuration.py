"""Settings of a run as options, in files and in stored runs."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import ARCHITECTURES, resolve_recipe
from digitcli.errors import ModelError, UsageError
from digitcli.settings import Setting, user_settings
from digitcli.training.configuration import (
    TrainConfig,
    config_fields,
    flat_settings,
    read_toml,
    stored_config,
    to_toml,
    train_command,
)
from tests.support.command_lines import train_config as parsed_config


def test_values_outside_their_range_are_refused() -> None:
    of_run = {
        "seed": (-1, 10**400), "patience": (0,), "time_seconds": (0,), "arch": (5,), "data": (5,),
        "device": (5,), "fonts": (5,), "pretrained": (1,), "recipe": (5, {"epoch": 3}, {"epochs": 0}),
    }  # fmt: skip
    for name, values in of_run.items():
        for value in values:
            with pytest.raises(UsageError):
                TrainConfig(**{name: value})
                pytest.fail(f"{name} may be {value}")


def test_an_unknown_setting_gets_suggestions_and_so_does_one_that_follows_from_others() -> None:
    beginnings = {
        "epoch": "Did you mean epochs",
        "original": "Known names: arch",
        "loss": "Known names: arch",
    }
    for name, beginning in beginnings.items():
        with pytest.raises(UsageError, match=f"no setting '{name}'") as caught:
            config_fields({name: 3})
        remedy = caught.value.remedy
        assert remedy.startswith(beginning) and remedy.endswith("digitcli train --help lists the settings.")
        assert not re.search(rf"\b{name}\b", remedy)


def test_printed_settings_describe_the_same_run() -> None:
    for name in [row.name for row in ARCHITECTURES]:
        config = TrainConfig(arch=name, recipe={"epochs": 3}, seed=7, patience=2, teacher=("cnn", "fast"))
        printed = to_toml(flat_settings(config, resolve_recipe(name, epochs=3)))
        again = TrainConfig(**config_fields(tomllib.loads(printed)))
        assert resolve_recipe(name, **again.recipe) == resolve_recipe(name, epochs=3), name
        assert (again.arch, again.seed, again.patience, again.data) == (name, 7, 2, "mnist")
        assert again.teacher == config.teacher
    config = TrainConfig(time_seconds=60.0, data='/tmp/\U0001f600 "ziffern"\\n.npz')
    again = TrainConfig(**config_fields(tomllib.loads(to_toml(flat_settings(config, resolve_recipe("cnn"))))))
    assert (again.time_seconds, again.data) == (60.0, config.data) and "epochs" not in again.recipe


def test_a_file_of_settings_may_use_dashes_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('arch = "mlp"\nbatch-size = 32\ntime = "5m"\n')
    settings = {"arch": "mlp", "time_seconds": 300, "recipe": {"batch_size": 32}}
    assert config_fields(read_toml(path)) == settings
    for content in (b"epochs = ", b"\xff", b"[[", None):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read"):
            read_toml(path)


def test_a_stored_run_may_have_settings_that_are_gone_if_they_were_off() -> None:
    stored = {"arch": "mlp", "snapshots": None, "cuda_graphs": True}
    assert stored_config(stored) == TrainConfig(arch="mlp")
    with pytest.raises(ModelError, match="--snapshots, which is no longer possible"):
        stored_config({**stored, "snapshots": 3})


def changed(declared: Setting) -> Any:
    """Return a valid value of a setting that is not its default."""
    if declared.choices:
        return next(choice for choice in declared.choices if choice != declared.default)
    if declared.is_list:
        return ("first model", "second")
    if declared.type is bool:
        return not declared.default
    values = {str: ("some name",), int: (2, 3, 1), float: (0.25, 0.5, 1.5)}[declared.type]
    return next(value for value in values if value != declared.default)


def test_the_command_of_a_run_trains_the_same() -> None:
    assert train_command(TrainConfig(arch="mlp")) == "digitcli train --arch mlp"
    config = TrainConfig(
        arch="mlp", seed=7, time_seconds=90.0, data="my digits", device="cuda",
        recipe={"lr": 1.5e-7, "augment": False, "dropout": None},
    )  # fmt: skip
    command = "digitcli train --arch mlp --seed 7 --time 90.0 --data 'my digits' --lr 1.5e-07"
    assert train_command(config, {"epochs": 3}) == f"{command} --no-augment --epochs 3"
    assert "--epochs 4" in train_command(replace(config, recipe={"epochs": 9}), {"epochs": 4})
    for declared in user_settings(TrainConfig):
        config = replace(TrainConfig(), **{declared.name: changed(declared)})
        expected = TrainConfig() if declared.name in ("device", "threads") else config  # on any machine
        assert parsed_config(train_command(config)) == expected, declared.name
    for declared in user_settings(Recipe):
        config = TrainConfig(recipe={declared.name: changed(declared)})
        assert parsed_config(train_command(config)) == config, declared.name
    for name, usual, other in (
        ("affine", True, False), ("stroke_width", True, False), ("loss", "cross_entropy", "margin"),
        ("distillation_weight", 0.9, 0.5),
    ):  # fmt: skip
        assert train_command(TrainConfig(arch="mlp", recipe={name: usual})) == "digitcli train --arch mlp"
        assert train_command(TrainConfig(arch="mlp", recipe={name: other})) is None, name
