from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from digitcli.architectures.registry import ARCHITECTURES, recipe_of
from digitcli.config import (
    Recipe,
    TrainConfig,
    as_toml,
    configured,
    parse_duration,
    read_settings,
    settings_of,
)
from digitcli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("8s", 8), ("5m", 300), ("1h30m", 5400), ("1.5m", 90), (12.5, 12.5)]
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-5m", "5x", "m", "1.2.3s", "inf", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="--time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch_size", 0),
        ("lr", 0),
        ("lr", float("nan")),
        ("lr", "fast"),
        ("momentum", 1),
        ("weight_decay", -1),
        ("dropout", 1.0),
        ("label_smoothing", -0.1),
        ("ema_decay", 1),
        ("optimizer", "luck"),
        ("schedule", "none"),
        ("loss", "hinge"),
        ("augment", "no"),
    ],
)
def test_a_recipe_refuses_what_cannot_be_meant(setting: str, value: object) -> None:
    with pytest.raises(UsageError, match="--" + setting.replace("_", "-")) as caught:
        Recipe(**{setting: value})
    assert caught.value.remedy


def test_label_smoothing_belongs_to_cross_entropy() -> None:
    with pytest.raises(UsageError, match="--label-smoothing"):
        recipe_of("sigmoid_mlp", label_smoothing=0.1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", -1),
        ("seed", 10**400),
        ("patience", 0),
        ("time_seconds", 0),
        ("arch", 5),
        ("data", 5),
        ("device", 5),
    ],
)
def test_a_configuration_refuses_what_cannot_be_meant(setting: str, value: int) -> None:
    with pytest.raises(UsageError):
        TrainConfig(**{setting: value})


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan")])
def test_a_recipe_takes_numbers_that_a_computer_has(value: float) -> None:
    for name in ("lr", "weight_decay"):
        with pytest.raises(UsageError):
            Recipe(**{name: value})


def test_an_unknown_setting_gets_suggestions() -> None:
    with pytest.raises(UsageError, match="no setting 'epoch'") as caught:
        configured({"epoch": 3})
    assert "epochs" in caught.value.remedy


@pytest.mark.parametrize("name", [row.name for row in ARCHITECTURES])
def test_printed_settings_make_the_same_run(name: str) -> None:
    config = TrainConfig(arch=name, recipe={"epochs": 3}, seed=7, patience=2)
    printed = as_toml(settings_of(config, recipe_of(name, epochs=3)))
    again = TrainConfig(**configured(tomllib.loads(printed)))
    assert recipe_of(name, **again.recipe) == recipe_of(name, epochs=3)
    assert (again.arch, again.seed, again.patience, again.data) == (name, 7, 2, "mnist")


def test_printed_settings_keep_any_path() -> None:
    config = TrainConfig(data='/tmp/\U0001f600 "ziffern"\\n.npz')
    assert tomllib.loads(as_toml(settings_of(config, recipe_of("cnn"))))["data"] == config.data


def test_printed_settings_of_a_run_by_the_clock_name_no_epochs() -> None:
    config = TrainConfig(time_seconds=60.0)
    again = TrainConfig(**configured(tomllib.loads(as_toml(settings_of(config, recipe_of("cnn"))))))
    assert again.time_seconds == 60.0
    assert "epochs" not in again.recipe


def test_a_file_of_settings_may_use_dashes(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('arch = "mlp"\nbatch-size = 32\ntime = "5m"\n')
    assert configured(read_settings(path)) == {
        "arch": "mlp",
        "time_seconds": 300,
        "recipe": {"batch_size": 32},
    }


@pytest.mark.parametrize("content", ["epochs = ", "\xff", "[["])
def test_a_damaged_file_of_settings_is_a_usage_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(path)


def test_a_missing_file_of_settings_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")
