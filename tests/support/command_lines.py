"""Commands as a person types them, read by the program's own option parser without being run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from typer.main import get_command

from digitcli.architectures.recipe import Recipe
from digitcli.cli import COMMANDS, with_command
from digitcli.cli.options import read_values
from digitcli.cli.train import by_key
from digitcli.diagnosis.findings import Finding
from digitcli.settings import user_settings
from digitcli.training.configuration import TrainConfig, config_fields

# A command within a sentence: everything up to a punctuation mark.
WITHIN_TEXT = re.compile(rf"digitcli (?:{'|'.join(COMMANDS)})\b(?: [^\s(),;]+\b)*")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*\b")


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of the command that the arguments of `digitcli` name, if there is one."""
    group = get_command(with_command(arguments))
    with group.make_context("digitcli", list(arguments), resilient_parsing=False) as context:
        words = [*context._protected_args, *context.args]
        if not words:
            return {}
        command = group.commands[words[0]]  # type: ignore[attr-defined]
        with command.make_context(words[0], words[1:], parent=context) as of_command:
            return dict(of_command.params)


def train_config(command: str | None) -> TrainConfig:
    """Return the settings that a `digitcli train ...` gives."""
    assert command is not None
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("digitcli", "train")
    return TrainConfig(**_settings(parse([name, *arguments])))


def _settings(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `TrainConfig` among the parameters of `digitcli train`."""
    settings = user_settings(TrainConfig, Recipe)
    return config_fields(by_key(read_values(settings, parameters)))


def options_of(*names: str) -> set[str]:
    """Return every option of these commands."""
    options = {"--help"}
    for name in names:
        for parameter in get_command(with_command([name])).commands[name].params:  # type: ignore[attr-defined]
            options |= {*parameter.opts, *parameter.secondary_opts}
    return options


def assert_can_be_typed(finding: Finding) -> None:
    """Check that the program takes the command of a finding, and has the options that its remedy names.

    An option in a sentence is one of the commands that the finding shows, or of `digitcli train`.
    """
    shown = [finding.command or "", *WITHIN_TEXT.findall(finding.remedy)]
    commands = [shlex.split(text) for text in shown if text.startswith("digitcli ")]
    for _, name, *arguments in commands:
        parameters = parse([name, *arguments])
        if name == "train":
            _settings(parameters)
    names = {name for _, name, *_ in commands} & COMMANDS.keys() or {"train"}
    assert set(OPTION.findall(finding.remedy)) <= options_of(*names), finding
