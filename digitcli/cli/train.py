"""`digitcli train`: train an architecture, with the progress of the run on standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
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
)
from digitcli.training.transfer import with_start

if TYPE_CHECKING:
    from digitcli.training.state import MemberResult, TrainResult

SPARKLINE_EPOCHS = 30  # epochs; more would not fit beside the other figures of a line
OUTPUT = "Output"
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

    output: Path | None = setting(
        None, OUTPUT, "Write the run to this folder (default: runs/ARCH-N).", unit="dir", letter="-o",
        aliases=("--out",),
    )  # fmt: skip
    resume: Path | None = setting(
        None, OUTPUT, "Continue the run in this folder where it stopped.", unit="dir"
    )
    resume_or_start: bool = setting(
        False, OUTPUT, "Continue the run in the folder of --output if there is one, else start it."
    )
    force: bool = setting(False, OUTPUT, "Replace an existing run.")
    tensorboard: Path | None = setting(
        None, OUTPUT, "Write the curves of the run for TensorBoard to a subfolder of this folder.", unit="dir"
    )
    dry_run: bool = setting(False, OUTPUT, "Train on one batch and write nothing.")
    config: Path | None = setting(
        None, OUTPUT, "Read settings from this TOML file; options override it.", unit="file"
    )
    print_config: bool = setting(False, OUTPUT, "Print all settings as TOML and do not train.")
    format: console.Format = setting("table", OUTPUT, "Print the result as a table or as JSON.")

    def check(self) -> None:
        """Check that the options fit together.

        Raises:
            UsageError: two of them contradict each other.
        """
        for name, others in CONFLICTS.items():
            for other in others:
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


def _table(result: TrainResult) -> dict[str, str]:
    calibration = ""
    if result.test_ece is not None:
        calibration = (
            f"ECE {result.test_ece:.4f}, NLL {result.test_nll:.4f} at temperature {result.temperature:.3f}"
        )
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
        live = Live(console=console.err, auto_refresh=False, transient=True, redirect_stdout=False)
        self.live = live if console.err.is_interactive else None
        self.started: RunStarted | None = None
        self.accuracies: list[float] = []
        self._shown: list[object] = []

    def __enter__(self) -> TrainingView:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice() if event.message not in self._shown:
                self._shown.append(event.message)
                console.show_notice(event.message)
            case RunStarted():
                self.started, self.accuracies = event, []
                rows = describe_start(event)
                described = {**rows, "run": ""}
                if described not in self._shown:
                    self._shown.append(described)
                    console.err.print(console.pairs(rows))
            case EpochDone():
                self.accuracies.append(event.validation_accuracy)
                console.show_message(
                    f"epoch {self._epoch_of_all(event.epoch)}  {self._loss_name()} {event.train_loss:.4f}  "
                    f"validation {console.percent(event.validation_accuracy)}  lr {event.lr:.2g}  "
                    f"{event.images_per_second:,.0f} images/s  {console.duration(event.seconds)}"
                )
            case StepDone() if self.live:
                self.live.update(self.draw_progress(event), refresh=True)

    def _loss_name(self) -> str:
        """Return the name of the training loss; with a teacher it is a sum, unlike that of other runs."""
        has_teacher = self.started is not None and self.started.config.teacher
        return "loss by teacher and labels" if has_teacher else "loss"

    def _epoch_of_all(self, epoch: int) -> str:
        """Return `3/8`, or `3` if a time was chosen, so that the number of epochs is unknown."""
        if self.started is None or self.started.config.time_seconds is not None:
            return str(epoch)
        return f"{epoch}/{self.started.recipe.epochs}"

    def draw_progress(self, step: StepDone) -> Group:
        """Return the live view of a step: the progress bar of the run and its figures."""
        bar = Table.grid(padding=(0, 2))
        left = step.seconds * (1 - step.progress) / max(step.progress, 1e-9)
        bar.add_row(
            f"epoch {self._epoch_of_all(step.epoch)}",
            ProgressBar(total=1.0, completed=step.progress, width=36),
            f"{100 * step.progress:3.0f} %",
            f"{step.images_per_second:,.0f} images/s",
            f"{console.duration(left)} left",
        )
        figures = f"{self._loss_name()} {step.loss:.4f}"
        if self.accuracies:
            figures += f"   validation {console.percent(self.accuracies[-1])}"
            if console.err.encoding.startswith("utf") and len(self.accuracies) > 1:
                figures += f"  {console.sparkline(self.accuracies[-SPARKLINE_EPOCHS:])}"
        return Group(bar, Text(figures, style="cyan"))


def draw_members(ensemble: TrainResult) -> Table:
    """Return a table of the members of an ensemble and of the ensemble, each with its accuracies and NLL."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("member", "architecture", "seed", "validation", "test", "test NLL"):
        table.add_column(heading, justify="left" if heading == "architecture" else "right")
    rows: list[tuple[str, str, MemberResult | TrainResult]] = [
        (str(number), str(member.seed), member) for number, member in enumerate(ensemble.members)
    ]
    for number, seed, each in (*rows, ("all", "", ensemble)):
        accuracies = map(console.percent, (each.validation_accuracy, each.test_accuracy))
        table.add_row(
            number,
            each.architecture,
            seed,
            *accuracies,
            "" if each.test_nll is None else f"{each.test_nll:.4f}",
        )
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
