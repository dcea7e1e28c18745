"""`digitcli train`: train an architecture, with the progress of the run on standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from typer import echo

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
    with_settings,
)
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.errors import PartialInputError, UsageError, counted
from digitcli.evaluation.statistics import SIGNIFICANCE, describe_p, mcnemar
from digitcli.events import EpochDone, Event, Notice, StepDone
from digitcli.inference.checkpoint import is_run
from digitcli.inference.devices import check_device_name, rank_and_size
from digitcli.settings import option_name, setting, settings_of, user_settings
from digitcli.training.checks import check_config, resolve_paths
from digitcli.training.configuration import (
    RUN,
    RunStarted,
    TrainConfig,
    config_fields,
    flat_settings,
    read_toml,
    to_toml,
    with_start,
)

if TYPE_CHECKING:
    from digitcli.training.state import TrainResult

OUTPUT = "Output"
OF_MEMBER = ("architecture", "seed", "checkpoint", "validation_accuracy", "test_accuracy", "test_nll")
OF_RECIPE = "(default: the recipe of the architecture)"
PANELS = {  # group of settings to its heading in the help
    RUN: "Run",
    DATA: "Data",
    TRANSFER: "Transfer: start from a trained model",
    OPTIMIZATION: f"Optimization {OF_RECIPE}",
    REGULARIZATION: f"Regularization {OF_RECIPE}",
    DISTILLATION: f"Distillation: learning from a teacher {OF_RECIPE}",
    AUGMENTATION: f"Augmentation {OF_RECIPE}",
}
COMPLETIONS: dict[str, Callable[[str], Any]] = {
    "arch": complete_architecture,
    "data": complete_dataset,
    "start": complete_shipped,
    "device": complete_device,
    "teacher": complete_shipped,
}


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of `digitcli train` beside the settings of a run."""

    # fmt: off
    output: Path | None = setting(None, OUTPUT, "Write the run to this folder (default: runs/ARCH-N).",
        unit="dir", letter="-o", aliases=("--out",))
    resume: Path | None = setting(None, OUTPUT, "Continue the run in this folder where it stopped.",
        unit="dir")
    resume_or_start: bool = setting(False, OUTPUT,
        "Continue the run in the folder of --output if there is one, else start it.")
    force: bool = setting(False, OUTPUT, "Replace an existing run.")
    tensorboard: Path | None = setting(None, OUTPUT,
        "Write the curves of the run for TensorBoard to a subfolder of this folder.", unit="dir")
    dry_run: bool = setting(False, OUTPUT, "Train on one batch and write nothing.")
    config: Path | None = setting(None, OUTPUT, "Read settings from this TOML file; options override it.",
        unit="file")
    print_config: bool = setting(False, OUTPUT, "Print all settings as TOML and do not train.")
    format: console.Format = setting("table", OUTPUT, "Print the result as a table or as JSON.")
    # fmt: on

    def check(self) -> None:
        """Check that the options fit together, or raise a `UsageError`."""
        for name, other in ((name, other) for name, others in CONFLICTS.items() for other in others):
            if getattr(self, name) and getattr(self, other):
                cause = f"{option_name(name)} does not go together with {option_name(other)}."
                raise UsageError(cause, "Give one of them.")
        if self.resume_or_start and self.output is None:
            cause = "--resume-or-start needs a folder that is the same each time."
            raise UsageError(cause, "Name it with --output.")


# Options that exclude each other: one names a run that another replaces or leaves out.
CONFLICTS = {
    "resume": ("output", "resume_or_start", "force", "dry_run", "print_config"),
    "resume_or_start": ("force", "dry_run", "print_config"),
    "tensorboard": ("dry_run", "print_config"),
}


@with_settings(TrainConfig, Recipe, panels=PANELS, completions=COMPLETIONS)
def train(options: TrainOptions, settings: dict[str, Any]) -> None:
    """Train an architecture by its recipe, and evaluate it once on the test set.

    Example: digitcli train --arch cnn

    A setting that you do not give is taken from the recipe of the architecture. To see the recipe, for
    example whether it has augmentation on, add --print-config: digitcli train --arch fast --print-config

    Ctrl-C saves the run, and --resume continues it as if it had not stopped.

    --members trains several networks that answer as one model, an ensemble.
    """
    options.check()
    resume = options.resume
    if options.resume_or_start and options.output and is_run(options.output):
        resume = options.output
    fields = config_fields((read_toml(options.config) if options.config else {}) | by_key(settings))
    checked = _check_fields(fields, is_new=resume is None)
    if options.print_config:
        return _print_config(checked, options.format)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.training import trainer
    with TrainingView() as view, stop_on_signals() as stop_signal:
        if options.dry_run:
            result = trainer.dry_run(checked, on_event=view)
        elif resume:
            changes = {field: getattr(checked, field) for field in fields}
            result = trainer.resume(
                resume, changes, tensorboard=options.tensorboard, on_event=view, stop_signal=stop_signal
            )
        else:
            result = trainer.train(
                checked, out=options.output, force=options.force, tensorboard=options.tensorboard,
                on_event=view, stop_signal=stop_signal,
            )  # fmt: skip
    if rank_and_size()[0] == 0:  # the first of several processes prints for all
        _show_result(result, options.format)


def by_key(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings, given by the names of their fields, by their keys in a configuration file."""
    keys = {declared.name: declared.key for declared in user_settings(TrainConfig, Recipe)}
    return {keys[name]: value for name, value in settings.items()}


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
    settings = flat_settings(config, resolve_recipe(config.arch, **config.recipe))
    console.show_json(settings) if format == "json" else echo(to_toml(settings), nl=False)


def _show_result(result: TrainResult, format: console.Format) -> None:
    if format == "json":
        left_out = ["misread"] if result.members else ["misread", "members", "best_member", "gained", "lost"]
        record = {name: value for name, value in vars(result).items() if name not in left_out}
        if result.members:
            record["members"] = [{name: vars(each)[name] for name in OF_MEMBER} for each in result.members]
        console.show_json(record)
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


def _table(result: TrainResult) -> dict[str, str]:
    calibration = ""
    if result.test_ece is not None:
        calibration = f"ECE {result.test_ece:.4f}, NLL {result.test_nll:.4f} at temperature"
        calibration += f" {result.temperature:.3f}"
    original, n = f"test of {result.original}", result.original_test_size
    rows = {
        "run": result.run or "dry run, nothing was written",
        "test": _accuracy(result.test_accuracy, result.test_size, result),
        "test before training": _accuracy(result.test_accuracy_before, result.test_size, result),
        original: _accuracy(result.original_accuracy, n, result),
        f"{original} before training": _accuracy(result.original_accuracy_before, n, result),
        "best member": describe_gain(result),
        "validation": console.percent(result.validation_accuracy),
        "calibration": calibration,
        "training": f"{counted(result.epochs, 'epoch')} in {console.duration(result.train_seconds)}"
        f" ({console.duration(result.total_seconds)} in total) on {result.device}, {result.dtype}",
    }
    return {name: value for name, value in rows.items() if value}


def _accuracy(accuracy: float | None, n: int | None, result: TrainResult) -> str:
    """Return a test accuracy and its interval; an F-measure, as of page finders, has none."""
    if accuracy is None or n is None or find_architecture(result.architecture).task == "page":
        return console.percent(accuracy)
    from digitcli.evaluation.metrics import wilson_interval

    interval = console.interval(*wilson_interval(round(accuracy * n), n))
    return f"{console.percent(accuracy)} of {n:,}; {interval}"


class TrainingView:
    """A view of the events of a run, for `with TrainingView() as view: train(config, on_event=view)`.

    What the members of an ensemble have in common is shown once.
    """

    def __init__(self) -> None:
        bar = TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn()
        self.progress = Progress(
            *bar, TextColumn("{task.fields[figures]}"), console=console.err, transient=True,
            auto_refresh=False, redirect_stdout=False, disable=not console.err.is_interactive,
        )  # fmt: skip
        self.task = self.progress.add_task("", total=1.0, visible=False, figures="")
        self.of_epochs = ""  # the number of epochs; it is unknown if a time was chosen
        self.loss_name = "loss"  # with a teacher it is a sum, unlike that of other runs
        self._shown: list[object] = []

    def __enter__(self) -> TrainingView:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice() if event.message not in self._shown:
                self._shown.append(event.message)
                console.show_notice(event.message)
            case RunStarted():
                by_time = event.config.time_seconds is not None
                self.of_epochs = "" if by_time else f"/{event.recipe.epochs}"
                self.loss_name = "loss by teacher and labels" if event.config.teacher else "loss"
                rows = describe_start(event)
                described = {**rows, "run": ""}
                if described not in self._shown:
                    self._shown.append(described)
                    console.err.print(console.pairs(rows))
            case EpochDone():
                console.show_message(
                    f"epoch {event.epoch}{self.of_epochs}  {self.loss_name} {event.train_loss:.4f}"
                    f"  validation {console.percent(event.validation_accuracy)}  lr {event.lr:.2g}  "
                    f"{event.images_per_second:,.0f} images/s  {console.duration(event.seconds)}"
                )
            case StepDone():
                left = console.duration(event.seconds * (1 - event.progress) / max(event.progress, 1e-9))
                figures = f"{left} left  {self.loss_name} {event.loss:.4f}  "
                figures += f"{event.images_per_second:,.0f} images/s"
                epoch = f"epoch {event.epoch}{self.of_epochs}"
                self.progress.update(
                    self.task, completed=event.progress, description=epoch, figures=figures, visible=True,
                    refresh=True,
                )  # fmt: skip


def draw_members(ensemble: TrainResult) -> Table:
    """Return a table of the members of an ensemble and of the ensemble, each with its accuracies and NLL."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("member", "architecture", "seed", "validation", "test", "test NLL"):
        table.add_column(heading, justify="left" if heading == "architecture" else "right")
    for number, each in enumerate((*ensemble.members, ensemble)):
        first, seed = ("all", "") if each is ensemble else (str(number), str(each.seed))
        accuracies = map(console.percent, (each.validation_accuracy, each.test_accuracy))
        likelihood = "" if each.test_nll is None else f"{each.test_nll:.4f}"
        table.add_row(first, each.architecture, seed, *accuracies, likelihood)
    return table


def describe_gain(ensemble: TrainResult) -> str:
    """Return whether an ensemble is better than its best member; empty where that was not measured."""
    if ensemble.best_member is None or ensemble.gained is None or ensemble.lost is None:
        return ""
    p = mcnemar(ensemble.gained, ensemble.lost)
    verdict = "better" if ensemble.gained > ensemble.lost else "worse"
    conclusion = f"the ensemble is {verdict}" if p < SIGNIFICANCE else "the difference may be chance"
    return (
        f"member {ensemble.best_member}; {ensemble.gained:,} of the test digits are read by the ensemble "
        f"alone, and {ensemble.lost:,} by this member alone: {conclusion} (p = {describe_p(p)})"
    )


def describe_start(start: RunStarted) -> dict[str, str]:
    """Return in words what is trained, on which data, by which recipe, and where the run is written."""
    config, recipe = start.config, start.recipe
    parameters = f"{start.parameters:,} parameters"
    if start.trained_parameters < start.parameters:
        parameters += f", {start.trained_parameters:,} of them trained,"
    stop = counted(recipe.epochs, "epoch")
    if config.time_seconds is not None:
        time = console.duration(config.time_seconds)
        stop = f"{stop} or {time}, whichever comes first" if "epochs" in config.recipe else time
    rows = {
        config.arch: f"{parameters} on {start.device}",
        "starts from": config.start or "",
        "data": f"{config.data}: {start.train_size:,} training, {start.validation_size:,} validation "
        f"and {start.test_size:,} test {start.unit}s",
        "stops after": stop,
        "teacher": ", ".join(config.teacher),
        **describe_recipe(recipe, has_teacher=bool(config.teacher)),
        "run": "dry run, nothing is written" if start.run is None else str(start.run),
    }
    if start.epochs_done or start.steps_done:
        steps = f" and {counted(start.steps_done, 'step')}" if start.steps_done else ""
        rows["continues"] = f"after epoch {start.epochs_done}{steps}"
    return {name: text for name, text in rows.items() if text}


def describe_recipe(recipe: Recipe, *, has_teacher: bool = False) -> dict[str, str]:
    """Return one line for each group of settings; settings that are off or without effect are left out.

    Networks that read lines have no augmentation, and so no line about it.
    """
    groups: dict[str, list[str]] = {}
    for declared in settings_of(recipe):
        value = getattr(recipe, declared.name)
        if declared.group == DISTILLATION and not has_teacher:
            continue
        if declared.name not in ("epochs", "augment") and value and declared.has_effect(recipe):
            words = declared.name.removeprefix(f"{declared.group}_").replace("_", " ")
            groups.setdefault(declared.group, []).append(words if value is True else f"{words} {value}")
    if recipe.loss != "ctc":
        groups.setdefault(AUGMENTATION, ["off"])
    return {group: ", ".join(settings) for group, settings in groups.items()}
