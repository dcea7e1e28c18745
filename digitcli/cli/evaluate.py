"""`digitcli evaluate`: what a model is worth on labelled digits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from digitcli import console
from digitcli.cli.completion import complete_dataset, complete_shipped
from digitcli.cli.options import DeviceOption, RuntimeOption
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import InputError, PartialInputError, QualityError, UsageError
from digitcli.evaluation.export import check_target, save_result
from digitcli.evaluation.splits import Split
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import DEFAULT_MODEL, ResolvedModel, resolve_models

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import EvaluationResult
    from digitcli.evaluation.evaluate_lines import LineEvaluation

RESULT, MEASURED = "Result", "What else is measured"
OF_DIGITS = ("split", "clean", "robustness", "outliers")

Models = Annotated[
    list[str] | None,
    Argument(
        metavar="MODEL",
        help=f"Shipped models, checkpoint files or run folders; several are averaged; "
        f"{DEFAULT_MODEL} if not given.",
        autocompletion=complete_shipped,
        show_default=False,
    ),
]
Model = Annotated[
    list[str] | None,
    Option(
        "--model", "-m", help="A model more; may be given several times.", autocompletion=complete_shipped
    ),
]
Data = Annotated[
    str | None,
    Option(
        help="mnist (if not given) or another named set; a folder of IDX files, or of pictures in "
        "sub-folders 0 to 9; .npz; .csv. For models of lines a folder of digitcli synthesize.",
        autocompletion=complete_dataset,
    ),
]
Part = Annotated[
    Split | None,
    Option(
        "--split",
        help="Which part. If not given: the test part; all where there is none and no model was "
        "trained on the set.",
    ),
]
BatchSize = Annotated[int | None, Option("--batch-size", "-b", min=1, help="Digits computed at once.")]
Worst = Annotated[
    int | None,
    Option(min=0, help="How many of the worst mistakes are shown; 6 if not given.", rich_help_panel=RESULT),
]
Clean = Annotated[
    bool,
    Option(
        "--clean",
        help="The accuracy without the 15 test digits of MNIST whose label people reject, too.",
        rich_help_panel=MEASURED,
    ),
]
RobustnessOption = Annotated[
    bool,
    Option("--robustness", help="The accuracies under 15 corruptions.", rich_help_panel=MEASURED),
]
OutliersOption = Annotated[
    bool,
    Option(
        "--outliers",
        help="How well confidence tells digits from noise, clouds, letters and, where Debian's "
        "dataset-fashion-mnist is installed, clothes.",
        rich_help_panel=MEASURED,
    ),
]
Fonts = Annotated[
    Path | None,
    Option(metavar="FILE|DIR", help="Fonts to take letters from, too.", rich_help_panel=MEASURED),
]
MinAccuracy = Annotated[
    float | None,
    Option(
        metavar="FRACTION",
        help="End with exit code 8 below this accuracy, from 0 to 1.",
        rich_help_panel=RESULT,
    ),
]
Save = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Also write the figures (.json), every answer with its probabilities (.csv), or diagrams of "
        "reliability and coverage (.svg).",
        rich_help_panel=RESULT,
    ),
]
Force = Annotated[bool, Option("--force", help="Replace a file that is there.", rich_help_panel=RESULT)]
Format = Annotated[console.Format, Option(help="For people or for programs.", rich_help_panel=RESULT)]


def evaluate(
    models: Models = None,
    model: Model = None,
    data: Data = None,
    split: Part = None,
    device: DeviceOption = None,
    runtime: RuntimeOption = None,
    batch_size: BatchSize = None,
    worst: Worst = None,
    clean: Clean = False,
    robustness: RobustnessOption = False,
    outliers: OutliersOption = False,
    fonts: Fonts = None,
    min_accuracy: MinAccuracy = None,
    save: Save = None,
    force: Force = False,
    format: Format = "table",
) -> None:
    """Judge models on labelled digits: accuracy, calibration, confusions, and the worst mistakes.

    Example: digitcli evaluate cnn
    """
    named = [*(models or ()), *(model or ())] or [DEFAULT_MODEL]
    given = {
        "data": data, "split": split, "device": device, "batch_size": batch_size, "worst": worst,
        "runtime": runtime, "clean": clean or None, "robustness": robustness or None,
        "outliers": outliers or None, "fonts": fonts,
    }  # fmt: skip
    chosen = {name: value for name, value in given.items() if value is not None}
    resolved = _check(named, chosen, min_accuracy, save, force)
    task = resolved[0].header.task
    result = _run_lines(resolved[0], chosen) if task == "line" else _run(resolved, chosen)
    try:
        if save:
            save_result(save, result)
    finally:  # a full disk must not take the figures with it
        _show(result, task, format)
    accuracy = result.accuracy
    if min_accuracy is not None and accuracy < min_accuracy:
        raise QualityError(
            f"The accuracy {accuracy:.6g} is below --min-accuracy {min_accuracy:g}.",
            "Take another model or train it longer; the mistakes above show where it fails.",
        )
    if result.unreadable:
        raise PartialInputError(
            f"Of '{result.data}' {result.unreadable:,} could not be used; the others were.",
            "Mend or remove what is named above.",
        )


def _check(
    models: list[str], chosen: dict[str, Any], min_accuracy: float | None, save: Path | None, force: bool
) -> tuple[ResolvedModel, ...]:
    """Find every mistake that the arguments alone show, before anything heavy is loaded."""
    from digitcli.data.loading import find_dataset

    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise UsageError(f"--min-accuracy is {min_accuracy:g}.", "Give a fraction from 0 to 1, e.g. 0.99.")
    if force and save is None:
        raise UsageError("--force replaces the file of --save.", "Name it with --save.")
    if "fonts" in chosen and "outliers" not in chosen:
        raise UsageError("--fonts are to take letters from.", "Give --outliers too, or leave --fonts out.")
    if "fonts" in chosen and not os.path.exists(chosen["fonts"]):  # noqa: PTH110 (which raises nothing)
        raise InputError(f"There is no file or folder {chosen['fonts']}.", "Name the fonts.")
    if "device" in chosen:
        check_device_name(chosen["device"])
    if save is not None:
        check_target(save, force)
    if "data" in chosen:
        find_dataset(chosen["data"])
    if "clean" in chosen and (
        chosen.get("data", "mnist") != "mnist" or chosen.get("split", "test") != "test"
    ):
        raise UsageError("--clean knows the test digits of mnist alone.", "Leave --data and --split out.")
    resolved = resolve_models(models)
    tasks = {model.header.task for model in resolved}
    if "line" in tasks and len(models) > 1:
        raise UsageError("A model of lines is judged alone.", "Name one model.")
    for name in OF_DIGITS:
        if "line" in tasks and name in chosen:
            raise UsageError(f"Lines have no --{name}.", "Leave it out.")
    if "line" in tasks and save is not None and save.suffix.lower() == ".svg":
        raise UsageError("Of lines there is no picture.", "Name a .json or a .csv file.")
    return resolved


def _run(models: tuple[ResolvedModel, ...], chosen: dict[str, Any]) -> EvaluationResult:
    """Load what computes only now."""
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.cli.views.evaluation import show_event
        from digitcli.cli.views.progress import CountingBar
        from digitcli.evaluation import evaluate

        _import_runtime(models, chosen)
    with CountingBar("digits") as bar:
        return evaluate.evaluate(models, on_event=lambda event: show_event(event, bar), **chosen)


def _run_lines(model: ResolvedModel, chosen: dict[str, Any]) -> LineEvaluation:
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.cli.views.evaluation import show_event
        from digitcli.cli.views.progress import CountingBar
        from digitcli.evaluation import evaluate_lines

        _import_runtime((model,), chosen)
    with CountingBar("lines") as bar:
        return evaluate_lines.evaluate_lines(model, on_event=lambda event: show_event(event, bar), **chosen)


def _import_runtime(models: tuple[ResolvedModel, ...], chosen: dict[str, Any]) -> None:
    from digitcli.inference.predictor import import_runtime

    import_runtime(models, **{name: chosen[name] for name in ("device", "runtime") if name in chosen})


def _show(result: Any, task: str, format: console.Format) -> None:
    from digitcli.cli.views.evaluation import draw_line_result, draw_result

    if format == "json":
        console.show_json(result.record())
    else:
        console.show_table(draw_line_result(result) if task == "line" else draw_result(result))
