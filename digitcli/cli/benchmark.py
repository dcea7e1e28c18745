"""`digitcli benchmark`: measure the speed, the memory and the accuracy of models on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from typer import Option

from digitcli import console
from digitcli.benchmarking.configuration import (
    BenchmarkConfig,
    Candidate,
    Dtype,
    Runtime,
    find_candidates,
)
from digitcli.benchmarking.report import (
    BenchmarkReport,
    check_threads,
    describe_differences,
    find_slowdowns,
    read_baseline,
)
from digitcli.cli.options import DeviceOption, TableFormatOption, complete_model
from digitcli.cli.signals import wait_with_signals
from digitcli.cli.views.benchmark import BenchmarkView, show_report, show_slowdowns
from digitcli.errors import QualityError, UsageError, counted

COMPARISON = "Comparison with an earlier benchmark"

ArchOption = Annotated[
    list[str] | None,
    Option(
        "--arch",
        "-a",
        help="Measure these: architectures (with their shipped weights, or else with new ones), checkpoint "
        "files and run folders, or all for every architecture of single digits. Separate several with "
        "commas, or repeat the option (default: all shipped models of single digits).",
        metavar="MODEL,...",
        autocompletion=complete_model,
    ),
]
BatchSizeOption = Annotated[
    list[str] | None,
    Option(
        "--batch-size",
        "-b",
        metavar="N,...",
        help="Measure calls with these numbers of images, separated by commas (default: 1,256).",
    ),
]
DtypeOption = Annotated[
    list[str] | None,
    Option(
        "--dtype",
        metavar="DTYPE,...",
        help="Convert the weights and compute in these number formats, separated by commas: "
        f"{', '.join(get_args(Dtype))} (default: auto, which is float32).",
    ),
]
RuntimeOption = Annotated[
    list[str] | None,
    Option(
        "--runtime",
        metavar="RUNTIME,...",
        help="Run the models with these, separated by commas, and compare their speed, size and accuracy: "
        f"{', '.join(get_args(Runtime))} (default: torch).",
    ),
]
ThreadsOption = Annotated[
    int | None,
    Option(metavar="N", help="Compute with this many threads of the CPU (default: PyTorch's own number)."),
]
TrainOption = Annotated[
    bool,
    Option("--train", help="Also measure training by each architecture's recipe, in images per second."),
]
ColdStartOption = Annotated[
    bool,
    Option(
        "--cold-start",
        help="Also measure digitcli predict with one picture, from the start of its process to the end.",
    ),
]
BaselineOption = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Print by which factor each latency differs from this file, which --format json wrote.",
        rich_help_panel=COMPARISON,
    ),
]
MaxSlowdownOption = Annotated[
    float | None,
    Option(
        metavar="RATIO",
        help="Exit with code 8 if a latency is larger than in the baseline by more than this factor, with "
        "95 % confidence; 1.1 allows 10 %.",
        rich_help_panel=COMPARISON,
    ),
]


def benchmark(
    arch: ArchOption = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
    dtype: DtypeOption = None,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = None,
    train: TrainOption = False,
    cold_start: ColdStartOption = False,
    baseline: BaselineOption = None,
    max_slowdown: MaxSlowdownOption = None,
    format: TableFormatOption = "table",
) -> None:
    """Measure the speed, memory and accuracy of models on this machine.

    The latency is the time of one call with a whole batch of MNIST test digits, which is on the device
    already. After a warm-up, calls are timed for a second or more; the table shows their median and 95th
    percentile. The memory is the most that PyTorch allocates on a CUDA device. The accuracy is measured on
    the 10,000 MNIST test digits.

    Examples:

      digitcli benchmark
      digitcli benchmark --arch cnn,resnet --batch-size 1,64 --runtime torch,onnxruntime --device cpu
      digitcli benchmark --arch fast --runtime torch,onnxruntime,tflite
      digitcli benchmark --format json > baseline.json
      digitcli benchmark --baseline baseline.json --max-slowdown 1.1
    """
    settings: dict[str, Any] = {
        "archs": tuple(name for text in arch or () for name in _split_names(text)),
        "device": device,
        "batch_sizes": tuple(_parse_size(part) for part in _split(batch_size)),
        "dtypes": tuple(_split(dtype)),
        "runtimes": tuple(_split(runtime)),
        "threads": threads,
    }
    chosen = {name: value for name, value in settings.items() if value not in (None, ())}
    config = BenchmarkConfig(train=train, cold_start=cold_start, **chosen)
    candidates = find_candidates(config.archs)
    before = _read_baseline(baseline, max_slowdown, threads)
    report = _measure_and_show(config, candidates, format)
    if before is not None:
        _compare(report, before, max_slowdown)


def _measure_and_show(
    config: BenchmarkConfig, candidates: Sequence[Candidate], format: str
) -> BenchmarkReport:
    view = BenchmarkView()
    try:
        with view.status:
            with wait_with_signals():
                from digitcli.benchmarking import benchmark as benchmarking
            return benchmarking.benchmark(config, candidates, on_event=view)
    finally:  # an error or a signal must not take the results with it
        if view.report is not None:
            with wait_with_signals():
                show_report(view.report, format)


def _split(texts: list[str] | None) -> list[str]:
    return [part.strip() for text in texts or () for part in text.split(",")]


def _split_names(text: str) -> list[str]:
    """Split a list of models at its commas, unless it is the path of a file with a comma."""
    return [text] if os.path.lexists(text) else _split([text])


def _parse_size(text: str) -> int | str:
    """Return a number of images; `BenchmarkConfig` refuses every other text."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else text


def _read_baseline(
    path: Path | None, max_slowdown: float | None, threads: int | None
) -> BenchmarkReport | None:
    if max_slowdown is not None and path is None:
        raise UsageError("--max-slowdown needs a baseline.", "Name the file with --baseline.")
    if max_slowdown is not None and not max_slowdown > 0:
        raise UsageError(f"--max-slowdown is {max_slowdown:g}.", "Give a factor, e.g. 1.1 for 10 % slower.")
    if path is None:
        return None
    baseline = read_baseline(path)
    if threads:  # otherwise the number is known only when PyTorch is loaded
        check_threads(baseline, threads)
    return baseline


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
