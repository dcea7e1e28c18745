"""`digitcli adapt`: fine-tune the reader on labelled pictures, and say whether that helps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from digitcli import console
from digitcli.adaptation.settings import EPOCHS, FOLDS, FineTuning, check_settings
from digitcli.cli.options import DeviceOption, complete_shipped
from digitcli.cli.signals import wait_with_signals
from digitcli.data.dataset import describe_failures
from digitcli.errors import PartialInputError, QualityError
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import resolve_models
from digitcli.recognition.results import DEFAULT_MODELS

if TYPE_CHECKING:
    from digitcli.adaptation.results import Adaptation
    from digitcli.inference.model_resolution import ResolvedModel

Folder = Annotated[
    Path,
    Argument(
        metavar="FOLDER",
        help="Learn from the pictures of this folder that its labels.csv lists: one row a picture with the "
        "columns file, text and optionally group; other columns are ignored.",
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
        f"digitcli predict (default: {', '.join(DEFAULT_MODELS)}).",
        autocompletion=complete_shipped,
    ),
]
Epochs = Annotated[
    int, Option(metavar="N", help="Train for at most this many epochs; cross-validation chooses the number.")
]
Folds = Annotated[
    int,
    Option(
        metavar="N",
        help="Divide the pictures into this many folds for cross-validation; a group is never divided.",
    ),
]
Seed = Annotated[int, Option(metavar="N", help="Draw the folds and the training by this random seed.")]
Force = Annotated[
    bool, Option("--force", help="Replace the adapted model that is in the folder of --output.")
]
Format = Annotated[console.Format, Option("--format", help="Print a table for people, or JSON.")]


def adapt(
    folder: Folder,
    output: Output,
    model: Model = None,
    epochs: Epochs = EPOCHS,
    folds: Folds = FOLDS,
    seed: Seed = 0,
    force: Force = False,
    device: DeviceOption = None,
    format: Format = "table",
) -> None:
    """Adapt the reader to your pictures, and say how many more of them it then reads rightly.

    Example: digitcli adapt labelled -o my-reader

    Then: digitcli predict scans -m my-reader

    Each picture is judged by a network that was not trained on it (cross-validation). Give pictures by the
    same writer, or of the same form, the same group in labels.csv, so that they stay together. Exit code 8
    says that the adaptation did not help, and that no model was written.
    """
    if device is not None:
        check_device_name(device)
    settings = FineTuning(epochs=epochs, seed=seed)
    check_settings(settings, folds)
    resolved = resolve_models(model or ())
    with wait_with_signals():
        import digitcli.adaptation.adapt  # noqa: F401
        from digitcli.adaptation.saving import check_output, save_adaptation
    check_output(output, force)
    result = _adapt(folder, resolved, settings, folds, device or "auto")
    written = None
    try:
        if result.models:
            save_adaptation(result, output)
            written = output
    finally:  # a full disk must not take the figures with it
        _show(result, written, format)
    _conclude(result)


def _adapt(
    folder: Path, models: tuple[ResolvedModel, ...], settings: FineTuning, folds: int, device: str
) -> Adaptation:
    from digitcli.adaptation.adapt import adapt
    from digitcli.cli.views.adaptation import StagesView

    with StagesView() as view:
        return adapt(folder, models, settings=settings, folds=folds, device=device, on_event=view)


def _show(result: Adaptation, output: Path | None, format: console.Format) -> None:
    """Print the result, and on standard error which pictures could not be used."""
    if result.failures:
        console.show_notice(f"Some pictures were left out: {describe_failures(result.failures)}")
    if result.unlabelled:
        unlabelled = console.counted(result.unlabelled, "picture")
        console.show_notice(f"{unlabelled} in {result.folder} without a label were left out.")
    if format == "json":
        console.show_json({**result.record(), "output": None if output is None else str(output)})
    else:
        from digitcli.cli.views.adaptation import describe

        console.show_table(console.pairs(describe(result, output)))


def _conclude(result: Adaptation) -> None:
    """End with an exit code if the adaptation does not help, or if some pictures could not be used."""
    if not result.models:
        raise QualityError(
            "The adaptation did not help, so no model was written.",
            "Check the labels, label more pictures, or read with the shipped models as before.",
        )
    if result.failures:
        raise PartialInputError(
            f"{console.counted(len(result.failures), 'picture')} could not be used; the others were.",
            "Repair or remove the files that are named above.",
        )
