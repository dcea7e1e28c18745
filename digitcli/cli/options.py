"""Make the options of a command of the dataclass that declares them, with what the shell completes."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from typer import Argument, Option

from digitcli.atomic_write import check_writable
from digitcli.errors import UsageError
from digitcli.settings import READERS, REQUIRED, Setting, setting, settings_of, user_settings

# Processes at most that read pictures: each takes 120 MB of memory.
MAX_PROCESSES = 8
# The formats in which `interpretation.drawing`, which loads NumPy, can draw.
DRAWINGS = (".png", ".html")
# The panel of the help for what is known about the numbers.
CONSTRAINTS = "Constraints on every number"


def _completion(*sources: str) -> Callable[[str], list[str]]:
    """Return a function that completes the names in some tables, `module:name`, which it imports."""

    def complete(incomplete: str) -> list[str]:
        names: list[str] = []
        for module, _, name in (source.partition(":") for source in sources):
            table = getattr(importlib.import_module(f"digitcli.{module}"), name)
            names += table() if callable(table) else table
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]

    return complete


complete_architecture = _completion("architectures.registry:architectures")
complete_shipped = _completion("inference.model_resolution:shipped_models")
complete_model = _completion(
    "architectures.registry:architectures", "inference.model_resolution:shipped_models"
)
complete_dataset = _completion("data.loading:DATASETS")
complete_device = _completion("inference.devices:DEVICE_NAMES")


def check_output(output: Path | None, suffixes: Sequence[str], force: bool) -> None:
    """Check, before any work is done, that the file of --output can be written.

    Raises:
        UsageError: its name ends in none of the suffixes, or there is nothing that --force could replace.
        OutputError: the file exists and `force` is not given, or its folder cannot be written.
    """
    if output is None:
        if force:
            raise UsageError("--force replaces the file of --output, which is missing.", "Give --output.")
        return
    if output.suffix.lower() not in suffixes:
        raise UsageError(f"--output is '{output}'.", f"Name a file that ends in {' or '.join(suffixes)}.")
    check_writable(output, force)


RuntimeChoice = Literal["auto", "torch", "onnxruntime"]


def device_setting(default: str | None = None, group: str = "") -> Any:
    """Declare the option --device, in a group of the help."""
    return setting(
        default, group, "Compute on cpu, cuda, cuda:N, mps, or auto for the fastest (default: auto).",
        unit="device", letter="-d", complete=complete_device,
    )  # fmt: skip


Command = Callable[..., None]


def with_settings(
    *owners: type, panels: Mapping[str, str], completions: Mapping[str, Callable[[str], Any]]
) -> Callable[[Command], Command]:
    """Give a command an option for every setting of these dataclasses, beside those of its own dataclass.

    The command gets the values of those that are given, by name.

    panels: the heading of each group, in order.
    completions: what the shell offers for a setting, by its name; see `Setting.complete`.
    """
    declared = [replace(each, complete=completions.get(each.name)) for each in user_settings(*owners)]

    def decorate(command: Command) -> Command:
        command.further_settings = declared, panels  # type: ignore[attr-defined]
        return command

    return decorate


def as_command(command: Command) -> Command:
    """Return the function that Typer runs for a command, which takes one dataclass of settings.

    Typer passes on what a person typed. The values are read and checked here, so that every mistake is
    reported in one way.
    """
    owner = get_type_hints(command)["options"]
    further_settings: tuple[list[Setting], Mapping[str, str]] = getattr(command, "further_settings", ([], {}))
    further, panels = further_settings
    further = sorted(further, key=lambda declared: list(panels).index(declared.group))
    own = settings_of(owner)

    @functools.wraps(command)
    def run(**texts: Any) -> None:
        values = read_values(own, texts)
        for declared in own:
            if declared.default is REQUIRED and declared.name not in values:
                raise UsageError(
                    f"{declared.option} is missing.", f"Give {declared.option} {_placeholder(declared)}."
                )
        options = owner(**values)
        command(options, read_values(further, texts)) if further else command(options)

    parameters = []
    for declared in (*further, *own):
        panel = panels.get(declared.group, declared.group)
        parameters += _parameters(declared, panel, has_negation=declared in further)
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def read_values(settings: Sequence[Setting], texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the settings that are given, by name.

    Raises:
        UsageError: a text is no value of its setting, or a setting is given by two of its names.
    """
    values = {}
    for declared in settings:
        names: list[str] = [declared.name, *map(_alias_parameter, declared.aliases)]
        given = [texts[name] for name in names if texts.get(name) not in (None, [])]
        if len(given) > 1 and not declared.is_list:
            former = ", ".join(declared.aliases)
            cause = f"{declared.option} is given twice; former names of it are {former}."
            raise UsageError(cause, "Give it once.")
        if given:
            texts_of_all = [text for each in given for text in each] if declared.is_list else given[0]
            values[declared.name] = declared.read(texts_of_all)
    return values


def _parameters(declared: Setting, panel: str, has_negation: bool) -> list[inspect.Parameter]:
    """Return the parameters from which Typer makes the option of a setting and its former names.

    has_negation: whether a flag that is off by default has an option that turns it off, as a recipe may turn
        it on.
    """
    kind: Any = bool if declared.type is bool else list[str] if declared.is_list else str
    details: dict[str, Any] = {
        "help": _help(declared, panel),
        "metavar": _placeholder(declared),
        "autocompletion": declared.complete or _complete_choice(declared.choices),
        "rich_help_panel": panel or None,
        "show_default": False,
        "hidden": declared.hidden,
    }
    if declared.is_argument:
        required = declared.default is REQUIRED
        default = inspect.Parameter.empty if required else None
        annotation: Any = Annotated[kind if required else kind | None, Argument(**details)]
        keyword = inspect.Parameter.KEYWORD_ONLY
        return [inspect.Parameter(declared.name, keyword, default=default, annotation=annotation)]
    has_negation = has_negation or declared.default is not False or declared.optional
    name = (
        f"{declared.option}/--no-{declared.option[2:]}" if kind is bool and has_negation else declared.option
    )
    names = list(filter(None, (name, declared.letter)))
    options = {declared.name: Option(*names, **details)}
    options |= {_alias_parameter(alias): Option(alias, hidden=True) for alias in declared.aliases}
    return [
        inspect.Parameter(
            parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
        )
        for parameter, option in options.items()
    ]


def _alias_parameter(alias: str) -> str:
    return "alias_" + alias.removeprefix("--").replace("-", "_")


def _placeholder(declared: Setting) -> str | None:
    """Return what the help shows for the value of a setting."""
    if declared.type is bool:
        return None
    kinds = {int: "N", float: "NUMBER", Path: "PATH"}
    choices = f"[{'|'.join(declared.choices)}]" if declared.choices else ""
    return declared.unit.upper() or choices or kinds.get(declared.item_type, "TEXT")


def _help(declared: Setting, panel: str) -> str:
    """Return the help of a setting with its range and, unless it or its panel tells it, its default."""
    default = declared.default
    is_told = "(default:" in declared.help + panel or default in (None, (), REQUIRED, True, False)
    limits = "" if declared.unit in READERS else declared.limits
    parts = [limits, "" if is_told else f"default: {default}"]
    brackets = f" ({'; '.join(filter(None, parts))})" if any(parts) else ""
    return f"{declared.help.removesuffix('.')}{brackets}."


def _complete_choice(choices: Sequence[str]) -> Callable[[str], list[str]] | None:
    if not choices:
        return None
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]
