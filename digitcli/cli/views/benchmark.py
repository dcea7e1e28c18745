"""Draw a benchmark in the terminal: its progress on stderr, and its table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.benchmarking.report import BenchmarkReport, BenchmarkResult, Event, Measuring, Slowdown
from digitcli.events import Notice


class BenchmarkView:
    """A status on stderr if that is a terminal, else a line for each result.

    status: the status, to be used as a context manager.
    report: the results so far; None before the first.
    """

    def __init__(self) -> None:
        self.status = console.Busy("Loading PyTorch")
        self.report: BenchmarkReport | None = None

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice():
                console.show_notice(event.message)
            case Measuring():
                name = console.printable(event.name)
                self.status.update(f"Measuring {name}, {event.step} ({event.done + 1} of {event.models})")
            case BenchmarkReport():
                known = len(self.report.results) if self.report else 0
                self.report = event
                if not console.err.is_interactive:
                    for result in event.results[known:]:
                        console.show_message(escape(console.printable(_line(result))))


def _line(row: BenchmarkResult) -> str:
    is_default = (row.runtime, row.dtype) == ("torch", "float32")
    combination = "" if is_default else f"  {row.runtime} {row.dtype}"
    batch = f"batch {_batch(row)}" if row.measured == "calls" else _batch(row)
    times = f"{console.three_digits(row.latency_ms_median)} ms  {row.images_per_second:,.0f} images/s"
    return f"{row.name}{combination}  {batch}  {times}"


def show_report(report: BenchmarkReport, format: str) -> None:
    """Print a report on stdout."""
    if format == "json":
        console.show_json(report)
    elif format == "csv":
        console.err.print(_environment(report))
        console.show_csv([dataclasses.asdict(result) for result in report.results])
    else:
        table, left_out = results_table(report.results, console.out.width)
        console.show_table(_environment(report))
        console.out.print()
        console.show_table(table)
        console.show_left_out(left_out)


def show_slowdowns(slowdowns: Sequence[Slowdown]) -> None:
    """Print the comparison with a baseline on stderr, since stdout has the report."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="latency / latency of the baseline")
    for heading in ("architecture", "runtime", "dtype", "batch", "ratio", "95 % interval"):
        table.add_column(heading)
    for each in slowdowns:
        row, interval = each.row, f"{each.low:.2f} to {each.high:.2f}"
        name = escape(console.printable(row.name))
        table.add_row(name, row.runtime, row.dtype, _batch(row), f"{each.ratio:.2f}", interval)
    console.err.print(table)


def _environment(report: BenchmarkReport) -> Table:
    environment = report.environment
    combinations = dict.fromkeys(f"{row.runtime} {row.dtype}" for row in report.results)
    return console.pairs(
        {
            "device": environment.device,
            "CPU": f"{environment.cpu}; cores: {environment.cores}, threads: {environment.threads}",
            "versions": f"digitcli {environment.digitcli}, torch {environment.torch}, "
            f"{_versions_of_runtimes(report)}Python {environment.python}, {environment.platform}",
            "measured": f"{', '.join(combinations)}; milliseconds of a call with a whole batch",
        }
    )


def _versions_of_runtimes(report: BenchmarkReport) -> str:
    """Return the versions of ONNX Runtime and of LiteRT where they were measured, each with a comma."""
    measured, environment = {row.runtime for row in report.results}, report.environment
    onnxruntime = f"onnxruntime {environment.onnxruntime}, " if "onnxruntime" in measured else ""
    return onnxruntime + (f"LiteRT {environment.litert}, " if "tflite" in measured else "")


COLUMNS: dict[str, Callable[[BenchmarkResult], str]] = {
    "\nruntime": lambda row: row.runtime,
    "\ndtype": lambda row: row.dtype,
    "\nbatch": lambda row: _batch(row),
    "median\nms": lambda row: console.three_digits(row.latency_ms_median),
    "p95\nms": lambda row: console.three_digits(row.latency_ms_p95),
    "\nimages/s": lambda row: _short(row.images_per_second),
    "\nparams": lambda row: _short(row.parameters),
    "\nMACs": lambda row: _short(row.macs),
    "\nsize": lambda row: console.size(row.size_bytes),
    "peak\nmemory": lambda row: _or_empty(row.peak_memory_bytes, console.size),
    "\naccuracy": lambda row: console.percent(row.accuracy),
    "training\nimages/s": lambda row: _or_empty(row.training_images_per_second, _short),
}
COMBINATION = ("\nruntime", "\ndtype")
LEAST_IMPORTANT_FIRST = (
    "\nMACs", "\nparams", "\nsize", "peak\nmemory", "p95\nms", "\naccuracy", "training\nimages/s",
)  # fmt: skip


def results_table(results: Sequence[BenchmarkResult], width: int) -> tuple[Table, list[str]]:
    """Return a row for each result, and the columns that do not fit into the width.

    A runtime or dtype that is the same in all rows stands above the table.
    """
    columns = {heading: [cell(result) for result in results] for heading, cell in COLUMNS.items()}
    columns = {
        heading: cells
        for heading, cells in columns.items()
        if any(cells) and not (heading in COMBINATION and len(set(cells)) == 1)
    }
    names = [result.name for result in results]
    return console.fitted_table(
        "\narchitecture", names, columns, LEAST_IMPORTANT_FIRST, width, to_the_left=COMBINATION
    )


def _batch(row: BenchmarkResult) -> str:
    return f"{row.batch_size:,}" if row.measured == "calls" else "cold start"


def _or_empty(number: float | None, shown: Callable[[float], str]) -> str:
    return "" if number is None else shown(number)


def _short(number: float) -> str:
    """Return a number in three digits, e.g. 3.27 M."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 0.9995 * 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number:.3g}"
