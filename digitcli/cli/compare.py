"""`digitcli compare`: compare architectures, variants of their recipes and models over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.atomic_write import write_whole
from digitcli.cli.options import check_output, complete_architecture, complete_dataset, device_setting
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.comparison.specification import (
    OUT,
    SEEDS,
    SUFFIX,
    EvaluationSplit,
    Specification,
    parse_specifications,
    plan_runs,
    save_comparison,
)
from digitcli.errors import DigitcliError, DivergedError, PartialInputError, UsageError, counted
from digitcli.evaluation.statistics import describe_p
from digitcli.inference.devices import check_device_name
from digitcli.settings import argument, setting
from digitcli.training.configuration import TrainConfig

if TYPE_CHECKING:
    from digitcli.comparison.compare import ComparedModel, Comparison

DEFAULT_SPLIT: EvaluationSplit = "test"
CHART_SUFFIX = ".svg"
LONGEST_LIST = 20  # images are listed below the table


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The arguments and options of `digitcli compare`."""

    models: tuple[str, ...] = argument(
        "MODEL", "Compare these: architectures, also with changes of their recipes "
        "(cnn:augment=off,dropout=0), trained models (shipped/cnn, a file or run folder), files of --output, "
        "or all.", complete=complete_architecture,
    )  # fmt: skip
    seeds: int | None = setting(
        None, "", f"Train each architecture with this many seeds, from 0 on (default: {SEEDS}).", at_least=1,
        at_most=1000, unit="N",
    )  # fmt: skip
    data: str | None = setting(
        None, "", "Train and evaluate on this dataset: a name, a file or a folder (default: mnist, or that "
        "of the saved comparisons).", unit="dataset", complete=complete_dataset,
    )  # fmt: skip
    split: EvaluationSplit | None = setting(
        None, "", "Evaluate on this part of the dataset; choose among variants on the validation digits "
        "(default: test, or that of the saved comparisons).",
    )  # fmt: skip
    device: str = device_setting(TrainConfig.device)
    runs: Path = setting(
        OUT, "", "Keep the run folders in this folder, and reuse its finished runs.", unit="dir",
        aliases=("--out",),
    )  # fmt: skip
    output: tuple[Path, ...] = setting(
        (), "", "Save the runs and their errors to a .json file, which a later compare takes as a MODEL, or "
        "a chart to an .svg file; may be repeated.", unit="file", letter="-o", aliases=("--save", "--plot"),
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the files of --output if they exist.")
    format: console.TableFormat = setting("table", "", "Print a table for people, JSON or CSV.")


def compare(options: CompareOptions) -> None:
    """Compare architectures and models over several seeds and tell real differences from chance.

    Every architecture is trained once for each seed, and all models are evaluated on the same images. The
    table gives the mean accuracy with its 95 % interval, and for each model how far it is behind the best,
    with a 95 % interval over seeds and McNemar's p over images, corrected for all pairs of models. A model is
    better by more than chance only if p is below 0.05 and, over several seeds, the interval excludes 0. If
    the two disagree, run more seeds. Ctrl-C saves the run; the same command continues it.

    Examples:

      digitcli compare lenet5 cnn resnet --seeds 3
      digitcli compare cnn cnn:augment=off cnn:augment=off,dropout=0 --split validation
      digitcli compare fast:time=15s lenet5:time=15s --seeds 3  # takes 2 minutes
      digitcli compare shipped/cnn shipped/fast -o models.svg
    """
    check_device_name(options.device)
    parsed = parse_specifications(options.models, options.data or TrainConfig.data, options.device)
    if options.seeds is not None and not any(each.config for each in parsed):
        raise UsageError("--seeds needs an architecture to train.", "Name one, or leave --seeds out.")
    from digitcli.data.loading import find_dataset

    data, split = _choose_digits(parsed, options.data, options.split)
    find_dataset(data)
    for path in options.output or [None]:
        check_output(path, (SUFFIX, CHART_SUFFIX), options.force)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.comparison import compare as comparing
    seeds = options.seeds or SEEDS
    with console.CountingBar("runs") as bar, stop_on_signals() as stop_signal:
        view = console.RunsView(bar, len(plan_runs(parsed, seeds)), line_of_run)
        result = comparing.compare(
            parsed, seeds=seeds, data=data, split=split, device=options.device, out=options.runs,
            on_event=view, stop_signal=stop_signal,
        )  # fmt: skip
    try:
        for path in options.output:
            if path.suffix.lower() == SUFFIX:
                save_comparison(path, result.to_saved())
            else:
                write_whole(path, comparing.draw_comparison_chart(result).encode())
    finally:  # a full disk must not take the figures with it
        console.show_result(result, options.format, _show)
    if result.diverged:
        cause = f"Training diverged, and these are left out: {', '.join(result.diverged)}."
        raise DivergedError(cause, "Lower their lr, or leave them out.")
    if result.unreadable:
        files = counted(result.unreadable, "file")
        cause = f"{files} of '{result.data}' could not be read; the others were used."
        raise PartialInputError(cause, "Repair or remove the files that are named above.")


def _choose_digits(
    parsed: Sequence[Specification], data: str | None, split: EvaluationSplit | None
) -> tuple[str, EvaluationSplit]:
    """Return the dataset and the split: as given, else those of saved runs if no other run takes part.

    Raises:
        InputError: the dataset of the saved runs is not there.
    """
    saved = parsed[0].saved
    if saved is None or not all(each.saved for each in parsed):
        return data or TrainConfig.data, split or DEFAULT_SPLIT
    if data is None:
        from digitcli.data.loading import find_dataset

        try:
            find_dataset(saved.data)
        except DigitcliError as error:
            error.remedy = f"The saved runs were evaluated on {saved.data}: say where it is now with --data."
            raise
    return data or saved.data, split or saved.split


def line_of_run(event: object) -> tuple[int, str] | None:
    """Return the number of finished runs and a line about the last one, if it has just finished."""
    from digitcli.comparison.compare import RunEvaluated

    if not isinstance(event, RunEvaluated):
        return None
    run = event.run
    seed = "" if run.seed is None else f"  seed {run.seed}"
    line = f"{event.done}/{event.total}  {event.label}{seed}  {console.percent(run.accuracy)}"
    if run.train_seconds is not None:
        line += f"  trained in {_seconds(run.train_seconds)}" + ", reused" * event.reused
    return event.done, line


COLUMNS: dict[str, Callable[[ComparedModel], str]] = {
    "parameters": lambda model: console.thousands(model.parameters),
    "MACs": lambda model: console.thousands(model.macs),
    "accuracy": lambda model: console.percent(model.accuracy),
    "sd": lambda model: _points(model.deviation),
    "95 % interval": lambda model: _interval(model.low, model.high),
    "seeds": lambda model: str(len(model.runs)),
    "trained in": lambda model: "" if model.train_seconds is None else _seconds(model.train_seconds),
    "ms": lambda model: f"{model.latency_ms:.{'2g' if model.latency_ms < 10 else '0f'}}",
    "behind": lambda model: _points(model.behind),
    "its 95 % interval": lambda model: _interval(model.behind_low, model.behind_high),
    "p": lambda model: "" if model.p is None else describe_p(model.p),
}
LEAST_IMPORTANT_FIRST = (
    "its 95 % interval", "MACs", "ms", "trained in", "parameters", "p", "sd", "behind", "seeds",
)  # fmt: skip


def _show(result: Comparison) -> None:
    """Print the table, its conclusion, the images that no run reads, and the columns that do not fit."""
    from digitcli.comparison.compare import listed

    table, left_out = _table(result, console.out.width)
    parts: list[RenderableType] = [table, ""]
    if len(result.models) > 1:
        parts.append(escape(console.printable(result.conclusion())))
    missed = [f"{index} ({result.labels[index]})" for index in result.missed]
    sentence = f"No run reads {len(missed)} of the {result.images:,} {result.split} images correctly"
    images = ": " + listed(missed, LONGEST_LIST) if missed else ""
    parts.append(f"[dim]{sentence}{images}.[/]")
    console.show_table(Group(*parts))
    console.show_left_out(left_out)


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


def _points(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


def _seconds(seconds: float) -> str:
    return console.duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"
