from __future__ import annotations

import dataclasses

import pytest

from digitcli.architectures.recipe import AUGMENTATION, Recipe, augmentations
from digitcli.errors import UsageError
from digitcli.settings import settings_of


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch_size", 0),
        ("lr", 0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", 10**400),
        ("lr", "fast"),
        ("momentum", 1),
        ("weight_decay", -1),
        ("weight_decay", 10**400),
        ("dropout", 1.0),
        ("label_smoothing", -0.1),
        ("ema_decay", 1),
        ("optimizer", "luck"),
        ("normalization", "all"),
        ("schedule", "none"),
        ("loss", "hinge"),
        ("augment", "no"),
        ("elastic", 5.1),
        ("random_erasing", 1.1),
    ],
)
def test_a_recipe_refuses_values_outside_their_range(name: str, value: object) -> None:
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")) as caught:
        Recipe(**{name: value})
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["label_smoothing", "synthetic"])
def test_some_settings_need_the_cross_entropy(name: str) -> None:
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        Recipe(loss="squared_error", **{name: 0.1})


def test_a_changed_recipe_is_checked_again() -> None:
    with pytest.raises(UsageError, match="--epochs"):
        dataclasses.replace(Recipe(), epochs=0)


def test_augmentations_are_the_settings_of_their_group_and_require_augment() -> None:
    group = [declared for declared in settings_of(Recipe) if declared.group == AUGMENTATION]
    assert [declared.name for declared in group] == ["augment", *augmentations()]
    assert {"affine", "random_erasing", "mixup"} < set(augmentations())
