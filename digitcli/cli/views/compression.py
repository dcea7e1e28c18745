"""Draw a compression in the terminal: its progress on stderr, and a table of all models that were tried."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.table import Table

from digitcli import console
from digitcli.cli.views.progress import CountingBar
from digitcli.compression.results import CompressionResult, Speed, TestResult, TriedModel
from digitcli.events import EpochDone, Event, Notice, StepDone

PERCENT = 100


class CompressionView:
    """A bar for the training that runs, and a line for each epoch and each notice."""

    def __init__(self) -> None:
        self.bar = CountingBar("% of this training")

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
            case EpochDone():
                accuracy = console.percent(event.validation_accuracy)
                console.err.print(f"epoch {event.epoch}  validation {accuracy}", soft_wrap=True)
            case StepDone():
                self.bar.show(round(PERCENT * event.progress), PERCENT)


def show_compression(result: CompressionResult) -> None:
    """Print all models, then the chosen one with its test results."""
    table, left_out = _table(result)
    assert result.chosen is not None and result.checkpoint is not None, "a missed goal is an error"
    chosen, original = result.tried[result.chosen], result.tried[0]
    rows = {
        "chosen": f"{chosen.steps}: {console.size(chosen.weights_bytes)} of weights, "
        f"{original.weights_bytes / chosen.weights_bytes:.1f} times smaller than {result.model}",
        "model": result.checkpoint,
        "chart": f"{result.folder}/pareto.svg",
    }
    if result.test and result.test_before:
        lost = (100 * (before - after) for before, after in (
            (original.accuracy, chosen.accuracy), (result.test_before.accuracy, result.test.accuracy)
        ))  # fmt: skip
        rows["lost"] = "{:.2f} points on the validation digits, {:.2f} on the test digits".format(*lost)
        rows["test"] = _describe_test(result.test)
        rows["test before"] = _describe_test(result.test_before)
    console.show_table(Group(table, "", console.pairs(rows)))
    for reason in result.missing_runtimes:
        console.show_notice(f"A runtime was not measured: {reason}")
    console.show_left_out(left_out)


def _describe_test(test: TestResult) -> str:
    interval = console.interval(test.accuracy_low, test.accuracy_high)
    return f"{console.percent(test.accuracy)} ({interval}), ECE {_ece(test.ece)}"


def _table(result: CompressionResult) -> tuple[Table, list[str]]:
    tried = result.tried
    runtimes = dict.fromkeys(speed.runtime for each in tried for speed in each.speeds)
    columns = {
        f"validation accuracy, {result.n:,} {result.unit}s": [
            f"{console.percent(each.accuracy)} ({100 * each.accuracy_low:.2f}-{100 * each.accuracy_high:.2f})"
            for each in tried
        ],
        "weights": [console.size(each.weights_bytes) for each in tried],
        "parameters": [f"{each.parameters:,}" for each in tried],
        "multiplications": [f"{each.macs:,}" for each in tried],
        **{f"{name}, 1 image": _latencies(tried, name) for name in runtimes},
        **{f"{name}, images/s": _throughputs(tried, name) for name in runtimes},
        "ECE": [_ece(each.ece) for each in tried],
    }
    less_important = (
        *(f"{name}, images/s" for name in runtimes),
        "multiplications",
        "ECE",
        "parameters",
        *(f"{name}, 1 image" for name in reversed(runtimes)),
    )
    labels = [f"{each.steps}{' *' * (number in result.front)}" for number, each in enumerate(tried)]
    return console.fitted_table(
        "steps (* on the Pareto front)", labels, columns, less_important, console.out.width
    )


def _latencies(tried: Sequence[TriedModel], runtime: str) -> list[str]:
    return [f"{speed.latency_ms:.2f} ms" if speed else "" for speed in _speeds(tried, runtime)]


def _throughputs(tried: Sequence[TriedModel], runtime: str) -> list[str]:
    return [f"{speed.images_per_second:,.0f}" if speed else "" for speed in _speeds(tried, runtime)]


def _speeds(tried: Sequence[TriedModel], runtime: str) -> list[Speed | None]:
    return [next((speed for speed in each.speeds if speed.runtime == runtime), None) for each in tried]


def _ece(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
