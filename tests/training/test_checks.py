"""Settings that do not fit together are refused, and paths in settings become absolute."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.architectures.recipe import RECIPES
from digitcli.architectures.registry import ENSEMBLE, resolve_recipe
from digitcli.errors import InputError, ModelError, UsageError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import shipped_models
from digitcli.training.checks import check_config, resolve_paths
from digitcli.training.configuration import TrainConfig
from digitcli.training.transfer import with_start
from tests.support.models import saved

DATA = "usps"  # not the data of the shipped models, and not read by these tests
# Settings, and words of the cause or the remedy.
CONTRADICTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"arch": "cnn", "pretrained": True}, ["--pretrained"]),
    (
        {"arch": "torchvision/x", "pretrained": True, "recipe": {"initialization": "he"}},
        ["--initialization he", "overwrite"],
    ),
    ({"arch": "softmax", "recipe": {"momentum": 0.9}}, ["--momentum"]),
    ({"arch": "softmax", "recipe": {"optimizer": "sgd", "beta1": 0.5}}, ["--beta1"]),
    ({"arch": "reader", "recipe": {"synthetic": 1.0, "loss": "cross_entropy"}}, ["--synthetic"]),
    ({"arch": "reader", "recipe": {"augment": True}}, ["--augment"]),
    ({"arch": "reader", "corrections": "c.csv"}, ["--corrections"]),
    ({"arch": "cnn", "recipe": {"loss": "ctc"}}, ["loss ctc"]),
    ({"arch": "cnn", "data": "kmnist", "recipe": {"synthetic": 1.0}}, ["--synthetic"]),
    ({"arch": "cnn", "fonts": "fonts"}, ["--fonts"]),
    ({"arch": "reader", "teacher": ("cnn",)}, ["--teacher", "lines"]),
    ({"arch": "finder", "teacher": ("cnn",)}, ["--teacher", "pages"]),
    ({"arch": "capsnet", "teacher": ("cnn",)}, ["margin", "--loss cross_entropy"]),
    ({"arch": "sigmoid_mlp", "teacher": ("cnn",)}, ["squared_error"]),
    ({"arch": "cnn", "teacher": ("finder",)}, ["finder is a model of pages"]),
    ({"teacher": ("fast", "cnn", "fast")}, ["fast is named twice"]),
    ({"recipe": {"distillation_weight": 0.5}}, ["--distillation-weight has no effect", "--teacher"]),
    ({"recipe": {"distillation_temperature": 1.5}}, ["--distillation-temperature has no effect"]),
    ({"members": 3, "member_archs": "cnn,vgg"}, ["names 2 architectures, but --members is 3", "Leave"]),
    ({"member_archs": "cnn"}, ["two members or more", "commas"]),
    ({"member_archs": "cnn,vgg", "arch": "mlp"}, ["--arch is mlp", "Leave --arch out"]),
    ({"member_archs": "cnn,cmm"}, ["no architecture named 'cmm'", "cnn"]),
    ({"members": 2, "arch": "reader"}, ["The task of 'reader' is lines", "task digit"]),
    ({"member_archs": "cnn,finder"}, ["The task of 'finder' is pages", "task digit"]),
    ({"members": 2, "arch": "softmax", "recipe": {"dropout": 0.5}}, ["does not support --dropout"]),
    ({"arch": "fast", "start": "cnn"}, ["--arch is fast", "architecture cnn", "Leave --arch out"]),
    ({"start": "cnn", "member_archs": "cnn,resnet"}, ["--from", "--member-archs names", "--members"]),
    ({"recipe": {"freeze": 2}}, ["--freeze", "random weights", "--from"]),
    ({"recipe": {"rehearse": 0.3}}, ["--rehearse", "random weights", "--from"]),
    ({"original": "mnist"}, ["--original", "--from"]),
    ({"start": "cnn", "recipe": {"initialization": "he"}}, ["--initialization he", "overwrite"]),
    ({"start": "robust", "recipe": {"normalization": "group"}}, ["--normalization", "batch"]),
    ({"start": "cnn", "recipe": {"rehearse": 0.3}}, ["not known", "'mnist'", "--original"]),
    ({"start": "cnn", "original": "mnist", "recipe": {"rehearse": 0.3}}, ["both mnist"]),
    ({"start": "finder", "data": DATA, "recipe": {"rehearse": 0.3}}, ["--rehearse", "its pages"]),
    ({"start": "reader", "data": DATA, "recipe": {"rehearse": 0.3}}, ["--rehearse", "its lines"]),
]


def config_from(**fields: Any) -> TrainConfig:
    return TrainConfig(**with_start(fields))


@pytest.mark.parametrize(("settings", "words"), CONTRADICTIONS, ids=str)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        check_config(config_from(**settings))
    assert all(word in f"{caught.value.cause} {caught.value.remedy}" for word in words), caught.value


def test_pretrained_weights_and_a_start_model_exclude_each_other(tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    write_checkpoint(model, Header(architecture="torchvision/resnet18"), {"weight": torch.zeros(1)})
    with pytest.raises(UsageError, match="both name the weights"):
        check_config(config_from(start=str(model), pretrained=True))
    frozen = TrainConfig(arch="torchvision/resnet18", pretrained=True, recipe={"freeze": -1})
    check_config(frozen)


def test_a_model_with_other_arguments_is_refused(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.safetensors", "resnet", arguments={"width": 32})
    with pytest.raises(UsageError, match="built with width"):
        check_config(config_from(start=str(model)))


def test_every_recipe_may_be_given_whole_and_every_shipped_network_may_be_a_start_model() -> None:
    for name in RECIPES:
        check_config(TrainConfig(arch=name, recipe=dataclasses.asdict(resolve_recipe(name))))
    for name in shipped_models().keys() - {ENSEMBLE.name}:
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


def test_the_path_of_a_start_model_becomes_absolute_but_names_stay(tmp_path: Path, few_digits: Path) -> None:
    saved(tmp_path / "m.safetensors", "fast")
    config = resolve_paths(TrainConfig(start="m.safetensors", original=str(few_digits)))
    assert (config.start, config.original) == (str(tmp_path / "m.safetensors"), str(few_digits))
    named = resolve_paths(TrainConfig(start="cnn", original="mnist"))
    assert (named.start, named.original) == ("cnn", "mnist")
    with pytest.raises(ModelError):
        resolve_paths(TrainConfig(start="none.safetensors"))
