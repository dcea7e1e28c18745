"""Draw a compression in the terminal: its progress on stderr, and a table of all models that were tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.table import Table

from digitcli import console
from digitcli.cli.views.progress import CountingBar
from digitcli.compression.results import CompressionResult, Speed, TestResult, TriedModel
from digitcli.events import EpochDone, Event, ModelStarted, Notice, StepDone
from digitcli.training.configuration import RunStarted

PERCENT = 100


class CompressionView:
    """A bar for the training that runs, and a line for each model, each epoch and each notice."""

    def __init__(self) -> None:
        self.bar = CountingBar("% of this training")
        self.epochs = 0
        self.started = time.monotonic()

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice():
                console.show_notice(event.message)
            case ModelStarted():
                n = f"at most {event.n}" if event.is_most else str(event.n)
                console.show_message(f"{event.number} of {n}: {event.name}{self._pace(event)}")
            case RunStarted():
                self.epochs = event.recipe.epochs
            case EpochDone():
                accuracy = console.percent(event.validation_accuracy)
                epoch = f"  epoch {event.epoch}/{self.epochs}"
                console.show_message(f"{epoch}  validation {accuracy}")
            case StepDone():
                self.bar.show(round(PERCENT * event.progress), PERCENT)

    def _pace(self, event: ModelStarted) -> str:
        """Return how long the models before took, and how long this one and the others take at that pace."""
        done = event.number - 1
        if not done:
            return ""
        elapsed = time.monotonic() - self.started
        left = console.duration(elapsed / done * (event.n - done))
        most = "at most " if event.is_most else ""
        return f"  ({console.duration(elapsed)} so far, {most}about {left} left)"


def show_compression(result: CompressionResult) -> None:
    """Print all models, then the chosen one with its test results."""
    table, left_out = _table(result)
    rows = _describe_chosen(result, result.tried[result.chosen]) if result.chosen is not None else {}
    rows["chart"] = f"{result.folder}/pareto.svg"
    console.show_table(Group(table, "", console.pairs(rows)))
    for reason in result.missing_runtimes:
        console.show_notice(f"A runtime was not measured: {reason}")
    console.show_left_out(left_out)


def _describe_chosen(result: CompressionResult, chosen: TriedModel) -> dict[str, str]:
    original = result.tried[0]
    rows = {
        "chosen": f"{chosen.steps}: {console.size(chosen.weights_bytes)} of weights, "
        f"{original.weights_bytes / chosen.weights_bytes:.1f} times smaller than {result.model}",
        "model": str(result.checkpoint),
    }
    if result.test and result.test_before:
        rows["accuracy"] = (
            f"{_describe_change(original.accuracy, chosen.accuracy)} on the validation digits, "
            f"{_describe_change(result.test_before.accuracy, result.test.accuracy)} on the test digits"
        )
        rows["test"] = _describe_test(result.test)
        rows["test before"] = _describe_test(result.test_before)
    return rows


def _describe_change(before: float, after: float) -> str:
    """Return in words how an accuracy has changed, in percentage points."""
    points = f"{PERCENT * abs(after - before):.2f}"
    if float(points) == 0:
        return "unchanged"
    return f"{'higher' if after > before else 'lower'} by {points} points"


def _describe_test(test: TestResult) -> str:
    interval = console.interval(test.accuracy_low, test.accuracy_high)
    return f"{console.percent(test.accuracy)} ({interval}), ECE {_ece(test.ece)}"


def _table(result: CompressionResult) -> tuple[Table, list[str]]:
    tried = result.tried
    runtimes = dict.fromkeys(speed.runtime for each in tried for speed in each.speeds)
    of_all = [speed.latency_ms for each in tried for speed in each.speeds]
    unit, factor = ("µs", 1000) if min(of_all, default=1) < 1 else ("ms", 1)  # the same in the whole table
    latency, throughput = f"{{}}, 1 image\n{unit} (range)", "{}\nimages/s"
    columns = {
        f"validation accuracy\n{result.n:,} {result.unit}s": [
            f"{console.percent(each.accuracy)} ({100 * each.accuracy_low:.2f}-{100 * each.accuracy_high:.2f})"
            for each in tried
        ],
        "\nweights": [console.size(each.weights_bytes) for each in tried],
        "\nparameters": [f"{each.parameters:,}" for each in tried],
        "\nmultiplications": [f"{each.macs:,}" for each in tried],
        **{latency.format(name): _cells(tried, name, partial(_latency, factor)) for name in runtimes},
        **{throughput.format(name): _cells(tried, name, _throughput) for name in runtimes},
        "\nECE": [_ece(each.ece) for each in tried],
    }
    less_important = (
        *(throughput.format(name) for name in runtimes),
        "\nmultiplications",
        "\nECE",
        "\nparameters",
        *(latency.format(name) for name in reversed(runtimes)),
    )
    labels = [f"{each.steps}{' *' * (number in result.front)}" for number, each in enumerate(tried)]
    return console.fitted_table(
        "steps\n* on the Pareto front", labels, columns, less_important, console.out.width
    )


def _cells(tried: Sequence[TriedModel], runtime: str, shown: Callable[[Speed], str]) -> list[str]:
    """Return a cell for each model, which is empty where a runtime does not take the model."""
    speeds = [{speed.runtime: speed for speed in each.speeds}.get(runtime) for each in tried]
    return ["" if speed is None else shown(speed) for speed in speeds]


def _latency(factor: int, speed: Speed) -> str:
    times = (speed.latency_ms, speed.latency_ms_low, speed.latency_ms_high)
    return "{} ({}-{})".format(*(console.three_digits(factor * time) for time in times))


def _throughput(speed: Speed) -> str:
    return f"{speed.images_per_second:,.0f}"


def _ece(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
