"""`digitcli compress`: make a trained model smaller and faster, and show what each step brings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Group
from rich.table import Table

from digitcli import console
from digitcli.cli.options import complete_dataset, complete_device, complete_shipped
from digitcli.cli.progress import CountingBar
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.compression.results import (
    DEFAULT_EPOCHS,
    CompressionResult,
    Speed,
    TestResult,
    TriedModel,
    parse_steps,
)
from digitcli.errors import QualityError, UsageError
from digitcli.events import EpochDone, Event, ModelStarted, Notice, StepDone
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import resolve_model
from digitcli.settings import POINTS, SIZE, argument, setting
from digitcli.training.configuration import RunStarted, TrainConfig

PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """The options of `digitcli compress`."""

    model: str = argument(
        "MODEL", "Compress this shipped model, checkpoint file or run folder.", complete=complete_shipped
    )
    steps: str | None = setting(
        None, "", "Take these steps in their order: distill=ARCH, prune=SHARE, fold, int8 or int4.",
        unit="step,step",
    )  # fmt: skip
    max_accuracy_loss: float | None = setting(
        None, "", "Search the smallest model that loses at most this many percentage points of validation "
        "accuracy, for example 0.3.", unit=POINTS,
    )  # fmt: skip
    max_size: int | None = setting(
        None, "", "Search the most accurate model whose weights take at most this much, for example 64kB.",
        unit=SIZE,
    )  # fmt: skip
    epochs: int = setting(
        DEFAULT_EPOCHS, "", "Fine-tune for this many epochs after prune and int4; 0 does not train.",
        letter="-e", at_least=0,
    )  # fmt: skip
    teacher: tuple[str, ...] = setting(
        (), "", "Fine-tune with this trained model as the teacher, not with the compressed one; may be "
        "repeated.", unit="model", complete=complete_shipped,
    )  # fmt: skip
    data: str = setting(
        TrainConfig.data, "", "Fine-tune and validate on this dataset: a name, a file or a folder.",
        unit="dataset", complete=complete_dataset,
    )  # fmt: skip
    device: str = setting(
        TrainConfig.device, "", "Fine-tune on this device: cpu, cuda, cuda:N, mps, or auto for the fastest.",
        unit="device", letter="-d", complete=complete_device,
    )  # fmt: skip
    seed: int = setting(0, "", "Derive all random numbers from this seed.", at_least=0)
    output: Path | None = setting(
        None, "", "Write the model and all that was tried to this folder (default: runs/compress/NAME).",
        unit="dir", letter="-o", aliases=("--out", "--save"),
    )  # fmt: skip
    force: bool = setting(
        False, "", "Replace a compression with other steps, goals or settings in the folder of --output."
    )
    format: console.TableFormat = setting("table", "", "Print a table for people, or JSON or CSV.")


def compress(options: CompressOptions) -> None:
    """Make a trained model smaller by pruning and integers, and measure what each step brings.

    distill trains a smaller architecture with the model as its teacher; prune removes this share of the
    channels; fold folds batch normalization into the layers before it; int8 stores and computes in 8-bit
    integers; int4 stores weights in 4 bits. Both kinds of integers fold first.

    Examples:

      digitcli compress cnn --steps prune=0.5,int8

      digitcli compress robust --max-size 64kB

      digitcli compress fast --max-accuracy-loss 0.1

    The folder of the result is a model for every other command. Choices depend on validation digits alone;
    the test digits choose nothing. Ctrl-C stops, and the same command continues. Exit code 8 says
    that no model reaches the goals.
    """
    check_device_name(options.device)
    steps = () if options.steps is None else parse_steps(options.steps)
    if bool(steps) == (options.max_accuracy_loss is not None or options.max_size is not None):
        cause = "Steps and goals are given." if steps else "Neither steps nor goals are given."
        raise UsageError(cause, "Give either --steps, or goals: --max-accuracy-loss, --max-size or both.")
    resolve_model(options.model)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.compression import compress as module
        from digitcli.compression.compressor import CompressionConfig
        from digitcli.export.export import runtime_graph
    shared = ("model", "data", "epochs", "seed", "device", "teacher")
    config = CompressionConfig(**{name: getattr(options, name) for name in shared})
    view = CompressionView()
    with view.bar, stop_on_signals() as stop_signal:
        result = module.compress(
            config, steps, max_accuracy_loss=options.max_accuracy_loss, max_bytes=options.max_size,
            folder=options.output, force=options.force, export_graph=runtime_graph, on_event=view,
            stop_signal=stop_signal,
        )  # fmt: skip
    console.show_result(result, options.format, show_compression)
    if result.chosen is None:
        raise QualityError(*result.missed())


class CompressionView:
    """A bar for the training that runs, and a line for each model, each epoch and each notice."""

    def __init__(self) -> None:
        self.bar = CountingBar("% of this training")
        self.epochs = 0
        self.started = time.monotonic()

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
                console.show_message(f"  epoch {event.epoch}/{self.epochs}  validation {accuracy}")
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
    heading = "steps\n* on the Pareto front"
    return console.fitted_table(heading, labels, columns, less_important, console.out.width)


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
