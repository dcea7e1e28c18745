"""The settings of runs that start from a trained model: what is taken from it, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from digitcli.architectures.registry import resolve_recipe
from digitcli.errors import UsageError
from digitcli.inference.ensemble_file import write_ensemble
from digitcli.inference.model_resolution import resolve_models
from digitcli.training.checks import check_config
from digitcli.training.configuration import TrainConfig, config_fields, flat_settings, to_toml
from digitcli.training.transfer import EPOCHS, LR_SHARE, MIN_EPOCH_STEPS, fine_tuning, with_start
from tests.support.models import saved
from tests.support.processes import Run

DATA = "usps"  # not the data of the shipped models, and not read by these tests


def config_from(**fields: Any) -> TrainConfig:
    return TrainConfig(**with_start(fields))


def test_the_function_of_the_library_completes_the_settings_as_the_command_does() -> None:
    assert fine_tuning("fast", data=DATA, seed=3) == config_from(start="fast", data=DATA, seed=3)


def test_a_run_takes_the_architecture_and_the_data_of_its_start_model() -> None:
    config = config_from(start="digit_or_none", data=DATA)
    assert (config.arch, config.original) == ("fast", "mnist")
    assert config.recipe == {
        "epochs": EPOCHS,
        "min_epoch_steps": MIN_EPOCH_STEPS,
        "lr": LR_SHARE * resolve_recipe("fast").lr,
    }
    check_config(config)


def test_what_is_given_overrides_what_follows_from_the_start_model(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.safetensors", "mlp", arguments={"dropout": 0.25, "normalization": "group"})
    plain = config_from(start=str(model), data=DATA)
    assert (plain.recipe["dropout"], plain.recipe["normalization"]) == (0.25, "group")
    given = {"dropout": 0.5, "lr": 0.3, "epochs": 2, "freeze": 1}
    config = config_from(start=str(model), data=DATA, original="kmnist", recipe=given)
    assert {name: config.recipe[name] for name in given} == given and config.original == "kmnist"
    timed = config_from(start="fast", data=DATA, time_seconds=60.0)
    assert "epochs" not in timed.recipe and timed.recipe["min_epoch_steps"] == MIN_EPOCH_STEPS


def test_without_a_start_model_nothing_is_completed() -> None:
    fields = {"arch": "cnn", "recipe": {"lr": 0.1}}
    assert with_start(fields) == fields


def test_the_original_data_are_those_of_the_run_folder(tmp_path: Path, few_digits: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    saved(run / "model.safetensors", "fast", dataset={"name": few_digits.name})
    assert config_from(start=str(run), data=DATA).original is None
    (run / "config.json").write_text(json.dumps({"config": {"data": str(few_digits)}}))
    assert config_from(start=str(run), data=DATA).original == str(few_digits)
    assert config_from(start=str(run), data=str(few_digits)).original is None
    checkpoint = saved(run / "other.safetensors", "fast", dataset={"name": few_digits.name})
    assert (
        config_from(start=str(checkpoint), data=DATA).original is None
    )  # `config.json` is not of this model
    (run / "config.json").write_text(json.dumps({"config": {"data": str(tmp_path / "gone.npz")}}))
    assert config_from(start=str(run), data=DATA).original is None


def test_the_data_of_the_start_model_itself_are_not_original_data() -> None:
    assert config_from(start="cnn").original is None


def test_printed_settings_describe_the_same_fine_tuning() -> None:
    config = config_from(start="cnn", data=DATA, recipe={"freeze": 2, "layer_decay": 0.8, "rehearse": 0.3})
    printed = tomllib.loads(to_toml(flat_settings(config, resolve_recipe(config.arch, **config.recipe))))
    assert printed["from"] == "cnn" and printed["epochs"] == EPOCHS
    again = config_from(**config_fields(printed))
    assert (again.arch, again.start, again.original) == (config.arch, config.start, config.original)
    assert resolve_recipe(again.arch, **again.recipe) == resolve_recipe(config.arch, **config.recipe)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--from", "cmm"], 5, "cnn"),
        (["--from", "none/such"], 5, "none/such"),
        (["--from", "cnn", "--arch", "fast"], 2, "Leave --arch out"),
        (["--from", "cnn", "--original", "mnits"], 2, "mnist"),
        (["--from", "cnn", "--original", "none.npz"], 3, "none.npz"),
        (["--from", "cnn", "--freeze", "4"], 2, "up to 3"),
        (["--from", "cnn", "--layer-decay", "1.5"], 2, "--layer-decay"),
        (["--from", "cnn", "--rehearse", "1"], 2, "--rehearse"),
        (["--freeze", "1"], 2, "--from"),
        (["--resume", "run", "--from", "none/such"], 5, "none/such"),
    ],
    ids=str,
)
def test_a_mistake_is_a_cause_a_remedy_and_an_exit_code(
    digitcli: Run, tmp_path: Path, few_digits: Path, arguments: list[str], code: int, words: str
) -> None:
    done = digitcli("train", *arguments, "--data", few_digits)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_cannot_be_a_start_model(tmp_path: Path) -> None:
    write_ensemble(tmp_path / "both.safetensors", resolve_models(["fast", "cnn"]))
    with pytest.raises(UsageError, match="is an ensemble") as caught:
        config_from(start=str(tmp_path / "both.safetensors"))
    assert "one of its members" in caught.value.remedy


@pytest.mark.parametrize("fields", [{"start": 3}, {"start": ["fast"]}, {"start": "fast", "data": 3}])
def test_a_start_model_in_a_file_is_a_text(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--from|--data"):
        with_start(fields)
