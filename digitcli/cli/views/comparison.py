"""A comparison as a person sees it: how far it is on stderr, and its table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.cli.views.progress import CountingBar
from digitcli.training.events import Event, Notice, StepDone

if TYPE_CHECKING:
    from digitcli.comparison.compare import ComparedModel, Comparison, Difference, RunJudged

MISSED, NEAR = 20, 3  # images and models are named


class ComparingView(CountingBar):
    """A bar over all runs, and a line for each that is judged."""

    def __init__(self, total: int) -> None:
        super().__init__("runs")
        self.done, self.total = 0, total
        self.told: set[str] = set()  # many runs have the same to say

    def __call__(self, event: Event) -> None:
        """What a run that is being trained reports."""
        match event:
            case StepDone():
                self.show(self.done + event.progress, self.total)
            case Notice(message, routine=False) if message not in self.told:
                self.told.add(message)
                console.show_notice(message)

    def judged(self, event: RunJudged) -> None:
        """A line for a run that is finished."""
        self.done = event.done
        seed = "" if event.run.seed is None else f"  seed {event.run.seed}"
        took = event.run.train_seconds
        how = "" if took is None else f"  trained in {_seconds(took)}" + ", before" * event.kept
        line = f"{event.done}/{event.total}  {event.label}{seed}  {console.percent(event.run.accuracy)}{how}"
        console.err.print(escape(console.printable(line)), soft_wrap=True)
        self.show(event.done, event.total)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


COLUMNS: dict[str, Callable[[ComparedModel, Difference | None], str]] = {
    "parameters": lambda model, behind: console.thousands(model.parameters),
    "MACs": lambda model, behind: console.thousands(model.macs),
    "accuracy": lambda model, behind: console.percent(model.accuracy),
    "sd": lambda model, behind: "" if model.deviation is None else f"{100 * model.deviation:.2f}",
    "95 % interval": lambda model, behind: _interval(model.low, model.high),
    "n": lambda model, behind: str(len(model.runs)),
    "trained in": lambda model, behind: "" if model.train_seconds is None else _seconds(model.train_seconds),
    "ms": lambda model, behind: (
        f"{model.latency_ms:.2g}" if model.latency_ms < 10 else f"{model.latency_ms:.0f}"
    ),
    "behind": lambda model, behind: "" if behind is None else f"{100 * behind.difference:.2f}",
    "95 % of that": lambda model, behind: "" if behind is None else _interval(behind.low, behind.high),
    "p": lambda model, behind: "" if behind is None else f"{behind.p:.2g}",
}
LEAST_IMPORTANT_FIRST = ("95 % of that", "MACs", "ms", "trained in", "p", "sd", "parameters", "behind", "n")


def draw_comparison(result: Comparison, width: int) -> tuple[Group, list[str]]:
    """The table, who is ahead if anybody is, and what nobody reads; and the columns there is no room for."""
    table, left_out = _table(result, width)
    parts: list[RenderableType] = [table, ""]
    if result.winner is not None:
        by_seeds = all(each.low is not None for each in result.differences)
        known = "." if by_seeds else " on these images; other seeds may say otherwise."
        parts.append(f"[bold]{_label(result.winner)}[/] is ahead of the others by more than chance{known}")
    elif len(result.models) > 1:
        near = [each.other for each in result.differences if each.is_chance]
        named = ", ".join(near[:NEAR]) + f" and {len(near) - NEAR} more" * (len(near) > NEAR)
        parts.append(f"No winner: that {_label(result.best)} is ahead of {_label(named)} may be chance.")
    images = [f"{index} ({result.labels[index]})" for index in result.missed[:MISSED]]
    more = f" and {len(result.missed) - MISSED} more" if len(result.missed) > MISSED else ""
    said = ": " + ", ".join(images) + more if images else ""
    judging = f"{result.images:,} {result.split} images"
    parts.append(f"[dim]{len(result.missed)} of {judging} are read rightly by none{said}[/]")
    return Group(*parts), left_out


def _label(text: str) -> str:
    return escape(console.printable(text))


def _table(result: Comparison, width: int) -> tuple[Table, list[str]]:
    """A row a model, the best first."""
    behind = {each.other: each for each in result.differences}
    models = sorted(result.models, key=lambda model: -model.accuracy)
    columns = {
        heading: [cell(model, behind.get(model.label)) for model in models]
        for heading, cell in COLUMNS.items()
    }
    columns = {
        f"{result.split} accuracy" if heading == "accuracy" else heading: cells
        for heading, cells in columns.items()
        if any(cells)
    }
    names = [model.label for model in models]
    return console.fitted_table("model", names, columns, LEAST_IMPORTANT_FIRST, width)


def _seconds(seconds: float) -> str:
    return console.duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"
