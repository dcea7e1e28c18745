from __future__ import annotations

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


def test_an_error_names_the_option_the_value_and_the_allowed_values() -> None:
    many, share, amount = (
        "a whole number of at least 1",
        "a number above 0 and below 1",
        "a number from 0 to 5",
    )
    wrong: list[tuple[str, str, list[object]]] = [
        ("minutes", many, [0, 1.5, True, None, 10**400]),
        ("strength", share, [0, "strong", float("nan")]),
        ("sugar", amount, [6, float("inf")]),
        ("milk", "true or false", ["no"]),
        ("origin", "a text", [5]),
        ("guests", "a list of texts", [5, {"Ada": 1}]),
        ("kind", "black", ["blak", "oolong"]),
        ("kind", "green", [["green"]]),
    ]
    for name, allowed, values in wrong:
        for value in values:
            with pytest.raises(UsageError) as caught:
                Tea(**{name: value})  # type: ignore[arg-type]
            assert f"--{name}" in caught.value.cause and repr(value) in caught.value.cause, value
            assert allowed in caught.value.remedy, value


def test_lists_of_files_become_tuples() -> None:
    lists: list[tuple[Any, tuple[str, ...]]] = [(["Ada", "Bo"], ("Ada", "Bo")), ("Ada", ("Ada",)), ([], ())]
    for guests, expected in lists:
        assert Tea(guests=guests).guests == Tea(guests=expected).guests == expected
    with pytest.raises(UsageError, match="--guests is 5"):
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


def test_a_change_that_has_no_effect_is_refused() -> None:
    refused: list[dict[str, Any]] = [{"sugar": 1.0}, {"sugar": 1.0, "milk": False}, {"cups": 3}]
    effective: list[dict[str, Any]] = [
        {"sugar": 1.0, "milk": True},
        {"sugar": 0.0},
        {"sugar": 2.0, "milk": False},  # the value that the tea had before
        {"cups": 2},  # the default
        {"cups": 3, "kind": "black"},
    ]
    own = Tea(sugar=2.0)
    for changes in effective:
        check_effects(Tea(**changes), changes, own)
    for changes in refused:
        with pytest.raises(UsageError, match="has no effect without --(milk|kind black, white or red)"):
            check_effects(Tea(**changes), changes, own)


def test_every_setting_has_a_help_sentence_and_a_description_of_its_values() -> None:
    for declared in (*settings_of(Recipe), *settings_of(TrainConfig)):
        assert declared.help[0].isupper() and declared.help.endswith("."), declared.name
        assert declared.group and declared.allowed, declared.name
        declared.check(declared.default)


@pytest.mark.parametrize("owner", [Recipe, TrainConfig])
def test_every_field_is_a_declared_setting(owner: type) -> None:
    names = {declared.name for declared in settings_of(owner)}
    assert set(owner.__dataclass_fields__) - names <= {"recipe"}  # the recipe of a run has its own settings


def test_durations_are_seconds() -> None:
    durations = {"90": 90, "8s": 8, "5m": 300, "1h30m": 5400, "1.5m": 90, 12.5: 12.5}
    assert {text: parse_duration(text) for text in durations} == durations
    for text in ("", "soon", "0", "-5m", "5x", "m", "1.2.3s", "inf", "nan"):
        with pytest.raises(UsageError, match="--time"):
            parse_duration(text)
