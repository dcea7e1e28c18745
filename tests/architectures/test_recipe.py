from __future__ import annotations

import dataclasses

import pytest

from digitcli.architectures.recipe import AUGMENTATION, Recipe, augmentations
from digitcli.errors import UsageError
from digitcli.settings import settings_of


def test_a_recipe_refuses_values_outside_their_range() -> None:
    wrong: dict[str, tuple[object, ...]] = {
        "epochs": (0, 1.5, True), "batch_size": (0,), "momentum": (1,), "dropout": (1.0,),
        "lr": (0, float("nan"), float("inf"), 10**400, "fast"), "weight_decay": (-1, 10**400),
        "label_smoothing": (-0.1,), "ema_decay": (1,), "optimizer": ("luck",), "normalization": ("all",),
        "schedule": ("none",), "loss": ("hinge",), "augment": ("no",), "elastic": (5.1,),
        "random_erasing": (1.1,),
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(UsageError, match="--" + name.replace("_", "-")) as caught:
                Recipe(**{name: value})
            assert caught.value.remedy, (name, value)
    for name in ("label_smoothing", "synthetic"):  # they need the cross-entropy
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            Recipe(loss="squared_error", **{name: 0.1})
    with pytest.raises(UsageError, match="--epochs"):
        dataclasses.replace(Recipe(), epochs=0)


def test_augmentations_are_the_settings_of_their_group_and_require_augment() -> None:
    group = [declared for declared in settings_of(Recipe) if declared.group == AUGMENTATION]
    assert [declared.name for declared in group] == ["augment", *augmentations()]
    assert {"affine", "random_erasing", "mixup"} < set(augmentations())
