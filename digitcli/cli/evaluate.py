"""`digitcli evaluate`: measure the accuracy of models on labelled digits or lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from digitcli import console
from digitcli.cli.options import (
    DeviceOption,
    RuntimeOption,
    complete_dataset,
    complete_shipped,
    parse_fraction,
)
from digitcli.cli.signals import wait_with_signals
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import PartialInputError, QualityError, UsageError, counted
from digitcli.evaluation.result_files import (
    DIGIT_SUFFIXES,
    LINE_SUFFIXES,
    MODEL_SUFFIX,
    check_result_file,
    save_result,
)
from digitcli.evaluation.splits import Split
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import DEFAULT_MODEL, ResolvedModel, check_distinct, resolve_models

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import EvaluationResult
    from digitcli.evaluation.evaluate_lines import LineEvaluation
    from digitcli.events import Event

RESULT, MEASUREMENTS = "Result", "More measurements (single digits only)"
SELECTION = "Selection of an ensemble (single digits only)"
DIGIT_OPTIONS = ("select", "split", "without_label_errors", "robustness", "ood")

Models = Annotated[
    list[str] | None,
    Argument(
        metavar="MODEL",
        help="Evaluate these shipped models, checkpoint files or run folders. The probabilities of several "
        f"models are averaged (default: {DEFAULT_MODEL}).",
        autocompletion=complete_shipped,
        show_default=False,
    ),
]
Model = Annotated[
    list[str] | None,
    Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Evaluate this model too; it is added to the MODEL arguments. May be given several times.",
        autocompletion=complete_shipped,
    ),
]
Data = Annotated[
    str | None,
    Option(
        "--data",
        metavar="DATASET",
        help="Evaluate on this dataset: mnist, mnist-c (corrupted digits) or another named dataset; a folder "
        "of IDX files, or of pictures in sub-folders 0 to 9; an .npz or .csv file; for line models, a folder "
        "that digitcli synthesize wrote (default: mnist; for line models, 2,000 lines of its test digits).",
        autocompletion=complete_dataset,
    ),
]
SplitOption = Annotated[
    Split | None,
    Option(
        "--split",
        help="Evaluate on this split (default: test if the dataset has test digits or the model held some "
        "out in its training, else all).",
    ),
]
Select = Annotated[
    int | None,
    Option(
        "--select",
        min=1,
        metavar="N",
        help="Choose this many of the models, one after the other, by the NLL of their average on the "
        "validation digits, and evaluate the average on the test digits.",
        rich_help_panel=SELECTION,
    ),
]
BatchSize = Annotated[
    int | None,
    Option(
        "--batch-size",
        "-b",
        metavar="N",
        min=1,
        help="Compute this many images at once (default: 512 digits, or 32 lines).",
    ),
]
Mistakes = Annotated[
    int | None,
    Option(
        "--mistakes",
        min=0,
        metavar="N",
        help="Show this many mistakes, the most confident first (default: 6).",
        rich_help_panel=RESULT,
    ),
]
WithoutLabelErrors = Annotated[
    bool,
    Option(
        "--without-label-errors",
        help="Also measure the accuracy without the 15 test digits of MNIST whose label is known to be "
        "wrong.",
        rich_help_panel=MEASUREMENTS,
    ),
]
RobustnessOption = Annotated[
    bool,
    Option(
        "--robustness",
        help="Also measure the accuracy under the 15 corruptions of MNIST-C, e.g. noise and fog.",
        rich_help_panel=MEASUREMENTS,
    ),
]
Ood = Annotated[
    bool,
    Option(
        "--ood",
        help="Also measure how well the confidence tells digits from out-of-distribution pictures: noise, "
        "clouds, letters and, if Debian's dataset-fashion-mnist is installed, clothes.",
        rich_help_panel=MEASUREMENTS,
    ),
]
MinAccuracy = Annotated[
    float | None,
    Option(
        "--min-accuracy",
        metavar="FRACTION",
        parser=parse_fraction,
        help="End with exit code 8 if the accuracy is below this fraction, for example 0.99 or 99%; for line "
        "models, it is that of exact matches.",
        rich_help_panel=RESULT,
    ),
]
Output = Annotated[
    Path | None,
    Option(
        "--output",
        "-o",
        "--save",
        "--out",
        metavar="FILE",
        help="Write the figures to a .json file, every answer to a .csv file, diagrams to an .svg file, or "
        "the models that --select chooses to a .safetensors file.",
        rich_help_panel=RESULT,
    ),
]
Force = Annotated[
    bool,
    Option("--force", help="Replace the file of --output if it exists.", rich_help_panel=RESULT),
]
Format = Annotated[
    console.Format,
    Option("--format", help="Print a table for people, or JSON.", rich_help_panel=RESULT),
]


def evaluate(
    models: Models = None,
    model: Model = None,
    data: Data = None,
    split: SplitOption = None,
    select: Select = None,
    device: DeviceOption = None,
    runtime: RuntimeOption = None,
    batch_size: BatchSize = None,
    mistakes: Mistakes = None,
    without_label_errors: WithoutLabelErrors = False,
    robustness: RobustnessOption = False,
    ood: Ood = False,
    min_accuracy: MinAccuracy = None,
    output: Output = None,
    force: Force = False,
    format: Format = "table",
) -> None:
    """Measure the accuracy and the calibration of models on labelled digits, and show their mistakes.

    Example: digitcli evaluate cnn
    """
    options: dict[str, Any] = {
        "data": data, "select": select, "split": split, "device": device, "runtime": runtime,
        "batch_size": batch_size, "mistakes": mistakes, "without_label_errors": without_label_errors or None,
        "robustness": robustness or None, "ood": ood or None,
    }  # fmt: skip
    chosen = {name: value for name, value in options.items() if value is not None}
    names = [*(models or ()), *(model or ())] or [DEFAULT_MODEL]
    _check_options(chosen, min_accuracy)
    if "select" in chosen:
        from digitcli.evaluation.selection import check_selection

        check_selection(chosen["select"], len(names), chosen.get("split"))
    resolved = resolve_models(names)
    check_distinct(resolved)
    reads_lines = "line" in {each.header.task for each in resolved}
    if reads_lines:
        _check_line_options(resolved, chosen)
    _check_output(output, force, reads_lines, "select" in chosen)
    result = _evaluate(resolved, chosen, reads_lines)
    try:
        if output:
            save_result(output, result)
    finally:  # a full disk must not take the figures with it
        _print_result(result, format)
    _conclude(result, min_accuracy)


def _check_options(chosen: dict[str, Any], min_accuracy: float | None) -> None:
    """Refuse every mistake in the options before anything heavy is loaded."""
    from digitcli.data.loading import find_dataset

    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise UsageError(f"--min-accuracy is {min_accuracy:g}.", "Give a fraction from 0 to 1, e.g. 0.99.")
    if "device" in chosen:
        check_device_name(chosen["device"])
    if "data" in chosen:
        find_dataset(chosen["data"])
    if "without_label_errors" in chosen and (
        chosen.get("data", "mnist") != "mnist" or chosen.get("split", "test") != "test"
    ):
        cause = "The label errors of --without-label-errors are known for the test digits of mnist only."
        raise UsageError(cause, "Leave it out, or leave --data and --split out.")


def _check_output(output: Path | None, force: bool, reads_lines: bool, selects: bool) -> None:
    if output is not None:
        suffixes = LINE_SUFFIXES if reads_lines else (*DIGIT_SUFFIXES, *[MODEL_SUFFIX] * selects)
        check_result_file(output, suffixes, force)
    elif force:
        raise UsageError("--force replaces the file of --output, which is missing.", "Give --output FILE.")


def _check_line_options(models: tuple[ResolvedModel, ...], chosen: dict[str, Any]) -> None:
    if len(models) > 1:
        names = " and ".join(model.name for model in models)
        raise UsageError(
            f"{names} cannot be averaged, since one reads lines.", "Evaluate a line model alone."
        )
    for name in DIGIT_OPTIONS:
        if name in chosen:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is for models of single digits, not for lines.", "Leave it out.")


def _evaluate(
    models: tuple[ResolvedModel, ...], chosen: dict[str, Any], reads_lines: bool
) -> EvaluationResult | LineEvaluation:
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.cli.views.evaluation import show_event
        from digitcli.cli.views.progress import CountingBar
        from digitcli.inference.predictor import import_runtime

        runner = {name: chosen[name] for name in ("device", "runtime") if name in chosen}
        import_runtime(models, **runner)
        if reads_lines:
            from digitcli.evaluation import evaluate_lines
            from digitcli.synthesis.line_folders import lines_to_evaluate
        else:
            from digitcli.evaluation import evaluate
    with CountingBar("lines" if reads_lines else "digits") as bar:

        def on_event(event: Event) -> None:
            show_event(event, bar)

        if reads_lines:
            data = chosen.pop("data", DEFAULT_DATASET)
            lines, split = lines_to_evaluate(data, models[0].header.dataset.get("digest"))
            return evaluate_lines.evaluate_lines(
                models[0], lines, data=data, split=split, on_event=on_event, **chosen
            )
        return evaluate.evaluate(models, on_event=on_event, **chosen)


def _print_result(result: EvaluationResult | LineEvaluation, format: console.Format) -> None:
    if format == "json":
        console.show_json(result.record())
    else:
        from digitcli.cli.views.evaluation import draw_result

        console.show_table(draw_result(result))


def _conclude(result: EvaluationResult | LineEvaluation, min_accuracy: float | None) -> None:
    """End with an exit code if the accuracy is too low or some inputs could not be used."""
    if min_accuracy is not None and result.accuracy < min_accuracy:
        raise QualityError(
            f"The accuracy {result.accuracy:.6g} is below --min-accuracy {min_accuracy:g}.",
            "Evaluate another model, or train this one longer; the mistakes above show where it fails.",
        )
    if result.unreadable:
        inputs = counted(result.unreadable, "input")
        raise PartialInputError(
            f"{inputs} of '{result.data}' could not be used; the others were evaluated.",
            "Repair or remove the files that are named above.",
        )
