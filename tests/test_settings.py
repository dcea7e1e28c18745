from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from digitcli.architectures.recipe import Recipe
from digitcli.errors import UsageError
from digitcli.settings import (
    check_effects,
    check_settings,
    freeze_lists,
    parse_duration,
    setting,
    settings_of,
)
from digitcli.training.configuration import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Tea:
    """Some settings of every type."""

    minutes: int = setting(3, "brewing", "Steep for this many minutes.", at_least=1, unit="minutes")
    strength: float = setting(0.5, "brewing", "Use this strength.", above=0, below=1)
    kind: Literal["green", "black", "white", "red"] = setting("green", "leaves", "Brew this kind.")
    milk: bool = setting(False, "serving", "Add milk.")
    sugar: float | None = setting(
        None, "serving", "Add this much sugar.", at_least=0, at_most=5, requires=("milk", (True,))
    )
    cups: int = setting(
        2, "serving", "Fill this many cups.", at_least=1, requires=("kind", ("black", "white", "red"))
    )
    origin: str = setting("Assam", "leaves", "Buy the leaves there.")
    guests: tuple[str, ...] = setting((), "serving", "Invite this guest.", unit="name")

    def __post_init__(self) -> None:
        freeze_lists(self)
        check_settings(self)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("minutes", 0, "a whole number of at least 1"),
        ("minutes", 1.5, "a whole number of at least 1"),
        ("minutes", True, "a whole number of at least 1"),
        ("minutes", None, "a whole number of at least 1"),
        ("minutes", 10**400, "a whole number of at least 1"),
        ("strength", 0, "a number above 0 and below 1"),
        ("strength", "strong", "a number above 0 and below 1"),
        ("strength", float("nan"), "a number above 0 and below 1"),
        ("sugar", 6, "a number from 0 to 5"),
        ("sugar", float("inf"), "a number from 0 to 5"),
        ("milk", "no", "true or false"),
        ("origin", 5, "a text"),
        ("guests", 5, "a list of texts"),
        ("guests", {"Ada": 1}, "a list of texts"),
        ("kind", "blak", "black"),
        ("kind", "oolong", "black"),
        ("kind", ["green"], "green"),
    ],
)
def test_an_error_names_the_option_the_value_and_the_allowed_values(
    name: str, value: object, allowed: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Tea(**{name: value})
    assert f"--{name}" in caught.value.cause and repr(value) in caught.value.cause
    assert allowed in caught.value.remedy


@pytest.mark.parametrize(
    ("guests", "expected"), [(["Ada", "Bo"], ("Ada", "Bo")), ("Ada", ("Ada",)), ([], ()), (("Bo",), ("Bo",))]
)
def test_lists_of_files_become_tuples(guests: Any, expected: tuple[str, ...]) -> None:
    assert Tea(guests=guests).guests == expected


def test_a_list_holds_texts_only() -> None:
    with pytest.raises(UsageError, match="--guests"):
        Tea(guests=["Ada", 5])  # type: ignore[arg-type]


def test_settings_are_listed_with_all_that_they_declare() -> None:
    described = {declared.name: declared for declared in settings_of(Tea)}
    assert list(described) == ["minutes", "strength", "kind", "milk", "sugar", "cups", "origin", "guests"]
    assert [name for name, declared in described.items() if declared.is_list] == ["guests"]
    assert described["kind"].choices == ("green", "black", "white", "red")
    assert described["sugar"].optional and described["sugar"].type is float
    assert (described["minutes"].default, described["minutes"].unit) == (3, "minutes")
    assert described["sugar"].requirement == "--milk"
    assert described["cups"].requirement == "--kind black, white or red"
    assert described["strength"].limits == "above 0 and below 1"
    assert not described["sugar"].has_effect(Tea()) and described["sugar"].has_effect(Tea(milk=True))


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        ({"sugar": 1.0}, True),
        ({"sugar": 1.0, "milk": False}, True),
        ({"sugar": 1.0, "milk": True}, False),
        ({"sugar": 0.0}, False),
        ({"sugar": 2.0, "milk": False}, False),  # the value that the tea had before
        ({"cups": 2}, False),  # the default
        ({"cups": 3}, True),
        ({"cups": 3, "kind": "black"}, False),
    ],
)
def test_a_change_that_has_no_effect_is_refused(changes: Mapping[str, Any], is_refused: bool) -> None:
    own = Tea(sugar=2.0)
    if is_refused:
        with pytest.raises(
            UsageError, match="has no effect without --milk|has no effect without --kind black, white or red"
        ):
            check_effects(Tea(**changes), changes, own)
    else:
        check_effects(Tea(**changes), changes, own)


@pytest.mark.parametrize(
    "declared", [*settings_of(Recipe), *settings_of(TrainConfig)], ids=lambda declared: declared.name
)
def test_every_setting_has_a_help_sentence_and_a_description_of_its_values(declared: Any) -> None:
    assert declared.help[0].isupper() and declared.help.endswith(".")
    assert declared.group and declared.allowed
    declared.check(declared.default)


@pytest.mark.parametrize("owner", [Recipe, TrainConfig])
def test_every_field_is_a_declared_setting(owner: type) -> None:
    names = {declared.name for declared in settings_of(owner)}
    assert set(owner.__dataclass_fields__) - names <= {"recipe"}  # the recipe of a run has its own settings


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("8s", 8), ("5m", 300), ("1h30m", 5400), ("1.5m", 90), (12.5, 12.5)]
)
def test_durations_are_seconds(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-5m", "5x", "m", "1.2.3s", "inf", "nan"])
def test_a_text_that_is_no_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--time"):
        parse_duration(text)
