from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import ARCHITECTURES, resolve_recipe
from digitcli.errors import UsageError
from digitcli.settings import Setting, settings_of
from digitcli.training.configuration import (
    TrainConfig,
    config_fields,
    flat_settings,
    read_toml,
    to_toml,
    train_command,
)
from tests.support.command_lines import train_config as parsed_config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 10**400),
        ("patience", 0),
        ("time_seconds", 0),
        ("arch", 5),
        ("data", 5),
        ("device", 5),
        ("fonts", 5),
        ("pretrained", 1),
        ("recipe", 5),
        ("recipe", {"epoch": 3}),
        ("recipe", {"epochs": 0}),
    ],
)
def test_a_configuration_refuses_values_outside_their_range(name: str, value: object) -> None:
    with pytest.raises(UsageError):
        TrainConfig(**{name: value})


def test_an_unknown_setting_gets_suggestions() -> None:
    with pytest.raises(UsageError, match="no setting 'epoch'") as caught:
        config_fields({"epoch": 3})
    assert "epochs" in caught.value.remedy and "train --help" in caught.value.remedy


@pytest.mark.parametrize("name", [row.name for row in ARCHITECTURES])
def test_printed_settings_describe_the_same_run(name: str) -> None:
    config = TrainConfig(arch=name, recipe={"epochs": 3}, seed=7, patience=2, teacher=("cnn", "fast"))
    printed = to_toml(flat_settings(config, resolve_recipe(name, epochs=3)))
    again = TrainConfig(**config_fields(tomllib.loads(printed)))
    assert resolve_recipe(name, **again.recipe) == resolve_recipe(name, epochs=3)
    assert (again.arch, again.seed, again.patience, again.data) == (name, 7, 2, "mnist")
    assert again.teacher == config.teacher


def test_printed_settings_keep_any_path() -> None:
    config = TrainConfig(data='/tmp/\U0001f600 "ziffern"\\n.npz')
    assert tomllib.loads(to_toml(flat_settings(config, resolve_recipe("cnn"))))["data"] == config.data


def test_printed_settings_of_a_run_with_a_time_have_no_epochs() -> None:
    config = TrainConfig(time_seconds=60.0)
    again = TrainConfig(**config_fields(tomllib.loads(to_toml(flat_settings(config, resolve_recipe("cnn"))))))
    assert again.time_seconds == 60.0
    assert "epochs" not in again.recipe


def test_a_file_of_settings_may_use_dashes(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('arch = "mlp"\nbatch-size = 32\ntime = "5m"\n')
    assert config_fields(read_toml(path)) == {
        "arch": "mlp",
        "time_seconds": 300,
        "recipe": {"batch_size": 32},
    }


@pytest.mark.parametrize("content", ["epochs = ", "\xff", "[["])
def test_a_damaged_file_of_settings_is_a_usage_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(path)


def test_a_missing_file_of_settings_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path / "none.toml")


def test_the_command_trains_the_same_run() -> None:
    assert train_command(TrainConfig(arch="mlp")) == "digitcli train --arch mlp"
    config = TrainConfig(
        arch="mlp", seed=7, time_seconds=90.0, data="my digits", device="cuda",
        recipe={"lr": 1.5e-7, "augment": False, "dropout": None},
    )  # fmt: skip
    command = train_command(config, {"epochs": 3})
    assert command.startswith("digitcli train --arch mlp --seed 7 --time 90.0 --data 'my digits' ")
    assert command.endswith(" --lr 1.5e-07 --no-augment --epochs 3")
    assert "--epochs 4" in train_command(replace(config, recipe={"epochs": 9}), {"epochs": 4})


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


@pytest.mark.parametrize("declared", settings_of(TrainConfig), ids=lambda declared: declared.name)
def test_a_command_gives_every_setting_of_a_run(declared: Setting) -> None:
    config = replace(TrainConfig(), **{declared.name: changed(declared)})
    expected = TrainConfig() if declared.name in ("device", "threads") else config  # on any machine
    assert parsed_config(train_command(config)) == expected


@pytest.mark.parametrize("declared", settings_of(Recipe), ids=lambda declared: declared.name)
def test_a_command_gives_every_setting_of_a_recipe(declared: Setting) -> None:
    config = TrainConfig(recipe={declared.name: changed(declared)})
    assert parsed_config(train_command(config)) == config
