from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest
from torch import nn

from digitcli import registry
from digitcli.config import Recipe
from digitcli.errors import ModelError, UsageError


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch):
    """Pretends that some entry points are installed."""

    def install(**targets: str) -> None:
        points = EntryPoints(
            EntryPoint(name, target, "digitcli.architectures") for name, target in targets.items()
        )
        monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
        registry.architectures.cache_clear()

    yield install
    monkeypatch.undo()
    registry.architectures.cache_clear()


def test_a_plugin_is_listed_without_being_imported(plugins) -> None:
    plugins(spikenet="no_such_module:spikenet")
    assert "spikenet" in registry.architectures()
    assert registry.find_architecture("spikenet").task == "digit"


def test_a_plugin_builds_and_has_the_default_recipe(plugins) -> None:
    plugins(flat="torch.nn:Flatten")
    assert isinstance(registry.create_model("flat"), nn.Flatten)
    assert registry.recipe_of("flat") == Recipe()


def test_a_plugin_that_cannot_be_imported_is_a_model_error(plugins) -> None:
    plugins(spikenet="no_such_module:spikenet")
    with pytest.raises(ModelError, match="spikenet.*no_such_module"):
        registry.create_model("spikenet")


def test_a_plugin_cannot_take_a_name_of_ours(plugins) -> None:
    plugins(cnn="torch.nn:Flatten")
    with pytest.raises(UsageError, match="Two architectures are named 'cnn'"):
        registry.architectures()


def test_an_unknown_name_gets_suggestions() -> None:
    with pytest.raises(UsageError) as caught:
        registry.find_architecture("lenet")
    assert "lenet5" in caught.value.remedy


def test_an_unknown_argument_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="takes no argument 'drop'") as caught:
        registry.create_model("cnn", drop=0.1)
    assert "dropout" in caught.value.remedy


def test_a_recipe_shows_the_dropout_an_architecture_is_built_with() -> None:
    assert registry.recipe_of("cnn").dropout == 0.5
    assert registry.recipe_of("cnn", dropout=0.1).dropout == 0.1
    assert registry.recipe_of("softmax").dropout is None


def test_dropout_for_an_architecture_without_it_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="has no dropout"):
        registry.recipe_of("lenet5", dropout=0.1)
