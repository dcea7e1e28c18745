"""`digitcli calibrate`: find the threshold from which on few answers are wrong, with a guarantee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli import console
from digitcli.cli.options import MAX_PROCESSES, check_output, complete_shipped, device_setting
from digitcli.cli.signals import wait_with_signals
from digitcli.data.dataset import Failure, describe_failures
from digitcli.errors import OutputError, PartialInputError, QualityError, counted
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import ResolvedModel, resolve_models, shipped_models
from digitcli.settings import argument, setting
from digitcli.threads import usable_cores

if TYPE_CHECKING:
    from digitcli.adaptation.calibrate import Calibration
    from digitcli.evaluation.calibration import RiskControl, ThresholdTest

PICTURES_PER_NOTICE = 100  # between two progress lines where no progress bar can be drawn


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """The options of `digitcli calibrate`."""

    folder: Path = argument(
        "FOLDER", "Read the pictures of this folder that its labels.csv lists: one row a picture with the "
        "columns file, text and optionally group.",
    )  # fmt: skip
    max_error: float = setting(
        0.01, "", "Guarantee that at most this fraction of the answers is wrong, for example 0.01 or 1%.",
        unit="fraction",
    )  # fmt: skip
    confidence: float = setting(
        0.95, "", "Give the guarantee this confidence level: the probability that it is true.",
        unit="fraction",
    )  # fmt: skip
    model: tuple[str, ...] = setting(
        (), "", "Calibrate this model; may be repeated, and is chosen as for digitcli predict.", letter="-m",
        unit="model", complete=complete_shipped,
    )  # fmt: skip
    output: Path | None = setting(
        None, "", "Write a model to this .safetensors file, with which predict uses the threshold that was "
        "found.", letter="-o", unit="file",
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the file of --output if it exists.")
    device: str = device_setting("auto")
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def calibrate(options: CalibrateOptions) -> None:
    """Find the threshold from which on few answers to your pictures are wrong, with a guarantee.

    Example: digitcli calibrate labelled --max-error 0.01 -o my-reader.safetensors

    Then: digitcli predict scans -m my-reader.safetensors

    An answer is a picture on which every number is read; it is right if its digits are those of the label.
    The labelled pictures must be a random sample of the pictures that will be read. Exit code 8 says that
    no threshold can be guaranteed.
    """
    check_device_name(options.device)
    with wait_with_signals():
        from digitcli.adaptation import calibrate as calibration
    calibration.check_guarantee(options.max_error, options.confidence)
    check_output(options.output, (".safetensors",), options.force)
    if options.output and options.output.resolve() in map(Path.resolve, shipped_models().values()):
        raise OutputError(
            f"{options.output} is a shipped model, which is never changed.", "Name another file."
        )
    resolved = resolve_models(options.model)
    with console.CountingBar("pictures", PICTURES_PER_NOTICE) as bar:
        result = calibration.calibrate(
            options.folder, resolved, max_error=options.max_error, confidence=options.confidence,
            device=options.device, processes=min(MAX_PROCESSES, usable_cores()), on_event=bar,
        )  # fmt: skip
    output = None if result.control.proven is None else options.output
    try:
        if output is not None:
            calibration.save_calibrated(result, output)
    finally:  # a full disk must not take the figures with it
        _show(result, output, resolved, options.format)
    if result.control.proven is None:
        limit, level = result.control.in_percent
        cause = f"No threshold keeps the wrong answers below {limit} at a confidence level of {level}."
        raise QualityError(cause, _remedy(result))
    raise_failures(result.failures)


def _show(
    result: Calibration, output: Path | None, models: tuple[ResolvedModel, ...], format: console.Format
) -> None:
    show_left_out(result.folder, result.failures, result.unlabelled)
    if result.copies:
        console.show_notice(f"Copies count once: {describe_failures(result.copies)}")
    if format == "json":
        console.show_json({**result.record(), "output": None if output is None else str(output)})
    else:
        console.show_table(console.pairs(_describe(result, output, [model.name for model in models])))


def show_left_out(folder: str, failures: tuple[Failure, ...], unlabelled: int) -> None:
    """Print on standard error which pictures could not be used."""
    if failures:
        console.show_notice(f"Some pictures were left out: {describe_failures(failures)}")
    if unlabelled:
        pictures = counted(unlabelled, "picture")
        console.show_notice(f"{pictures} in {folder} without a label were left out.")


def raise_failures(failures: tuple[Failure, ...]) -> None:
    """End with exit code 4 if some pictures could not be used."""
    if failures:
        cause = f"{counted(len(failures), 'picture')} could not be used; the others were."
        raise PartialInputError(cause, "Repair or remove the files that are named above.")


def _describe(result: Calibration, output: Path | None, named: Sequence[str]) -> dict[str, str]:
    """Return the rows of a table; `named` are the models that the person named."""
    control, proven = result.control, result.control.proven
    rows = {
        "model": result.model,
        "pictures": f"{result.pictures:,}, of which {result.answers:,} are answered without a threshold",
    }
    if result.copies:
        copies = counted(len(result.copies), "picture")
        rows["copies"] = f"{copies} left out: each is a copy of another, and copies show nothing new"
    if proven is None:
        return {**rows, "result": _why_nothing(control, result.answers)}
    rows |= {
        "threshold": f"{proven.threshold:g}",
        "answered": f"{proven.answered:,} of {counted(result.pictures, 'picture')}, "
        f"{console.percent(result.share_answered)}",
        "wrong": f"{proven.wrong:,} of {counted(proven.answered, 'answer')}",
        "p-value": f"{proven.p_value:.3g}, the probability of so few wrong answers if "
        f"{control.in_percent[0]} were wrong",
        "guarantee": result.guarantee or "",
        "tests": _tests(control),
    }
    if result.groups is not None:
        rows["groups"] = (
            f"{result.groups:,}, of which {result.groups_with_wrong:,} have wrong answers. Pictures of a "
            "group are alike, so nothing is shown about pictures of other groups."
        )
    return {**rows, "use": _command(result, proven, output, named)}


def _remedy(result: Calibration) -> str:
    """Return what to do if no threshold is proven, because pictures or right answers are too few."""
    looser = "allow more errors with --max-error, or give a lower --confidence"
    if not result.answers:
        return "None of the pictures is answered. Give models that read them with -m."
    if result.more_pictures is None:
        return (
            "Too many answers are wrong, and more pictures would hardly change that. Check the labels, read "
            "with another model (-m), or allow more errors with --max-error."
        )
    if more := result.more_pictures:
        unit = 10 ** max(0, len(str(more)) - 2)  # an estimate, rounded up to two digits
        more = -(-more // unit) * unit
        return f"There are too few pictures for this guarantee. Label about {more:,} more, {looser}."
    return f"It may be chance. Calibrate once more with as many new pictures, {looser}."


def _why_nothing(control: RiskControl, answers: int) -> str:
    limit, level = control.in_percent
    if not control.tests:
        return (
            f"{limit} cannot be guaranteed at a confidence level of {level}: that takes at least "
            f"{counted(control.least_answers, 'answer')}, all of them right, and these pictures give only "
            f"{answers:,}."
        )
    first = control.tests[0]
    return (
        f"The first tested threshold, {first.threshold:g}, failed: {first.wrong:,} of {first.answered:,} "
        f"answers are wrong (p-value {first.p_value:.3g}). Stricter ones have fewer than the "
        f"{counted(control.first_answers, 'answer')} that a test needs here."
    )


def _tests(control: RiskControl) -> str:
    """Return which thresholds were tested, and where the tests ended."""
    first, last = control.tests[0], control.tests[-1]
    least = counted(control.first_answers, "answer")
    text = f"They begin at {first.threshold:g}, the strictest threshold with {least} or more,"
    if last == control.proven:
        return f"{text} and all of them passed, down to {last.threshold:g}."
    failed = f"{last.threshold:g}, with {last.wrong:,} of {last.answered:,} answers wrong"
    return f"{text} and end at the first that failed: {failed}."


def _command(result: Calibration, proven: ThresholdTest, output: Path | None, named: Sequence[str]) -> str:
    """Return the command that reads with the threshold."""
    from digitcli.adaptation.calibrate import carrier_of

    if output is None:
        words = [*(f"-m {name}" for name in named), f"--min-confidence {proven.threshold:g}"]
    else:
        carrier = carrier_of(result.models).name
        words = [f"-m {name}" for name in (output, *(name for name in named if name != carrier))]
    return " ".join(["digitcli predict PICTURES", *words])
