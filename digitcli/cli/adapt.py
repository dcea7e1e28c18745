"""`digitcli adapt`: fine-tune the reader on pictures with or without labels, and say whether that helps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from digitcli import console
from digitcli.adaptation.results import Adaptation
from digitcli.adaptation.settings import EPOCHS, FOLDS, SELF_TRAINING_EPOCHS, FineTuning, check_settings
from digitcli.cli.options import (
    CheckDigitOption,
    DeviceOption,
    FormatOption,
    LengthOption,
    PatternOption,
    RangeOption,
    complete_shipped,
)
from digitcli.cli.signals import wait_with_signals
from digitcli.data.dataset import describe_failures
from digitcli.errors import PartialInputError, QualityError, UsageError, counted
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import resolve_models
from digitcli.recognition.constraints import Constraints, parse_constraints

if TYPE_CHECKING:
    from digitcli.adaptation.self_training_results import SelfTraining
    from digitcli.inference.model_resolution import ResolvedModel

Folder = Annotated[
    Path,
    Argument(
        metavar="FOLDER",
        help="Learn from the pictures of this folder that its labels.csv lists: one row a picture with the "
        "columns file, text and optionally group; other columns are ignored. With --unlabelled, learn from "
        "the pictures that it does not list; the file may be missing.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Write the adapted model to this folder, whose name digitcli predict -m then takes.",
    ),
]
Model = Annotated[
    list[str] | None,
    Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Start from this shipped model, checkpoint file or folder; repeat the option and choose as for "
        "digitcli predict (default: reader).",
        autocompletion=complete_shipped,
    ),
]
Unlabelled = Annotated[
    bool,
    Option(
        "--unlabelled",
        help="Learn from what is read for certain in the pictures without a label, instead of from labels; "
        "labelled pictures only show whether that helps.",
    ),
]
Epochs = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Train the network that reads lines for at most this many epochs; cross-validation chooses the "
        "number (default: "
        f"{EPOCHS}). With --unlabelled, labelled pictures choose it; without ten of them, train for exactly "
        f"this many (default: {SELF_TRAINING_EPOCHS}).",
    ),
]
Folds = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Divide the labelled pictures into this many folds for cross-validation; a group is never "
        f"divided (default: {FOLDS}).",
    ),
]
Seed = Annotated[int, Option(metavar="N", help="Draw the folds and the training by this random seed.")]
Force = Annotated[
    bool, Option("--force", help="Replace the adapted model that is in the folder of --output.")
]


def adapt(
    folder: Folder,
    output: Output,
    model: Model = None,
    unlabelled: Unlabelled = False,
    epochs: Epochs = None,
    folds: Folds = None,
    length: LengthOption = None,
    pattern: PatternOption = None,
    range: RangeOption = None,
    check_digit: CheckDigitOption = None,
    seed: Seed = 0,
    force: Force = False,
    device: DeviceOption = None,
    format: FormatOption = "table",
) -> None:
    """Adapt the reader to your pictures, and say how many more of them it then reads rightly.

    Example: digitcli adapt labelled -o my-reader

    Then: digitcli predict scans -m my-reader

    Each picture is judged by networks that were not trained on it (cross-validation). Give pictures by the
    same writer, or of the same form, the same group in labels.csv, so that they stay together. Exit
    code 8 says that the adaptation did not help, and that no model was written.

    With --unlabelled, confident readings take the place of labels, and only they are learned. The constraints
    on every number are for --unlabelled. Without a labelled picture, nothing tells whether that helps.
    """
    if device is not None:
        check_device_name(device)
    constraints = parse_constraints(length, pattern, range, check_digit)
    _check_combination(unlabelled, folds, constraints)
    settings = FineTuning(epochs=EPOCHS if epochs is None else epochs, seed=seed)
    fixed_epochs, folds = epochs or SELF_TRAINING_EPOCHS, FOLDS if folds is None else folds
    check_settings(settings, folds)
    resolved = resolve_models(model or ())
    with wait_with_signals():
        import digitcli.adaptation.self_training  # noqa: F401
        from digitcli.adaptation.saving import check_output, save_adaptation
    check_output(output, force)
    result: Adaptation | SelfTraining
    if unlabelled:
        result = _self_train(folder, resolved, settings, fixed_epochs, constraints, device or "auto")
    else:
        result = _adapt(folder, resolved, settings, folds, device or "auto")
    written = None
    try:
        if result.models:
            save_adaptation(result, output)
            written = output
    finally:  # a full disk must not take the figures with it
        _show(result, written, format)
    _conclude(result)


def _check_combination(unlabelled: bool, folds: int | None, constraints: Constraints | None) -> None:
    if unlabelled and folds is not None:
        cause = "--folds is for labelled pictures, but --unlabelled learns from pictures without labels."
        raise UsageError(cause, "Leave --folds out.")
    if constraints and not unlabelled:
        cause = "Constraints on every number decide which readings are learned, but labels are learned here."
        raise UsageError(cause, "Leave them out, or give --unlabelled.")


def _adapt(
    folder: Path, models: tuple[ResolvedModel, ...], settings: FineTuning, folds: int, device: str
) -> Adaptation:
    from digitcli.adaptation.adapt import adapt
    from digitcli.cli.views.adaptation import StagesView

    with StagesView() as view:
        return adapt(folder, models, settings=settings, folds=folds, device=device, on_event=view)


def _self_train(
    folder: Path,
    models: tuple[ResolvedModel, ...],
    settings: FineTuning,
    fixed_epochs: int,
    constraints: Constraints | None,
    device: str,
) -> SelfTraining:
    from digitcli.adaptation.self_training import adapt_unlabelled
    from digitcli.cli.views.adaptation import StagesView

    with StagesView() as view:
        return adapt_unlabelled(
            folder,
            models,
            settings=settings,
            fixed_epochs=fixed_epochs,
            constraints=constraints,
            device=device,
            on_event=view,
        )


def _show(result: Adaptation | SelfTraining, output: Path | None, format: console.Format) -> None:
    """Print the result, and on standard error which pictures could not be used."""
    if result.failures:
        console.show_notice(f"Some pictures were left out: {describe_failures(result.failures)}")
    if isinstance(result, Adaptation) and result.unlabelled:
        unlabelled = counted(result.unlabelled, "picture")
        console.show_notice(f"{unlabelled} in {result.folder} without a label were left out.")
    if format == "json":
        console.show_json({**result.record(), "output": None if output is None else str(output)})
    else:
        from digitcli.cli.views.adaptation import describe, describe_self_training

        if isinstance(result, Adaptation):
            rows = describe(result, output)
        else:
            rows = describe_self_training(result, output)
        console.show_table(console.pairs(rows))


def _conclude(result: Adaptation | SelfTraining) -> None:
    """End with an exit code if the adaptation does not help, or if some pictures could not be used."""
    if not result.models:
        raise QualityError(
            "The adaptation did not help, so no model was written.",
            "Check the labels, label more pictures, or read with the shipped models as before.",
        )
    if result.failures:
        raise PartialInputError(
            f"{counted(len(result.failures), 'picture')} could not be used; the others were.",
            "Repair or remove the files that are named above.",
        )
