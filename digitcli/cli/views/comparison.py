"""Draw a comparison in the terminal: its progress on stderr, and its table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.comparison.compare import RunEvaluated, listed
from digitcli.evaluation.statistics import describe_p

if TYPE_CHECKING:
    from digitcli.comparison.compare import ComparedModel, Comparison

LONGEST_LIST = 20  # images are listed below the table


def line_of_run(event: object) -> tuple[int, str] | None:
    """Return the number of finished runs and a line about the last one, if it has just finished."""
    return (event.done, _line(event)) if isinstance(event, RunEvaluated) else None


def _line(event: RunEvaluated) -> str:
    run = event.run
    seed = "" if run.seed is None else f"  seed {run.seed}"
    line = f"{event.done}/{event.total}  {event.label}{seed}  {console.percent(run.accuracy)}"
    if run.train_seconds is None:
        return line
    return f"{line}  trained in {_seconds(run.train_seconds)}" + ", reused" * event.reused


COLUMNS: dict[str, Callable[[ComparedModel], str]] = {
    "parameters": lambda model: console.thousands(model.parameters),
    "MACs": lambda model: console.thousands(model.macs),
    "accuracy": lambda model: console.percent(model.accuracy),
    "sd": lambda model: _points(model.deviation),
    "95 % interval": lambda model: _interval(model.low, model.high),
    "seeds": lambda model: str(len(model.runs)),
    "trained in": lambda model: "" if model.train_seconds is None else _seconds(model.train_seconds),
    "ms": lambda model: _milliseconds(model.latency_ms),
    "behind": lambda model: _points(model.behind),
    "its 95 % interval": lambda model: _interval(model.behind_low, model.behind_high),
    "p": lambda model: "" if model.p is None else describe_p(model.p),
}
LEAST_IMPORTANT_FIRST = (
    "its 95 % interval", "MACs", "ms", "trained in", "parameters", "p", "sd", "behind", "seeds",
)  # fmt: skip


def draw_comparison(result: Comparison, width: int) -> tuple[Group, list[str]]:
    """Return the table with its conclusion, and the columns that do not fit into the width."""
    table, left_out = _table(result, width)
    parts: list[RenderableType] = [table, ""]
    if len(result.models) > 1:
        parts.append(escape(console.printable(result.conclusion())))
    assert result.labels is not None, "only a report is made without the images"
    missed = [f"{index} ({result.labels[index]})" for index in result.missed]
    sentence = f"No run reads {len(missed)} of the {result.images:,} {result.split} images correctly"
    images = ": " + listed(missed, LONGEST_LIST) if missed else ""
    parts.append(f"[dim]{sentence}{images}.[/]")
    return Group(*parts), left_out


def _points(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


def _table(result: Comparison, width: int) -> tuple[Table, list[str]]:
    """Return a row for each model, the best first; columns without any figure are left out."""
    models = sorted(result.models, key=lambda model: -model.accuracy)
    columns = {
        f"{result.split} accuracy" if heading == "accuracy" else heading: cells
        for heading, cell in COLUMNS.items()
        if any(cells := [cell(model) for model in models])
    }
    labels = [model.label for model in models]
    return console.fitted_table("model", labels, columns, LEAST_IMPORTANT_FIRST, width)


def _milliseconds(latency_ms: float | None) -> str:
    if latency_ms is None:
        return ""
    return f"{latency_ms:.2g}" if latency_ms < 10 else f"{latency_ms:.0f}"


def _seconds(seconds: float) -> str:
    return console.duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"
