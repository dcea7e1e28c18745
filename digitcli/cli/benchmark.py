"""`digitcli benchmark`: measure the speed, the memory and the accuracy of models on this machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.atomic_write import STDOUT, check_writable, write_whole
from digitcli.benchmarking.benchmark_results import (
    BenchmarkConfig,
    BenchmarkReport,
    BenchmarkResult,
    Candidate,
    Event,
    Measuring,
    Slowdown,
    describe_differences,
    find_candidates,
    find_slowdowns,
    read_baseline,
)
from digitcli.cli.options import complete_device, complete_model, with_settings
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import QualityError, UsageError, counted
from digitcli.events import Notice
from digitcli.settings import setting

COMPARISON = "Comparison with an earlier benchmark"


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """The options of `digitcli benchmark`, beside those of `BenchmarkConfig`."""

    output: Path | None = setting(
        None, "", "Write the result to this file, JSON or CSV by its name; - is standard output, as JSON.",
        letter="-o", aliases=("--out", "--save"),
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the file of --output if it exists.")
    baseline: Path | None = setting(
        None, COMPARISON, "Print by which factor each latency differs from this file, written by -o.",
        unit="file",
    )  # fmt: skip
    max_slowdown: float | None = setting(
        None, COMPARISON, "Exit with code 8 if a latency has grown by more than this factor, with 95 % "
        "confidence; 1.1 allows 10 %.", unit="ratio", above=0,
    )  # fmt: skip
    format: console.TableFormat = setting("table", "", "Print a table for people, or JSON or CSV.")


@with_settings(
    BenchmarkConfig, panels={"": ""}, completions={"archs": complete_model, "device": complete_device}
)
def benchmark(options: BenchmarkOptions, settings: dict[str, Any]) -> None:
    """Measure the speed, memory and accuracy of models on this machine.

    The latency is the time of one call with a whole batch of MNIST test digits, which is on the device
    already. After a warm-up, calls are timed for a second or more; the table shows their median and 95th
    percentile. The memory is the most that PyTorch allocates on a CUDA device. The accuracy is measured on
    the 10,000 MNIST test digits; an architecture without shipped weights has none. Several values of an
    option are separated by commas.

    Examples:

      digitcli benchmark
      digitcli benchmark --arch cnn,resnet --batch-size 1,64 --runtime torch,onnxruntime --device cpu
      digitcli benchmark --arch fast --runtime torch,onnxruntime,tflite
      digitcli benchmark -o baseline.json
      digitcli benchmark --baseline baseline.json --max-slowdown 1.1
    """
    config = BenchmarkConfig(**settings)
    candidates = find_candidates(config.archs)
    _check_output(options)
    if options.baseline is None and options.max_slowdown is not None:
        raise UsageError("--max-slowdown needs a baseline.", "Name the file with --baseline.")
    baseline = None if options.baseline is None else read_baseline(options.baseline)
    report = _measure_and_show(config, candidates, options)
    if baseline is not None:
        _compare(report, baseline, options.max_slowdown)


def _check_output(options: BenchmarkOptions) -> None:
    if options.output is None:
        return
    if options.output != STDOUT and options.output.suffix not in (".json", ".csv"):
        raise UsageError(f"--output is '{options.output}'.", "Name a file that ends in .json or .csv.")
    check_writable(options.output, options.force)
    console.reserve_stdout(options.output, options.format)


def _measure_and_show(
    config: BenchmarkConfig, candidates: Sequence[Candidate], options: BenchmarkOptions
) -> BenchmarkReport:
    view = BenchmarkView()
    try:
        with view.status:
            with wait_with_signals():
                from digitcli.benchmarking import benchmark as module
                from digitcli.export.export import runtime_graph
            return module.benchmark(config, candidates, export_graph=runtime_graph, on_event=view)
    finally:  # an error or a signal must not take the results with it
        if view.report is not None:
            with wait_with_signals():
                show_report(view.report, options.format)
                if options.output is not None:
                    record = dataclasses.asdict(view.report)
                    is_csv = options.output.suffix == ".csv"
                    text = (
                        console.as_csv(record["results"]) if is_csv else json.dumps(record, indent=2) + "\n"
                    )
                    write_whole(options.output, text.encode())


def _compare(report: BenchmarkReport, baseline: BenchmarkReport, max_slowdown: float | None) -> None:
    slowdowns = find_slowdowns(report, baseline)
    show_slowdowns(slowdowns)
    if difference := describe_differences(report, baseline):
        console.show_notice(difference)
    if len(slowdowns) < len(report.results):
        console.show_notice(f"The baseline has {len(slowdowns)} of {counted(len(report.results), 'row')}.")
    slower = [each.row.name for each in slowdowns if max_slowdown is not None and each.low > max_slowdown]
    if slower:
        names, rows = ", ".join(dict.fromkeys(slower)), f"{len(slower)} of {len(slowdowns)} rows"
        raise QualityError(
            f"{rows} are slower than --max-slowdown {max_slowdown:g} allows: {names}.",
            "Measure again while no other program runs, or look for what has changed.",
        )


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
    runtime = "" if row.runtime == "torch" else f"  {row.runtime}"
    times = f"{console.three_digits(row.latency_ms_median)} ms  {row.images_per_second:,.0f} images/s"
    return f"{row.name}{runtime}  batch {row.batch_size:,}  {times}"


def show_report(report: BenchmarkReport, format: console.TableFormat) -> None:
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
    for heading in ("architecture", "runtime", "batch", "ratio", "95 % interval"):
        table.add_column(heading)
    for each in slowdowns:
        row, interval = each.row, f"{each.low:.2f} to {each.high:.2f}"
        name = escape(console.printable(row.name))
        table.add_row(name, row.runtime, f"{row.batch_size:,}", f"{each.ratio:.2f}", interval)
    console.err.print(table)


def _environment(report: BenchmarkReport) -> Table:
    environment = report.environment
    measured = dict.fromkeys(row.runtime for row in report.results)
    versions = {
        "digitcli": environment.digitcli,
        "torch": environment.torch,
        "onnxruntime": environment.onnxruntime if "onnxruntime" in measured else None,
        "LiteRT": environment.litert if "tflite" in measured else None,
        "Python": environment.python,
    }
    known = [f"{name} {version}" for name, version in versions.items() if version]
    return console.pairs(
        {
            "device": environment.device,
            "CPU": f"{environment.cpu}; cores: {environment.cores}, threads: {environment.threads}",
            "versions": f"{', '.join(known)}, {environment.platform}",
            "measured": f"{', '.join(measured)}, float32; milliseconds of a call with a whole batch",
        }
    )


RUNTIME = "\nruntime"
COLUMNS: dict[str, Callable[[BenchmarkResult], str]] = {
    RUNTIME: lambda row: row.runtime,
    "\nbatch": lambda row: f"{row.batch_size:,}",
    "median\nms": lambda row: console.three_digits(row.latency_ms_median),
    "p95\nms": lambda row: console.three_digits(row.latency_ms_p95),
    "\nimages/s": lambda row: _short(row.images_per_second),
    "\nparams": lambda row: _short(row.parameters),
    "\nMACs": lambda row: _short(row.macs),
    "\nsize": lambda row: console.size(row.size_bytes),
    "peak\nmemory": lambda row: "" if row.peak_memory_bytes is None else console.size(row.peak_memory_bytes),
    "\naccuracy": lambda row: console.percent(row.accuracy) or "not trained",
}
LEAST_IMPORTANT_FIRST = ("\nMACs", "\nparams", "\nsize", "peak\nmemory", "p95\nms", "\naccuracy")


def results_table(results: Sequence[BenchmarkResult], width: int) -> tuple[Table, list[str]]:
    """Return a row for each result, and the columns that do not fit into the width.

    A runtime that is the same in all rows stands above the table.
    """
    columns = {heading: [cell(result) for result in results] for heading, cell in COLUMNS.items()}
    columns = {
        heading: cells
        for heading, cells in columns.items()
        if any(cells) and not (heading == RUNTIME and len(set(cells)) == 1)
    }
    names = [result.name for result in results]
    return console.fitted_table(
        "\narchitecture", names, columns, LEAST_IMPORTANT_FIRST, width, to_the_left=(RUNTIME,)
    )


def _short(number: float) -> str:
    """Return a number in three digits, e.g. 3.27 M."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 0.9995 * 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number:.3g}"
