"""The options of a command, which its dataclass declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from digitcli.cli.options import as_command, with_settings
from digitcli.errors import UsageError
from digitcli.settings import FRACTION, REQUIRED, argument, setting

runner = CliRunner()


@dataclass(frozen=True, kw_only=True)
class TeaOptions:
    """A setting of every kind."""

    guests: tuple[str, ...] = argument("GUEST", "Invite these guests.", ())
    cups: int = setting(2, "", "Fill this many cups.", letter="-n", at_least=1)
    kind: Literal["green", "black"] = setting("green", "", "Brew this kind.")
    sugar: float | None = setting(None, "", "Add this much sugar.", unit=FRACTION, at_least=0, at_most=1)
    milk: bool = setting(False, "", "Add milk.")
    lids: bool = setting(True, "", "Close the cups.")
    tea_bags: bool = setting(False, "", "Has no effect.", hidden=True)
    output: Path | None = setting(None, "", "Write the bill here.", letter="-o", aliases=("--out", "--save"))
    cakes: tuple[int, ...] = setting(
        (), "", "Serve cakes of these sizes.", unit="cm", at_least=1, aliases=("--pies", "--buns")
    )


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """Settings of somebody else."""

    heat: float = setting(90.0, "stove", "Heat to this temperature.", unit="degrees", at_most=100)


def serve(*words: str) -> Any:
    """Return the options that a command gets for these words."""
    served: list[TeaOptions] = []

    def tea(options: TeaOptions) -> None:
        served.append(options)

    return _run(tea, served, words)


def _run(command: Any, served: list[Any], words: tuple[str, ...]) -> Any:
    app = typer.Typer()
    app.command()(as_command(command))
    done = runner.invoke(app, words)
    if isinstance(done.exception, UsageError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return served[0] if served else done.output


def test_what_is_not_given_has_its_default() -> None:
    assert serve() == TeaOptions()


def test_every_kind_of_value_is_read() -> None:
    words = (
        "Ada Bob -n 3 --kind black --sugar 5% --milk --no-lids --out bill.txt --cakes 20 --pies 26 --buns 8"
    )
    assert serve(*words.split()) == TeaOptions(
        guests=("Ada", "Bob"), cups=3, kind="black", sugar=0.05, milk=True, lids=False,
        output=Path("bill.txt"), cakes=(20, 26, 8),
    )  # fmt: skip


def test_mistakes_are_reported_in_one_way() -> None:
    for words, cause, remedy in [
        ("-n 0", "--cups is 0.", "It must be a whole number of at least 1."),
        ("-n two", "--cups is 'two'.", "It must be a whole number of at least 1."),
        ("--kind blak", "--kind is 'blak'.", "Did you mean black?"),
        ("--sugar 2", "--sugar is 2.0.", "It must be a number from 0 to 1."),
        ("--sugar x%", "--sugar is 'x%'.", "Give a fraction, for example 0.01 or 1%."),
        ("--cakes 20 --cakes 0", "--cakes is 0.", "It must be a whole number of at least 1."),
        ("-o a --save b", "--output is given twice; former names of it are --out, --save.", "Give it once."),
    ]:
        with pytest.raises(UsageError) as raised:
            serve(*words.split())
        assert (raised.value.cause, raised.value.remedy) == (cause, remedy), words


def test_the_help_shows_ranges_and_defaults_and_no_former_names() -> None:
    text = " ".join(serve("--help").replace("│", " ").split())
    assert "Fill this many cups (at least 1; default: 2)." in text
    assert "--lids" in text and "--no-lids" in text and "--no-milk" not in text
    assert "--output" in text and "--save" not in text and "--tea-bags" not in text
    assert "[green|black]" in text and "GUEST" in text


def test_an_argument_may_be_required() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Required:
        name: str = argument("NAME", "Greet this guest.", REQUIRED)

    def greet(options: Required) -> None:
        raise AssertionError

    greet.__annotations__["options"] = Required
    app = typer.Typer()
    app.command()(as_command(greet))
    assert runner.invoke(app, []).exit_code == 2


def test_a_command_gets_those_settings_of_others_that_are_given() -> None:
    served: list[Any] = []

    @with_settings(Kitchen, panels={"stove": "Stove"}, completions={})
    def tea(options: TeaOptions, given: dict[str, Any]) -> None:
        served.append((options.cups, given))

    assert _run(tea, served, ("--heat", "80")) == (2, {"heat": 80.0})
