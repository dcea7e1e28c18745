"""`digitcli benchmark`: how fast, how large and how accurate models are on this machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from rich.markup import escape
from rich.table import Table
from typer import Option

from digitcli import console
from digitcli.benchmarking.configuration import BenchmarkConfig, Dtype, Runtime
from digitcli.cli.completion import complete_model
from digitcli.cli.options import DeviceOption
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import QualityError, UsageError

if TYPE_CHECKING:
    from digitcli.benchmarking.benchmark import BenchmarkReport, BenchmarkResult, Event
    from digitcli.benchmarking.regression import Saved

MEMORY = {
    "cuda": "the most that PyTorch had allocated on the device",
    "cpu": "largest resident set of the whole process, loaded libraries included",
}
LONGEST_NUMBER = 18  # in digits; Python refuses to read thousands of them
COMPARED = "Comparison"

Arch = Annotated[
    list[str] | None,
    Option(
        "--arch",
        "-a",
        help="Architectures (with shipped weights or else fresh ones), checkpoint files or run folders, or "
        "all; separated by commas or given several times. The shipped models if not given.",
        autocompletion=complete_model,
    ),
]
BatchSize = Annotated[
    list[str] | None,
    Option("--batch-size", "-b", help="Digits in a call, separated by commas; 1 and 256 if not given."),
]
DtypeNames = Annotated[
    list[str] | None,
    Option(
        "--dtype",
        help=f"Number formats of weights and layers, separated by commas: {', '.join(get_args(Dtype))}; auto "
        "is float32.",
    ),
]
RuntimeNames = Annotated[
    list[str] | None,
    Option(
        "--runtime",
        help=f"What runs the models, separated by commas: {', '.join(get_args(Runtime))}; torch if not "
        "given.",
    ),
]
Threads = Annotated[int | None, Option(help="Threads of the CPU; PyTorch's own number if not given.")]
Train = Annotated[bool, Option("--train", help="Measure training steps too, by each architecture's recipe.")]
Cold = Annotated[
    bool, Option("--cold", help="Also time digitcli predict from the start of a process to its answer.")
]
Against = Annotated[
    Path | None,
    Option(metavar="FILE", help="Compare with what --format json gave before.", rich_help_panel=COMPARED),
]
MaxSlowdown = Annotated[
    float | None,
    Option(
        metavar="RATIO",
        help="End with exit code 8 where a row is surely slower than before by more than this, e.g. 1.1.",
        rich_help_panel=COMPARED,
    ),
]
Form = Literal["table", "json", "csv"]
Format = Annotated[Form, Option(help="For people or for programs.")]


def benchmark(
    arch: Arch = None,
    device: DeviceOption = None,
    batch_size: BatchSize = None,
    dtype: DtypeNames = None,
    runtime: RuntimeNames = None,
    threads: Threads = None,
    train: Train = False,
    cold: Cold = False,
    against: Against = None,
    max_slowdown: MaxSlowdown = None,
    format: Format = "table",
) -> None:
    """Measure speed, memory and accuracy of models on this machine.

    Example: digitcli benchmark --arch all
    """
    given: dict[str, Any] = {
        "archs": tuple(name for text in arch or () for name in _names(text)),
        "device": device,
        "batch_sizes": tuple(_whole_number(part) for text in batch_size or () for part in _parts(text)),
        "dtypes": tuple(name for text in dtype or () for name in _parts(text)),
        "runtimes": tuple(name for text in runtime or () for name in _parts(text)),
        "threads": threads,
    }
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    config = BenchmarkConfig(train=train, cold=cold, **chosen)
    saved = _saved(against, max_slowdown, threads)
    view = BenchmarkView()
    try:
        _run(config, view)
    finally:  # whatever ends the rest must not take with it what is measured
        if view.report is not None:
            with wait_with_signals():
                _show(view.report, format)
    if saved is not None and view.report is not None:
        _compare(view.report, saved, max_slowdown)


def _saved(path: Path | None, max_slowdown: float | None, threads: int | None) -> Saved | None:
    if max_slowdown is not None and path is None:
        raise UsageError("--max-slowdown compares with a saved benchmark.", "Name it with --against.")
    if max_slowdown is not None and not max_slowdown > 0:
        raise UsageError(f"--max-slowdown is {max_slowdown:g}.", "Give a ratio, such as 1.1 for 10 % slower.")
    if path is None:
        return None
    from digitcli.benchmarking.regression import check_threads, read_saved

    saved = read_saved(path)
    if threads:  # else PyTorch chooses, which is known later
        check_threads(saved, threads)
    return saved


def _compare(report: BenchmarkReport, saved: Saved, max_slowdown: float | None) -> None:
    """On stderr, since stdout has the figures of now."""
    from digitcli.benchmarking.regression import slowdowns

    found = slowdowns(report, saved)
    table = Table(box=None, pad_edge=False, header_style="bold", title="time now / time before")
    for heading in ("architecture", "runtime", "dtype", "batch", "ratio", "95 % interval"):
        table.add_column(heading)
    for row in found:
        batch = f"{row.batch_size:,}" if row.measured == "calls" else row.measured
        interval = f"{row.ratio_low:.2f} to {row.ratio_high:.2f}"
        name = escape(console.printable(row.name))
        table.add_row(name, row.runtime, row.dtype, batch, f"{row.ratio:.2f}", interval)
    console.err.print(table)
    if len(found) < len(report.results):
        console.show_notice(
            f"{len(found)} of {len(report.results)} rows were measured before; of the others nothing is said."
        )
    slower = [row.name for row in found if max_slowdown is not None and row.ratio_low > max_slowdown]
    if slower:
        raise QualityError(
            f"{len(slower)} of {len(found)} rows are slower than --max-slowdown {max_slowdown:g}: "
            f"{', '.join(dict.fromkeys(slower))}.",
            "Measure again on a quiet machine, or look for what has changed.",
        )


def _names(text: str) -> list[str]:
    """The models in a list with commas; a path may have commas of its own."""
    return [text] if os.path.lexists(text) else _parts(text)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        shown = text if len(text) <= LONGEST_NUMBER else f"{text[:LONGEST_NUMBER]}…"
        raise UsageError(f"--batch-size has '{shown}'.", "Give whole numbers, such as --batch-size 1,256.")
    return int(text)


def _run(config: BenchmarkConfig, view: BenchmarkView) -> None:
    from digitcli.benchmarking import benchmark as benchmarking

    benchmarking.names_of(config)  # finds what is wrong with them before PyTorch is loaded
    with view.status:
        with wait_with_signals():
            import digitcli.benchmarking.measurement  # noqa: F401
        benchmarking.benchmark(config, on_event=view)


def _show(report: BenchmarkReport, format: Form) -> None:
    if format == "json":
        console.show_json(report)
    elif format == "csv":
        console.err.print(_environment(report))
        console.show_csv([dataclasses.asdict(result) for result in report.results])
    else:
        table, left_out = _table(report.results, console.out.width)
        console.show_table(_environment(report))
        console.out.print()
        console.show_table(table)
        console.show_left_out(left_out)


class BenchmarkView:
    """Says on stderr what is measured: a status on a terminal, a line a result elsewhere.

    `report` is what is measured so far; None before the first row.
    """

    def __init__(self) -> None:
        self.status = console.Busy("Loading PyTorch")
        self.report: BenchmarkReport | None = None

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        from digitcli.benchmarking.benchmark import BenchmarkReport, Measuring
        from digitcli.events import Notice

        match event:
            case Notice():
                console.show_notice(event.message)
            case Measuring():
                name = escape(console.printable(event.name))
                self.status.update(f"Measuring {name}, {event.what} ({event.done + 1} of {event.models})")
            case BenchmarkReport():
                known = len(self.report.results) if self.report else 0
                self.report = event
                if not console.err.is_interactive:
                    for result in event.results[known:]:
                        console.err.print(escape(_line(result)), soft_wrap=True)


def _line(result: BenchmarkResult) -> str:
    name, latency = console.printable(result.name), _latency(result.latency_ms_median)
    way = "" if (result.runtime, result.dtype) == ("torch", "float32") else f"  {_way(result)}"
    speed = f"{result.images_per_second:,.0f} images/s"
    batch = "process" if result.measured == "process" else f"batch {result.batch_size:,}"
    return f"{name}{way}  {batch}  {latency} ms  {speed}"


def _way(result: BenchmarkResult) -> str:
    return f"{result.runtime} {result.dtype}"


def _environment(report: BenchmarkReport) -> Table:
    """Where the figures hold, and what they mean."""
    environment, first = report.environment, report.results[0]
    cores = f"cores: {environment.cores}, threads: {environment.threads}"
    memory = MEMORY.get(first.device.split(":")[0], "")
    ways = dict.fromkeys(map(_way, report.results))
    return console.pairs(
        {
            "device": environment.device,
            "CPU": f"{environment.cpu}; {cores}",
            "versions": f"digitcli {environment.digitcli}, torch {environment.torch}, "
            f"Python {environment.python}, {environment.platform}",
            "measured": f"{', '.join(ways)}; ms of one call with a whole batch",
        }
        | ({"memory": memory} if first.peak_memory_bytes is not None else {})
    )


COLUMNS: dict[str, Callable[[BenchmarkResult], str]] = {
    "\nruntime": lambda row: row.runtime,
    "\ndtype": lambda row: row.dtype,
    "\nbatch": lambda row: "process" if row.measured == "process" else f"{row.batch_size:,}",
    "median\nms": lambda row: _latency(row.latency_ms_median),
    "p95\nms": lambda row: _latency(row.latency_ms_p95),
    "\nimages/s": lambda row: _short(row.images_per_second),
    "\nparams": lambda row: _short(row.parameters),
    "\nMACs": lambda row: _short(row.macs),
    "\nsize": lambda row: console.size(row.size_bytes),
    "peak\nmemory": lambda row: _or_empty(row.peak_memory_bytes, console.size),
    "\naccuracy": lambda row: console.percent(row.accuracy),
    "training\nimages/s": lambda row: _or_empty(row.training_images_per_second, _short),
}
WAYS = ("\nruntime", "\ndtype")
LEAST_IMPORTANT_FIRST = [
    *("\nMACs", "\nparams", "\nsize", "peak\nmemory", "p95\nms", "\naccuracy", "training\nimages/s")
]


def _table(results: tuple[BenchmarkResult, ...], width: int) -> tuple[Table, list[str]]:
    """A row a result, and the columns that are left out so that nothing is cut at this width."""
    columns = {heading: [cell(result) for result in results] for heading, cell in COLUMNS.items()}
    columns = {heading: cells for heading, cells in columns.items() if any(cells)}
    for heading in WAYS:
        if len(set(columns[heading])) == 1:  # it is said above the table
            del columns[heading]
    names = [result.name for result in results]
    return console.fitted_table("\narchitecture", names, columns, LEAST_IMPORTANT_FIRST, width, WAYS)


def _or_empty(number: float | None, shown: Callable[[float], str]) -> str:
    return "" if number is None else shown(number)


def _latency(latency_ms: float) -> str:
    """Three digits; the next one differs from run to run."""
    return f"{latency_ms:,.0f}" if latency_ms >= 100 else f"{latency_ms:.3g}"


def _short(number: float) -> str:
    """A number in three digits, e.g. 3.27 M."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 0.9995 * 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number:.3g}"
