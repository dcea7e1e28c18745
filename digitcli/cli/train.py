"""`digitcli train`: train an architecture."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option, echo

from digitcli import console
from digitcli.architectures.recipe import (
    AUGMENTATION,
    DATA,
    DISTILLATION,
    OPTIMIZATION,
    REGULARIZATION,
    TRANSFER,
    Recipe,
)
from digitcli.architectures.registry import find_architecture, resolve_recipe
from digitcli.cli.options import (
    complete_architecture,
    complete_dataset,
    complete_device,
    complete_shipped,
    tensorboard_option,
)
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.cli.views.training import TrainingView, describe_gain, draw_members
from digitcli.errors import PartialInputError, UsageError, counted
from digitcli.inference.checkpoint import RUNS, is_run
from digitcli.inference.devices import check_device_name, rank_and_size
from digitcli.settings import DURATION, PATH, Setting, settings_of
from digitcli.training.checks import check_config, resolve_paths
from digitcli.training.configuration import (
    RUN,
    TrainConfig,
    config_fields,
    flat_settings,
    read_toml,
    to_toml,
)
from digitcli.training.transfer import with_start

if TYPE_CHECKING:
    from digitcli.training.state import TrainResult

OUTPUT = "Output"
PANELS = {  # group of settings to its heading in the help
    RUN: "Run",
    DATA: "Data",
    TRANSFER: "Transfer: start from a trained model",
    OPTIMIZATION: "Optimization (default: the recipe of the architecture)",
    REGULARIZATION: "Regularization (default: the recipe of the architecture)",
    DISTILLATION: "Distillation: learning from a teacher (default: the recipe of the architecture)",
    AUGMENTATION: "Augmentation (default: the recipe of the architecture)",
}
COMPLETIONS: dict[str, Callable[[str], Any]] = {
    "arch": complete_architecture,
    "data": complete_dataset,
    "original": complete_dataset,
    "start": complete_shipped,
    "device": complete_device,
    "teacher": complete_shipped,
}

Out = Annotated[
    Path | None,
    Option(
        metavar="DIR", help="Write the run to this folder (default: runs/ARCH-N).", rich_help_panel=OUTPUT
    ),
]
Name = Annotated[
    str | None, Option(metavar="NAME", help="Write the run to runs/NAME.", rich_help_panel=OUTPUT)
]
Resume = Annotated[
    Path | None,
    Option(metavar="DIR", help="Continue the run in this folder where it stopped.", rich_help_panel=OUTPUT),
]
ResumeOrStart = Annotated[
    bool,
    Option(
        "--resume-or-start",
        help="Continue the run in the folder of --out or --name if there is one, else start it: one command "
        "for every attempt of a scheduler or of torchrun.",
        rich_help_panel=OUTPUT,
    ),
]
Force = Annotated[bool, Option("--force", help="Replace an existing run.", rich_help_panel=OUTPUT)]
DryRun = Annotated[
    bool, Option("--dry-run", help="Train on one batch and write nothing.", rich_help_panel=OUTPUT)
]
Config = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Read settings from this TOML file; options override it.",
        rich_help_panel=OUTPUT,
    ),
]
PrintConfig = Annotated[
    bool,
    Option("--print-config", help="Print all settings as TOML and do not train.", rich_help_panel=OUTPUT),
]
TensorBoard = Annotated[Path | None, tensorboard_option(OUTPUT)]
Format = Annotated[
    console.Format,
    Option(help="Print the result as a table or as JSON.", rich_help_panel=OUTPUT),
]


def with_options_for(*declarations: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every setting of some dataclasses, in place of its `**settings`.

    An option that is not given is None, so that the file of `--config` and the recipe can decide.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        settings = [declared for owner in declarations for declared in settings_of(owner)]
        settings.sort(key=lambda declared: list(PANELS).index(declared.group))
        parameters = [*map(_option, settings), *own]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _option(declared: Setting) -> inspect.Parameter:
    """Return the parameter from which Typer makes the option of a setting."""
    kind: Any = {DURATION: str, PATH: Path}.get(declared.unit, declared.type)
    kind = list[str] if declared.is_list else kind
    name = f"{declared.option}/--no-{declared.option[2:]}" if kind is bool else declared.option
    shows_default = isinstance(declared.default, str | int) and not isinstance(declared.default, bool)
    has_default = shows_default and declared not in settings_of(Recipe)
    limits = "" if declared.unit == DURATION else declared.limits
    details = [limits, f"default: {declared.default}" if has_default else ""]
    brackets = f" ({'; '.join(filter(None, details))})" if any(details) else ""
    option = Option(
        *filter(None, (name, declared.letter)),
        help=f"{declared.help.removesuffix('.')}{brackets}.",
        metavar=declared.unit.upper() or None,
        autocompletion=COMPLETIONS.get(declared.name),
        rich_help_panel=PANELS[declared.group],
    )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(
        declared.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


@with_options_for(TrainConfig, Recipe)
def train(
    *,
    out: Out = None,
    name: Name = None,
    resume: Resume = None,
    resume_or_start: ResumeOrStart = False,
    force: Force = False,
    tensorboard: TensorBoard = None,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
    format: Format = "table",
    **settings: Any,
) -> None:
    """Train an architecture by its recipe, and evaluate it once on the test set.

    Example: digitcli train --arch cnn

    A setting that you do not give is taken from the recipe of the architecture. To see the recipe, for
    example whether it has augmentation on, add --print-config: digitcli train --arch fast --print-config

    Ctrl-C saves the run, and --resume continues it as if it had not stopped.

    --members, --member-archs and --snapshots train several networks that answer as one model, an ensemble.
    """
    _check_options(out, name, resume, force, tensorboard, dry_run or print_config)
    if resume_or_start:
        folder = _folder_to_resume_or_start(out, name, resume or force or dry_run or print_config)
        resume = folder if is_run(folder) else None
    fields = config_fields((read_toml(config) if config else {}) | _given(settings))
    checked = _check_fields(fields, is_new=resume is None)
    if print_config:
        return _print_config(checked, format)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.training import trainer
    with TrainingView() as view, stop_on_signals() as stop_signal:
        if dry_run:
            result = trainer.dry_run(checked, on_event=view)
        elif resume:
            changes = {field: getattr(checked, field) for field in fields}
            result = trainer.resume(
                resume, changes, tensorboard=tensorboard, on_event=view, stop_signal=stop_signal
            )
        else:
            result = trainer.train(
                checked, out=out, name=name, force=force, tensorboard=tensorboard,
                on_event=view, stop_signal=stop_signal,
            )  # fmt: skip
    if rank_and_size()[0] == 0:  # the first of several processes prints for all
        _show_result(result, format)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the given options by their keys in a configuration file."""
    keys = {declared.name: declared.key for owner in (TrainConfig, Recipe) for declared in settings_of(owner)}
    return {
        keys[name]: str(value) if isinstance(value, Path) else value
        for name, value in settings.items()
        if value is not None
    }


def _check_options(
    out: Path | None,
    name: str | None,
    resume: Path | None,
    force: bool,
    tensorboard: Path | None,
    writes_nothing: bool,
) -> None:
    if sum(option is not None for option in (out, name, resume)) > 1:
        raise UsageError("--out, --name and --resume each name the run folder.", "Give one of them.")
    if resume and force:
        raise UsageError("--resume continues a run, but --force replaces it.", "Give one of them.")
    if resume and writes_nothing:
        cause = "--resume continues a run with its own settings."
        raise UsageError(cause, "Leave --dry-run and --print-config out.")
    if tensorboard and writes_nothing:
        cause = "--tensorboard writes a run, but --dry-run and --print-config write nothing."
        raise UsageError(cause, "Leave --tensorboard out.")
    if name is not None and (name in ("", ".", "..") or "/" in name or "\\" in name):
        raise UsageError(f"--name is '{name}'.", "Give a plain name, or a folder with --out.")


def _folder_to_resume_or_start(out: Path | None, name: str | None, is_contradicted: object) -> Path:
    if is_contradicted:
        cause = "--resume-or-start continues or starts a run."
        raise UsageError(cause, "Leave --resume, --force, --dry-run and --print-config out.")
    if out is None and name is None:
        cause = "--resume-or-start needs a folder that is the same each time."
        raise UsageError(cause, "Name it with --out or --name.")
    return out or RUNS / str(name)


def _check_fields(fields: dict[str, Any], is_new: bool) -> TrainConfig:
    """Return the configuration; find every mistake in the arguments before anything heavy is loaded.

    A run that is continued has its own architecture, so that only `trainer.resume` can check the recipe.
    """
    from digitcli.data.loading import find_dataset

    config = resolve_paths(TrainConfig(**(with_start(fields) if is_new else fields)))
    if is_new:
        check_config(config)
    check_device_name(config.device)
    path = find_dataset(config.data)
    return config if path is None else replace(config, data=str(path.resolve()))


def _print_config(config: TrainConfig, format: console.Format) -> None:
    if config.member_archs is not None:
        cause = "--print-config prints one recipe, but --member-archs names several architectures."
        raise UsageError(cause, "Name one of them with --arch.")
    settings = flat_settings(config, resolve_recipe(config.arch, **config.recipe))
    console.show_json(settings) if format == "json" else echo(to_toml(settings), nl=False)


def _show_result(result: TrainResult, format: console.Format) -> None:
    if format == "json":
        of_ensembles = () if result.members else ("members", "best_member", "gained", "lost")
        left_out = ("misread", *of_ensembles)
        console.show_json({name: value for name, value in vars(result).items() if name not in left_out})
    else:
        if result.members:
            console.show_table(draw_members(result))
        console.show_table(console.pairs(_table(result)))
    if result.unreadable:
        files = counted(result.unreadable, "file")
        raise PartialInputError(
            f"{files} of '{result.data}' could not be read; the others were used.",
            "Repair or remove them; the first ones are named above.",
        )


def _accuracy(accuracy: float | None, n: int | None, architecture: str) -> str:
    """Return a test accuracy and its interval; an F-measure, as of page finders, has none."""
    if accuracy is None or n is None or find_architecture(architecture).task == "page":
        return console.percent(accuracy)
    from digitcli.evaluation.metrics import wilson_interval

    interval = console.interval(*wilson_interval(round(accuracy * n), n))
    return f"{console.percent(accuracy)} of {n:,}; {interval}"


def _table(result: TrainResult) -> dict[str, str]:
    calibration = ""
    if result.test_ece is not None:
        calibration = (
            f"ECE {result.test_ece:.4f}, NLL {result.test_nll:.4f} at temperature {result.temperature:.3f}"
        )
    rows = {
        "run": result.run or "dry run, nothing was written",
        **_test_accuracies(result),
        "best member": describe_gain(result),
        "validation": console.percent(result.validation_accuracy),
        "calibration": calibration,
        "training": f"{counted(result.epochs, 'epoch')} in {console.duration(result.train_seconds)}"
        f" ({console.duration(result.total_seconds)} in total) on {result.device}, {result.dtype}",
    }
    return {name: value for name, value in rows.items() if value}


def _test_accuracies(result: TrainResult) -> dict[str, str]:
    """Return the test accuracies of a run, and those that its start model had."""
    original = f"test of {result.original}"
    rows = {
        "test": (result.test_accuracy, result.test_size),
        "test before training": (result.test_accuracy_before, result.test_size),
        original: (result.original_accuracy, result.original_test_size),
        f"{original} before training": (result.original_accuracy_before, result.original_test_size),
    }
    return {name: _accuracy(*figures, result.architecture) for name, figures in rows.items()}
