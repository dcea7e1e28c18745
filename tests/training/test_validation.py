from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from digitcli.architectures.recipe import RECIPES
from digitcli.architectures.registry import resolve_recipe
from digitcli.errors import InputError, UsageError
from digitcli.training.configuration import TrainConfig
from digitcli.training.validation import check_config, resolve_paths


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"arch": "cnn", "pretrained": True}, "--pretrained"),
        (
            {"arch": "torchvision/x", "pretrained": True, "recipe": {"initialization": "he"}},
            "--initialization",
        ),
        ({"arch": "softmax", "recipe": {"momentum": 0.9}}, "--momentum"),
        ({"arch": "softmax", "recipe": {"optimizer": "sgd", "beta1": 0.5}}, "--beta1"),
        ({"arch": "reader", "recipe": {"synthetic": 1.0, "loss": "cross_entropy"}}, "--synthetic"),
        ({"arch": "cnn", "strokes": "pen.tra"}, "--strokes"),
        ({"arch": "cnn", "data": "kmnist", "recipe": {"synthetic": 1.0}}, "--synthetic"),
        ({"arch": "cnn", "fonts": "fonts"}, "--fonts"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_config(TrainConfig(**settings))
    assert option in f"{caught.value.cause} {caught.value.remedy}"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_whole_recipe_may_be_given(name: str) -> None:
    check_config(TrainConfig(arch=name, recipe=dataclasses.asdict(resolve_recipe(name))))


def test_paths_become_absolute_and_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pen.tra").touch()
    assert resolve_paths(TrainConfig(strokes="pen.tra")).strokes == str(tmp_path / "pen.tra")
    with pytest.raises(InputError, match=r"none\.tra"):
        resolve_paths(TrainConfig(fonts="none.tra"))
