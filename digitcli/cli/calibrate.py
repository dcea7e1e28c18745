"""`digitcli calibrate`: find the threshold from which on few answers are wrong, with a guarantee."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from digitcli import console
from digitcli.cli.options import (
    MAX_PROCESSES,
    DeviceOption,
    FormatOption,
    RuntimeChoice,
    RuntimeOption,
    complete_shipped,
    parse_fraction,
)
from digitcli.cli.signals import wait_with_signals
from digitcli.data.dataset import describe_failures
from digitcli.errors import PartialInputError, QualityError, UsageError, counted
from digitcli.events import PicturesDone
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import ResolvedModel, resolve_models
from digitcli.recognition.readings import DEFAULT_MODELS
from digitcli.threads import usable_cores

if TYPE_CHECKING:
    from digitcli.events import Event
    from digitcli.recognition.calibrate import Calibration

PICTURES_PER_NOTICE = 100  # between two progress lines where no progress bar can be drawn

Folder = Annotated[
    Path,
    Argument(
        metavar="FOLDER",
        help="Read the pictures of this folder that its labels.csv lists: one row a picture with the columns "
        "file, text and optionally group; other columns are ignored.",
        show_default=False,
    ),
]
MaxError = Annotated[
    float,
    Option(
        metavar="FRACTION",
        parser=parse_fraction,
        help="Guarantee that at most this fraction of the answers is wrong, for example 0.01 or 1%.",
    ),
]
Confidence = Annotated[
    float,
    Option(
        metavar="FRACTION",
        parser=parse_fraction,
        help="Give the guarantee this confidence level: the probability, over the choice of the labelled "
        "pictures, that it is true.",
    ),
]
Model = Annotated[
    list[str] | None,
    Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Calibrate this shipped model, checkpoint file or run folder; repeat the option and choose as "
        f"for digitcli predict (default: {', '.join(DEFAULT_MODELS)}).",
        autocompletion=complete_shipped,
    ),
]
Output = Annotated[
    Path | None,
    Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write a model to this .safetensors file, with which predict uses the threshold that was found.",
    ),
]
Force = Annotated[bool, Option("--force", help="Replace the file of --output if it exists.")]


def calibrate(
    folder: Folder,
    max_error: MaxError = 0.01,
    confidence: Confidence = 0.95,
    model: Model = None,
    output: Output = None,
    force: Force = False,
    device: DeviceOption = None,
    runtime: RuntimeOption = None,
    format: FormatOption = "table",
) -> None:
    """Find the threshold from which on few answers to your pictures are wrong, with a guarantee.

    Example: digitcli calibrate labelled --max-error 0.01 -o my-reader.safetensors

    Then: digitcli predict scans -m my-reader.safetensors

    An answer is a picture on which every number is read; it is right if its digits are those of the label.
    The labelled pictures must be a random sample of the pictures that will be read. Exit code 8 says that
    no threshold can be guaranteed.
    """
    if device is not None:
        check_device_name(device)
    with wait_with_signals():
        from digitcli.recognition.calibrate import check_guarantee
        from digitcli.recognition.calibrated_model import check_target, save_calibrated
    check_guarantee(max_error, confidence)
    if output is not None:
        check_target(output, force)
    elif force:
        raise UsageError("--force replaces the file of --output, which is missing.", "Give --output too.")
    resolved = resolve_models(model or ())
    result = _calibrate(folder, resolved, max_error, confidence, device or "auto", runtime or "auto")
    if result.control.proven is None:
        output = None
    try:
        if output is not None:
            save_calibrated(result, output)
    finally:  # a full disk must not take the figures with it
        _show(result, output, resolved, format)
    _conclude(result)


def _calibrate(
    folder: Path,
    models: tuple[ResolvedModel, ...],
    max_error: float,
    confidence: float,
    device: str,
    runtime: RuntimeChoice,
) -> Calibration:
    from digitcli.cli.views.progress import CountingBar
    from digitcli.recognition.calibrate import calibrate

    with CountingBar("pictures", PICTURES_PER_NOTICE) as bar:

        def on_event(event: Event) -> None:
            if isinstance(event, PicturesDone):
                bar.show(event.done, event.n)

        return calibrate(
            folder,
            models,
            max_error=max_error,
            confidence=confidence,
            device=device,
            runtime=runtime,
            processes=min(MAX_PROCESSES, usable_cores()),
            on_event=on_event,
        )


def _show(
    result: Calibration, output: Path | None, models: tuple[ResolvedModel, ...], format: console.Format
) -> None:
    """Print the result, and on standard error which pictures could not be used."""
    if result.failures:
        console.show_notice(f"Some pictures were left out: {describe_failures(result.failures)}")
    if result.copies:
        console.show_notice(f"Copies count once: {describe_failures(result.copies)}")
    if result.unlabelled:
        unlabelled = counted(result.unlabelled, "picture")
        console.show_notice(f"{unlabelled} in {result.folder} without a label were left out.")
    if format == "json":
        console.show_json({**result.record(), "output": None if output is None else str(output)})
    else:
        from digitcli.cli.views.calibration import describe

        console.show_table(console.pairs(describe(result, output, [model.name for model in models])))


def _conclude(result: Calibration) -> None:
    """End with an exit code if nothing is proven, or if some pictures could not be used."""
    control = result.control
    if control.proven is None:
        from digitcli.cli.views.calibration import remedy

        limit, level = (f"{100 * share:g} %" for share in (control.max_error, control.confidence))
        cause = f"No threshold keeps the wrong answers below {limit} at a confidence level of {level}."
        raise QualityError(cause, remedy(result))
    if result.failures:
        raise PartialInputError(
            f"{counted(len(result.failures), 'picture')} could not be used; the others were.",
            "Repair or remove the files that are named above.",
        )
