"""`digitcli compress`: make a trained model smaller, and show what each step brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Group

from digitcli import console
from digitcli.cli.options import complete_dataset, complete_device, complete_shipped
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.compression.steps import DEFAULT_EPOCHS, CompressionResult, parse_steps
from digitcli.events import EpochDone, Event, ModelStarted, Notice, StepDone
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import resolve_model
from digitcli.settings import argument, setting
from digitcli.training.configuration import RunStarted, TrainConfig

PERCENT = 100
LESS_IMPORTANT = ("\nmultiplications", "\nECE", "\nparameters")


@dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """The options of `digitcli compress`."""

    model: str = argument(
        "MODEL", "Compress this shipped model, checkpoint file or run folder.", complete=complete_shipped
    )
    steps: str | None = setting(
        None, "", "Take these steps in their order: prune=SHARE, fold, int8 or int4.",
        unit="step,step",
    )  # fmt: skip
    epochs: int = setting(
        DEFAULT_EPOCHS, "", "Fine-tune for this many epochs after prune and int4; 0 does not train.",
        letter="-e", at_least=0,
    )  # fmt: skip
    data: str = setting(
        TrainConfig.data, "", "Fine-tune and validate on this dataset: a name, a file or a folder.",
        unit="dataset", complete=complete_dataset,
    )  # fmt: skip
    device: str = setting(
        TrainConfig.device, "", "Fine-tune on this device: cpu, cuda, cuda:N, mps, or auto for the fastest.",
        unit="device", letter="-d", complete=complete_device,
    )  # fmt: skip
    output: Path | None = setting(
        None, "", "Write the model and all that was tried to this folder (default: runs/compress/NAME).",
        unit="dir", letter="-o", aliases=("--out", "--save"),
    )  # fmt: skip
    force: bool = setting(
        False, "", "Replace a compression with other steps or settings in the folder of --output."
    )
    format: console.TableFormat = setting("table", "", "Print a table for people, or JSON or CSV.")


def compress(options: CompressOptions) -> None:
    """Make a trained model smaller by pruning and integers, and measure what each step brings.

    prune removes this share of the channels; fold folds batch normalization into the layers before it; int8
    stores and computes in 8-bit integers; int4 stores weights in 4 bits. Both kinds of integers fold first.

    Examples:

      digitcli compress cnn --steps prune=0.5,int8

      digitcli compress fast --steps int4 --epochs 0 -o fast-int4

    The folder of the result is a model for every other command. The test digits are used once, at the end.
    Ctrl-C stops, and the same command continues.
    """
    check_device_name(options.device)
    steps = parse_steps(options.steps or "")
    resolve_model(options.model)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.compression import compress as module
    view = CompressionView()
    with view.bar, stop_on_signals() as stop_signal:
        result = module.compress(
            options.model, steps, data=options.data, epochs=options.epochs, device=options.device,
            folder=options.output, force=options.force, on_event=view, stop_signal=stop_signal,
        )  # fmt: skip
    console.show_result(result, options.format, show_compression)


class CompressionView:
    """A bar for the training that runs, and a line for each model, each epoch and each notice."""

    def __init__(self) -> None:
        self.bar = console.CountingBar("% of this training")
        self.epochs = 0

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice():
                console.show_notice(event.message)
            case ModelStarted():
                console.show_message(f"{event.number} of {event.n}: {event.name}")
            case RunStarted():
                self.epochs = event.recipe.epochs
            case EpochDone():
                accuracy = console.percent(event.validation_accuracy)
                console.show_message(f"  epoch {event.epoch}/{self.epochs}  validation {accuracy}")
            case StepDone():
                self.bar.show(round(PERCENT * event.progress), PERCENT)


def show_compression(result: CompressionResult) -> None:
    """Print all models, then the last one with its test results."""
    original, *_, chosen = result.tried
    columns = {
        f"validation accuracy\n{result.n:,} {result.unit}s": [
            f"{console.percent(each.accuracy)} ({100 * each.accuracy_low:.2f}-{100 * each.accuracy_high:.2f})"
            for each in result.tried
        ],
        "\nweights": [console.size(each.weights_bytes) for each in result.tried],
        "\nparameters": [f"{each.parameters:,}" for each in result.tried],
        "\nmultiplications": [f"{each.macs:,}" for each in result.tried],
        "\nECE": [_ece(each.ece) for each in result.tried],
    }
    names = [each.steps for each in result.tried]
    table, left_out = console.fitted_table("\nsteps", names, columns, LESS_IMPORTANT, console.out.width)
    smaller = original.weights_bytes / chosen.weights_bytes
    weights = (
        f"{console.size(chosen.weights_bytes)} of weights, {smaller:.1f} times smaller than {result.model}"
    )
    rows = {"chosen": f"{chosen.steps}: {weights}", "model": result.checkpoint}
    for name, test in {"test": result.test, "test before": result.test_before}.items():
        if test is not None:
            interval = console.interval(test.accuracy_low, test.accuracy_high)
            rows[name] = f"{console.percent(test.accuracy)} ({interval}), ECE {_ece(test.ece)}"
    console.show_table(Group(table, "", console.pairs(rows)))
    console.show_left_out(left_out)


def _ece(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
