"""`digitcli benchmark`: how fast, how large and how accurate models are on this machine."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from rich.markup import escape
from rich.status import Status
from rich.table import Table
from typer import Option

from digitcli import console
from digitcli.cli.completion import complete_device, complete_model
from digitcli.errors import UsageError
from digitcli.experiments import benchmarking
from digitcli.experiments.benchmarking import (
    BenchmarkConfig,
    BenchmarkReport,
    BenchmarkResult,
    Dtype,
    Event,
    Measuring,
)
from digitcli.training.events import Notice

MEMORY = {
    "cuda": "the most that PyTorch had allocated on the device",
    "cpu": "largest resident set of the whole process, PyTorch included",
}

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
Device = Annotated[
    str | None,
    Option(
        "--device",
        "-d",
        help="auto (if not given), cpu, cuda, cuda:N or mps.",
        autocompletion=complete_device,
    ),
]
BatchSize = Annotated[
    list[str] | None,
    Option("--batch-size", "-b", help="Digits in a call, separated by commas; 1,256 if not given."),
]
DtypeName = Annotated[
    Dtype | None, Option("--dtype", help="Number format of weights and layers; auto is float32.")
]
Compile = Annotated[bool, Option("--compile", help="Run through torch.compile.")]
Threads = Annotated[int | None, Option(help="Threads of the CPU; PyTorch's own number if not given.")]
Train = Annotated[bool, Option("--train", help="Measure training steps too, by each architecture's recipe.")]
Format = Annotated[Literal["table", "json", "csv"], Option(help="For people or for programs.")]


def benchmark(
    arch: Arch = None,
    device: Device = None,
    batch_size: BatchSize = None,
    dtype: DtypeName = None,
    compile: Compile = False,
    threads: Threads = None,
    train: Train = False,
    format: Format = "table",
) -> None:
    """Measure speed, memory and accuracy of models on this machine.

    Example: digitcli benchmark --arch all
    """
    given: dict[str, Any] = {
        "archs": _parts(arch),
        "device": device,
        "batch_sizes": tuple(_whole_number(part) for part in _parts(batch_size)),
        "dtype": dtype,
        "threads": threads,
    }
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    config = BenchmarkConfig(compile=compile, train=train, **chosen)
    with console.err.status("Loading PyTorch") as status:
        report = benchmarking.benchmark(config, on_event=BenchmarkView(status))
    if format == "json":
        console.show_json(report)
    elif format == "csv":
        console.err.print(_environment(report))
        console.show_csv([dataclasses.asdict(result) for result in report.results])
    else:
        console.show_table(_environment(report))
        console.out.print()
        console.show_table(_table(report.results))


def _parts(given: list[str] | None) -> tuple[str, ...]:
    return tuple(part.strip() for text in given or () for part in text.split(","))


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--batch-size has '{text}'.", "Give whole numbers, such as --batch-size 1,256.")
    return int(text)


class BenchmarkView:
    """Says on stderr what is measured: a status on a terminal, a line a result elsewhere."""

    def __init__(self, status: Status) -> None:
        self.status = status

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice():
                console.show_notice(event.message)
            case Measuring():
                name = escape(console.printable(event.name))
                self.status.update(f"Measuring {name}, {event.what} ({event.done + 1} of {event.models})")
            case BenchmarkResult() if not console.err.is_interactive:
                line = (
                    f"{console.printable(event.name)}  batch {event.batch_size:,}  "
                    f"{_latency(event.latency_ms_median)} ms  {event.images_per_second:,.0f} images/s"
                )
                console.err.print(escape(line), soft_wrap=True)


def _environment(report: BenchmarkReport) -> Table:
    """Where the figures hold, and what they mean."""
    environment, first = report.environment, report.results[0]
    cores = f"cores: {environment.cores}, threads: {environment.threads}"
    memory = MEMORY.get(first.device.split(":")[0], "")
    return console.pairs(
        {
            "device": environment.device,
            "CPU": f"{environment.cpu}; {cores}",
            "versions": f"digitcli {environment.digitcli}, torch {environment.torch}, "
            f"Python {environment.python}, {environment.platform}",
            "measured": f"{first.dtype}, {first.runtime}; ms of one call with a whole batch",
        }
        | ({"memory": memory} if first.peak_memory_bytes is not None else {})
    )


def _table(results: tuple[BenchmarkResult, ...]) -> Table:
    trained = any(result.training_images_per_second is not None for result in results)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("\narchitecture", style="cyan", overflow="fold")
    headings = ["\nbatch", "median\nms", "p95\nms", "\nimages/s", "\nparams", "\nMACs", "\nsize"]
    headings += ["peak\nmemory", "\naccuracy", *["training\nimages/s"] * trained]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(escape(console.printable(result.name)), *_cells(result)[: len(headings)])
    return table


def _cells(result: BenchmarkResult) -> list[str]:
    memory, training = result.peak_memory_bytes, result.training_images_per_second
    return [
        f"{result.batch_size:,}",
        _latency(result.latency_ms_median),
        _latency(result.latency_ms_p95),
        _short(result.images_per_second),
        _short(result.parameters),
        _short(result.macs),
        console.size(result.size_bytes),
        "" if memory is None else console.size(memory),
        console.percent(result.accuracy),
        "" if training is None else _short(training),
    ]


def _latency(latency_ms: float) -> str:
    """Three digits; the next one differs from run to run."""
    return f"{latency_ms:,.0f}" if latency_ms >= 100 else f"{latency_ms:.3g}"


def _short(number: float) -> str:
    """A number in three digits, e.g. 3.27 M."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 0.9995 * 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number:.3g}"
