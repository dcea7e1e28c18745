from __future__ import annotations

import dataclasses
import sys

import pytest
from torch import nn

from digitcli.architectures import registry
from digitcli.architectures.recipe import AUGMENTATION, Recipe, augmentations
from digitcli.errors import ModelError, UsageError
from digitcli.inference import model_index
from digitcli.inference.model_index import describe_model, list_models
from digitcli.settings import settings_of


def test_a_plugin_is_listed_without_being_imported(plugins) -> None:
    plugins(spikenet="no_such_module:spikenet")
    assert "spikenet" in registry.architectures()
    assert registry.find_architecture("spikenet").task == "digit"
    with pytest.raises(ModelError, match="spikenet.*no_such_module"):
        registry.create_model("spikenet")


@pytest.mark.parametrize("name", ["cnn", "ensemble"])
def test_a_plugin_cannot_take_the_name_of_a_built_in_architecture(plugins, name: str) -> None:
    plugins(**{name: "torch.nn:Flatten"})
    with pytest.raises(UsageError, match=f"Two architectures are named '{name}'"):
        registry.architectures()


def test_a_plugin_brings_its_own_recipe_and_dropout(plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    def spikenet(dropout: float = 0.25) -> nn.Module:
        return nn.Dropout(dropout)

    spikenet.recipe = Recipe(epochs=3)
    monkeypatch.setattr(sys.modules[__name__], "spikenet", spikenet, raising=False)
    plugins(spikenet=f"{__name__}:spikenet")
    assert registry.resolve_recipe("spikenet") == Recipe(epochs=3, dropout=0.25)
    assert registry.create_model("spikenet").p == 0.25


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("raise ZeroDivisionError('oops')", "cannot be imported .*oops"),
        ("def net(): raise ZeroDivisionError('oops')", "oops"),
        ("def net(): return None", "NoneType"),
        ("from torch import nn\ndef net(): return nn.Linear(3, 10)", "fails"),
    ],
)
def test_a_plugin_that_fails_when_it_is_imported_built_or_run_is_a_model_error(
    plugins, tmp_path, monkeypatch: pytest.MonkeyPatch, lines: str, words: str
) -> None:
    (tmp_path / "plugged.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plugged", raising=False)
    plugins(spikenet="plugged:net")
    with pytest.raises(ModelError, match=words):
        describe_model("spikenet")
    if words == "fails":
        two = {name: registry.architectures()[name] for name in ("spikenet", "cnn")}
        monkeypatch.setattr(model_index, "architectures", lambda: two)
        monkeypatch.setattr(model_index, "shipped_models", dict)
        rows = {row.name: row for row in list_models()}
        assert rows["spikenet"].parameters is None and rows["cnn"].parameters == 3_274_634


def test_a_plugin_with_another_object_as_its_recipe_is_a_model_error(plugins, tmp_path, monkeypatch) -> None:
    (tmp_path / "odd_recipe.py").write_text("def net(): pass\nnet.recipe = {'epochs': 3}")
    monkeypatch.syspath_prepend(tmp_path)
    plugins(spikenet="odd_recipe:net")
    with pytest.raises(ModelError, match="recipe of architecture 'spikenet' is a dict"):
        registry.resolve_recipe("spikenet")


def test_an_unknown_name_or_argument_gets_suggestions() -> None:
    for call, words in (
        (lambda: registry.find_architecture("lenet"), "lenet5"),
        (lambda: registry.create_model("cnn", drop=0.1), "dropout"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert words in caught.value.remedy


def test_dropout_for_an_architecture_without_it_is_a_usage_error() -> None:
    assert registry.resolve_recipe("cnn").dropout == 0.5
    assert registry.resolve_recipe("cnn", dropout=0.1).dropout == 0.1
    with pytest.raises(UsageError, match="--dropout") as caught:
        registry.resolve_recipe("lenet5", dropout=0.1)
    named = caught.value.remedy.rstrip(".").partition("that has it: ")[2].split(", ")
    assert named and all(registry.resolve_recipe(name).dropout is not None for name in named)
    with pytest.raises(UsageError, match="--dropout") as of_pages:  # there is no other architecture for pages
        registry.resolve_recipe("finder", dropout=0.1)
    assert of_pages.value.remedy == "Leave --dropout out."


def test_a_setting_without_effect_on_an_architecture_is_refused() -> None:
    cases: list[tuple[str, dict[str, object], str]] = [
        ("cnn", {"stochastic_depth": 0.1}, "--stochastic-depth"),
        ("lenet5", {"normalization": "group"}, "--normalization"),
        ("torchvision/resnet18", {"stochastic_depth": 0.1}, "--stochastic-depth"),
        ("softmax", {"elastic": 1.0}, "--augment"),
        ("fast", {"augment": False, "elastic": 1.0}, "--augment"),
        ("softmax", {"momentum": 0.9}, "--momentum"),
        ("softmax", {"optimizer": "sgd", "beta1": 0.5}, "--beta1"),
        ("sigmoid_mlp", {"label_smoothing": 0.1}, "--label-smoothing"),
    ]
    for name, changes, option in cases:
        with pytest.raises(UsageError) as caught:
            registry.resolve_recipe(name, **changes)
        assert option in f"{caught.value.cause} {caught.value.remedy}", (name, changes)


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
