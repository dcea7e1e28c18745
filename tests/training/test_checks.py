"""Settings of runs: which contradict each other, what follows from a start model, and their paths."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.architectures.registry import ARCHITECTURES, resolve_recipe
from digitcli.errors import InputError, ModelError, UsageError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import resolve_models, shipped_models
from digitcli.inference.torch_runtime import write_ensemble
from digitcli.training.checks import check_config, resolve_paths
from digitcli.training.configuration import (
    EPOCHS,
    LR_SHARE,
    MIN_EPOCH_STEPS,
    TrainConfig,
    config_fields,
    flat_settings,
    to_toml,
    with_start,
)
from tests.support.models import saved

DATA = "usps"  # not the data of the shipped models, and not read by these tests
# Settings, and words of the cause or the remedy.
CONTRADICTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"arch": "cnn", "pretrained": True}, ["--pretrained"]),
    ({"arch": "torchvision/x", "pretrained": True, "recipe": {"initialization": "he"}}, ["overwrite"]),
    ({"arch": "softmax", "recipe": {"momentum": 0.9}}, ["--momentum"]),
    ({"arch": "softmax", "recipe": {"optimizer": "sgd", "beta1": 0.5}}, ["--beta1"]),
    ({"arch": "softmax", "recipe": {"dropout": 0.5}}, ["does not support --dropout"]),
    ({"arch": "reader", "recipe": {"synthetic": 1.0, "loss": "cross_entropy"}}, ["--synthetic"]),
    ({"arch": "reader", "recipe": {"augment": True}}, ["--augment"]),
    ({"arch": "reader", "corrections": "c.csv"}, ["--corrections"]),
    ({"arch": "cnn", "data": "kmnist", "recipe": {"synthetic": 1.0}}, ["--synthetic"]),
    ({"arch": "cnn", "fonts": "fonts"}, ["--fonts"]),
    ({"arch": "reader", "teacher": ("cnn",)}, ["--teacher", "lines"]),
    ({"arch": "finder", "teacher": ("cnn",)}, ["--teacher", "pages"]),
    ({"arch": "capsnet", "teacher": ("cnn",)}, ["margin", "Leave --teacher out"]),
    ({"arch": "sigmoid_mlp", "teacher": ("cnn",)}, ["squared_error"]),
    ({"arch": "cnn", "teacher": ("finder",)}, ["finder is a model of pages"]),
    ({"teacher": ("fast", "cnn", "fast")}, ["fast is named twice"]),
    ({"recipe": {"distillation_weight": 0.5}}, ["--distillation-weight has no effect", "--teacher"]),
    ({"recipe": {"distillation_temperature": 1.5}}, ["--distillation-temperature has no effect"]),
    ({"arch": "softmax", "recipe": {"loss": "ctc"}}, ["The loss ctc is not for digits"]),
    ({"arch": "reader", "recipe": {"loss": "cross_entropy"}}, ["cross_entropy is not for lines"]),
    ({"members": 2, "arch": "reader"}, ["The task of 'reader' is lines", "task digit"]),
    ({"members": 2, "arch": "softmax", "recipe": {"dropout": 0.5}}, ["does not support --dropout"]),
    ({"arch": "fast", "start": "cnn"}, ["--arch is fast", "architecture cnn", "Leave --arch out"]),
    ({"recipe": {"freeze": 2}}, ["--freeze", "random weights", "--from"]),
    ({"recipe": {"rehearse": 0.3}}, ["--rehearse", "random weights", "--from"]),
    ({"start": "cnn", "recipe": {"initialization": "he"}}, ["--initialization he", "overwrite"]),
    ({"start": "robust", "recipe": {"normalization": "group"}}, ["--normalization", "batch"]),
    ({"start": "cnn", "recipe": {"rehearse": 0.3}}, ["not known", "'mnist'", "--rehearse"]),
    ({"start": "cnn", "original": "mnist", "recipe": {"rehearse": 0.3}}, ["not known", "other than 'mnist'"]),
    ({"start": "finder", "data": DATA, "recipe": {"rehearse": 0.3}}, ["--rehearse", "pages"]),
    ({"start": "reader", "data": DATA, "recipe": {"rehearse": 0.3}}, ["--rehearse", "lines"]),
    ({"start": 3}, ["--from"]),
    ({"start": ["fast"]}, ["--from"]),
    ({"start": "fast", "data": 3}, ["--data"]),
]


def config_from(**fields: Any) -> TrainConfig:
    return TrainConfig(**with_start(fields))


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    write_checkpoint(model, Header(architecture="torchvision/resnet18"), {"weight": torch.zeros(1)})
    wide = saved(tmp_path / "wide.safetensors", "resnet", arguments={"width": 32})
    write_ensemble(tmp_path / "both.safetensors", resolve_models(["fast", "cnn"]))
    cases: list[tuple[dict[str, Any], list[str]]] = [
        *CONTRADICTIONS,
        ({"start": str(model), "pretrained": True}, ["both name the weights"]),
        ({"start": str(wide)}, ["built with width"]),
        ({"start": str(tmp_path / "both.safetensors")}, ["is an ensemble", "one of its members"]),
    ]
    for settings, words in cases:
        with pytest.raises(UsageError) as caught:
            check_config(config_from(**settings))
        shown = f"{caught.value.cause} {caught.value.remedy}"
        assert all(word in shown for word in words), (settings, shown)
    check_config(TrainConfig(arch="torchvision/resnet18", pretrained=True, recipe={"freeze": -1}))


def test_every_recipe_may_be_given_whole_and_every_shipped_network_may_be_a_start_model() -> None:
    for name in (row.name for row in ARCHITECTURES):
        check_config(TrainConfig(arch=name, recipe=dataclasses.asdict(resolve_recipe(name))))
    for name in shipped_models():
        check_config(config_from(start=name))


def test_paths_become_absolute_and_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ttf").touch()
    assert resolve_paths(TrainConfig(fonts="a.ttf")).fonts == str(tmp_path / "a.ttf")
    (tmp_path / "cnn").mkdir()  # does not hide the shipped model
    (tmp_path / "run").mkdir()
    taught = resolve_paths(TrainConfig(teacher=("cnn", "run", "none")))
    assert taught.teacher == ("cnn", str(tmp_path / "run"), "none")
    with pytest.raises(InputError, match=r"none\.tra"):
        resolve_paths(TrainConfig(fonts="none.tra"))
    saved(tmp_path / "m.safetensors", "fast")
    assert resolve_paths(TrainConfig(start="m.safetensors")).start == str(tmp_path / "m.safetensors")
    assert resolve_paths(TrainConfig(start="cnn")).start == "cnn"
    with pytest.raises(ModelError):
        resolve_paths(TrainConfig(start="none.safetensors"))


def test_what_is_not_given_follows_from_the_start_model(tmp_path: Path) -> None:
    config = config_from(start="digit_or_none", data=DATA)
    assert (config.arch, config.original) == ("fast", "mnist")
    lr = LR_SHARE * resolve_recipe("fast").lr
    assert config.recipe == {"epochs": EPOCHS, "min_epoch_steps": MIN_EPOCH_STEPS, "lr": lr}
    model = saved(tmp_path / "m.safetensors", "mlp", arguments={"dropout": 0.25, "normalization": "group"})
    plain = config_from(start=str(model), data=DATA)
    assert (plain.recipe["dropout"], plain.recipe["normalization"]) == (0.25, "group")
    given = {"dropout": 0.5, "lr": 0.3, "epochs": 2, "freeze": 1}
    config = config_from(start=str(model), data=DATA, original="kmnist", recipe=given)
    assert {name: config.recipe[name] for name in given} == given and config.original == "kmnist"
    timed = config_from(start="fast", data=DATA, time_seconds=60.0)
    assert "epochs" not in timed.recipe and timed.recipe["min_epoch_steps"] == MIN_EPOCH_STEPS
    assert config_from(start="cnn").original is None  # the data of the start model are the new data
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
    assert config_from(start=str(checkpoint), data=DATA).original is None  # its run is not that one
    (run / "config.json").write_text(json.dumps({"config": {"data": str(tmp_path / "gone.npz")}}))
    assert config_from(start=str(run), data=DATA).original is None


def test_printed_settings_describe_the_same_fine_tuning() -> None:
    config = config_from(start="cnn", data=DATA, recipe={"freeze": 2, "rehearse": 0.3})
    printed = tomllib.loads(to_toml(flat_settings(config, resolve_recipe(config.arch, **config.recipe))))
    assert printed["from"] == "cnn" and printed["epochs"] == EPOCHS
    again = config_from(**config_fields(printed))
    assert (again.arch, again.start, again.original) == (config.arch, config.start, config.original)
    assert resolve_recipe(again.arch, **again.recipe) == resolve_recipe(config.arch, **config.recipe)
