"""The progress of a training run on standard error: a live view on a terminal, else plain lines."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.architectures.recipe import AUGMENTATION, DISTILLATION, Recipe
from digitcli.errors import counted
from digitcli.evaluation.statistics import SIGNIFICANCE, describe_p, mcnemar
from digitcli.events import EpochDone, Event, Notice, RunStarted, StepDone
from digitcli.settings import settings_of
from digitcli.training.configuration import TrainConfig

if TYPE_CHECKING:
    from digitcli.training.state import MemberResult, TrainResult

SPARKLINE_EPOCHS = 30  # epochs; more would not fit beside the other figures of a line


class TrainingView:
    """A view of the events of a run, for `with TrainingView() as view: train(config, on_event=view)`.

    What the members of an ensemble have in common is shown once.
    """

    def __init__(self) -> None:
        live = Live(console=console.err, auto_refresh=False, transient=True, redirect_stdout=False)
        self.live = live if console.err.is_interactive else None
        self.started: RunStarted | None = None
        self.epochs: list[EpochDone] = []
        self._shown: set[str] = set()
        self._described: dict[str, str] = {}

    def __enter__(self) -> TrainingView:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice() if event.message not in self._shown:
                self._shown.add(event.message)
                console.show_notice(event.message)
            case RunStarted():
                self.started, self.epochs = event, []
                self._show_start(event)
            case EpochDone():
                self.epochs.append(event)
                console.show_message(self._epoch_line(event))
            case StepDone() if self.live:
                self.live.update(self.draw_progress(event), refresh=True)

    def _show_start(self, start: RunStarted) -> None:
        """Print what is trained, unless the last member of an ensemble was trained so too."""
        rows = describe_start(start)
        described = {name: text for name, text in rows.items() if name != "run"}
        if described != self._described:
            self._described = described
            console.err.print(console.pairs(rows))

    def _epoch_line(self, done: EpochDone) -> str:
        return (
            f"epoch {self._epoch_of_all(done.epoch)}  {self._loss_name()} {done.train_loss:.4f}  "
            f"validation {console.percent(done.validation_accuracy)}  lr {done.lr:.2g}  "
            f"{done.images_per_second:,.0f} images/s  {console.duration(done.seconds)}"
        )

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
        if self.epochs:
            accuracies = [done.validation_accuracy for done in self.epochs]
            figures += f"   validation {console.percent(accuracies[-1])}"
            if console.err.encoding.startswith("utf") and len(accuracies) > 1:
                figures += f"  {console.sparkline(accuracies[-SPARKLINE_EPOCHS:])}"
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
        nll = "" if each.test_nll is None else f"{each.test_nll:.4f}"
        table.add_row(number, each.architecture, seed, *accuracies, nll)
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
    rows = {
        start.config.arch: f"{_parameters(start)} on {start.device}",
        "starts from": start.config.start or "",
        "data": f"{start.config.data}: {start.train_size:,} training, {start.validation_size:,} validation "
        f"and {start.test_size:,} test {start.unit}s",
        "stops after": _stop(start.config, start.recipe),
        "teacher": ", ".join(start.config.teacher),
        **describe_recipe(start.recipe, has_teacher=bool(start.config.teacher)),
        "run": "dry run, nothing is written" if start.run is None else str(start.run),
    }
    if start.epochs_done or start.steps_done:
        steps = f" and {counted(start.steps_done, 'step')}" if start.steps_done else ""
        rows["continues"] = f"after epoch {start.epochs_done}{steps}"
    return {name: text for name, text in rows.items() if text}


def _parameters(start: RunStarted) -> str:
    """Return the number of parameters, and of those that are trained if some are frozen."""
    text = f"{start.parameters:,} parameters"
    frozen = start.parameters - start.trained_parameters
    return f"{text}, {start.trained_parameters:,} of them trained," if frozen else text


def _stop(config: TrainConfig, recipe: Recipe) -> str:
    epochs = counted(recipe.epochs, "epoch")
    if config.time_seconds is None:
        return epochs
    time = console.duration(config.time_seconds)
    return f"{epochs} or {time}, whichever comes first" if "epochs" in config.recipe else time


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
