"""`digitcli compare`: compare architectures, variants of their recipes and models over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from digitcli import console
from digitcli.atomic_write import check_writable, write_whole
from digitcli.cli.options import (
    DeviceOption,
    TableFormatOption,
    complete_architecture,
    complete_dataset,
    tensorboard_option,
)
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.comparison.saved import SUFFIX, EvaluationSplit, save_comparison
from digitcli.comparison.specification import OUT, SEEDS, Specification, parse_specifications, plan_runs
from digitcli.errors import DigitcliError, DivergedError, PartialInputError, UsageError, counted
from digitcli.inference.devices import check_device_name
from digitcli.training.configuration import TrainConfig

if TYPE_CHECKING:
    from digitcli.comparison.compare import Comparison

DEFAULT_SPLIT: EvaluationSplit = "test"

SpecificationsArgument = Annotated[
    list[str],
    Argument(
        metavar="MODEL",
        help="Compare these: an architecture (cnn), an architecture with changes of its recipe "
        "(cnn:augment=off,weight_decay=0.1; the settings are the options of digitcli train, and augment=off "
        "does the same as --no-augment), a model that is trained already (shipped/cnn, a run folder or a "
        "checkpoint file), a file that --save wrote, or all for every architecture of single digits.",
        autocompletion=complete_architecture,
        show_default=False,
    ),
]
SeedsOption = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        max=1000,
        help=f"Train each architecture with this many seeds, from 0 on (default: {SEEDS}).",
    ),
]
DataOption = Annotated[
    str | None,
    Option(
        metavar="DATASET",
        help="Train and evaluate on this dataset: a name, a file or a folder, as for digitcli train "
        f"(default: {TrainConfig.data}; if every MODEL is a file that --save wrote, that of the first file).",
        autocompletion=complete_dataset,
    ),
]
SplitOption = Annotated[
    EvaluationSplit | None,
    Option(
        help="Evaluate on this part of the dataset. Choose among variants on the validation digits, which "
        "are held out from training, and keep the test digits for the last comparison (default: "
        f"{DEFAULT_SPLIT}; if every MODEL is a file that --save wrote, that of the first file).",
    ),
]
OutOption = Annotated[
    Path,
    Option(metavar="DIR", help="Keep the run folders in this folder, and reuse its finished runs."),
]
PlotOption = Annotated[
    Path | None,
    Option(metavar="FILE.svg", help="Plot the error of each model against its parameters and its latency."),
]
SaveOption = Annotated[
    Path | None,
    Option(
        metavar="FILE.json",
        help="Save the runs and the images that each run misreads. A later compare takes the file as a MODEL "
        "and trains nothing for it.",
    ),
]
TensorBoardOption = Annotated[Path | None, tensorboard_option()]
ForceOption = Annotated[bool, Option("--force", help="Overwrite the files of --plot and --save.")]


def compare(
    specifications: SpecificationsArgument,
    seeds: SeedsOption = None,
    data: DataOption = None,
    split: SplitOption = None,
    device: DeviceOption = None,
    out: OutOption = OUT,
    plot: PlotOption = None,
    save: SaveOption = None,
    tensorboard: TensorBoardOption = None,
    force: ForceOption = False,
    format: TableFormatOption = "table",
) -> None:
    """Compare architectures and models over several seeds and tell real differences from chance.

    Every architecture is trained once for each seed, and all models are evaluated on the same images. The
    table gives the mean accuracy with its 95 % interval, and for each model how far it is behind the best,
    with a 95 % interval over seeds and McNemar's p over images, corrected for all pairs of models. A model is
    better by more than chance only if p is below 0.05 and, over several seeds, the interval excludes 0. If
    the two disagree, run more seeds. Ctrl-C saves the run; the same command continues it.

    Examples:

      digitcli compare lenet5 cnn resnet --seeds 3
      digitcli compare cnn cnn:augment=off cnn:augment=off,dropout=0 --split validation
      digitcli compare shipped/cnn shipped/fast --plot models.svg
    """
    device = device or TrainConfig.device
    check_device_name(device)
    parsed = parse_specifications(specifications, data or TrainConfig.data, device)
    for option, value in (("--seeds", seeds), ("--tensorboard", tensorboard)):
        if value is not None and not any(each.config for each in parsed):
            raise UsageError(f"{option} needs an architecture to train.", f"Name one, or leave {option} out.")
    data, split = _choose_digits(parsed, data, split)
    _check_dataset(data)
    _check_files(plot, save, force)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.cli.views.comparison import line_of_run
        from digitcli.cli.views.progress import CountingBar, RunsView
        from digitcli.comparison import compare as comparing
    seeds = seeds or SEEDS
    with CountingBar("runs") as bar, stop_on_signals() as stop_signal:
        view = RunsView(bar, len(plan_runs(parsed, seeds)), line_of_run)
        result = comparing.compare(
            parsed, seeds=seeds, data=data, split=split, device=device, out=out,
            tensorboard=tensorboard, on_event=view, stop_signal=stop_signal,
        )  # fmt: skip
    try:
        if save is not None:
            save_comparison(save, result.to_saved())
        if plot is not None:
            write_whole(plot, comparing.draw_comparison_chart(result).encode())
    finally:  # a full disk must not take the figures with it
        console.show_result(result, format, _show)
    _raise_failures(result)


def _choose_digits(
    parsed: Sequence[Specification], data: str | None, split: EvaluationSplit | None
) -> tuple[str, EvaluationSplit]:
    """Return the dataset and the split: as given, else those of saved runs if no other run takes part.

    Raises:
        InputError: the dataset of the saved runs is not there.
    """
    saved = parsed[0].saved
    if saved is None or any(each.config or each.model for each in parsed):
        return data or TrainConfig.data, split or DEFAULT_SPLIT
    if data is None:
        try:
            _check_dataset(saved.data)
        except DigitcliError as error:
            error.remedy = f"The saved runs were evaluated on {saved.data}: say where it is now with --data."
            raise
    return data or saved.data, split or saved.split


def _check_dataset(data: str) -> None:
    from digitcli.data.loading import find_dataset
    from digitcli.synthesis.line_folders import is_line_folder

    path = find_dataset(data)
    if path is not None and is_line_folder(path):
        raise UsageError(f"--data {data} holds lines.", "Give a dataset of single digits.")


def _check_files(plot: Path | None, save: Path | None, force: bool) -> None:
    if force and plot is None and save is None:
        cause = "--force replaces the files of --plot and --save, but neither is given."
        raise UsageError(cause, "Leave --force out.")
    for option, path, suffix in (("--plot", plot, ".svg"), ("--save", save, SUFFIX)):
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise UsageError(f"{option} is '{path}'.", f"Name a file that ends in {suffix}.")
        check_writable(path, force)


def _show(result: Comparison) -> None:
    from digitcli.cli.views.comparison import draw_comparison

    drawn, left_out = draw_comparison(result, console.out.width)
    console.show_table(drawn)
    console.show_left_out(left_out)


def _raise_failures(result: Comparison) -> None:
    """End with an exit code if models diverged or some files of the dataset could not be read."""
    if result.diverged:
        cause = f"Training diverged, and these are left out: {', '.join(result.diverged)}."
        raise DivergedError(cause, "Lower their lr, or leave them out.")
    if result.unreadable:
        files = counted(result.unreadable, "file")
        cause = f"{files} of '{result.data}' could not be read; the others were used."
        raise PartialInputError(cause, "Repair or remove the files that are named above.")
