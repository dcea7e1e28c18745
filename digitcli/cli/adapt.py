"""`digitcli adapt`: fine-tune the reader on labelled pictures, and say whether that helps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from digitcli import console
from digitcli.adaptation.adaptation import (
    EPOCHS,
    FILES,
    MOST_EPOCHS,
    OF_ONE_GROUP,
    Adaptation,
    FineTuning,
    save_adaptation,
)
from digitcli.atomic_write import check_writable_folder
from digitcli.cli.calibrate import raise_failures, show_left_out
from digitcli.cli.options import complete_shipped, device_setting
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import QualityError, counted
from digitcli.evaluation.statistics import describe_p
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import resolve_models
from digitcli.settings import REQUIRED, argument, setting

STEPS_PER_NOTICE = 200  # between two progress lines where no progress bar can be drawn


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """The options of `digitcli adapt`."""

    folder: Path = argument(
        "FOLDER", "Learn from the pictures of this folder that its labels.csv lists: one row a picture with "
        "the columns file, text and optionally group.",
    )  # fmt: skip
    output: Path = setting(
        REQUIRED, "", "Write the adapted model to this folder, whose name digitcli predict -m then takes.",
        letter="-o", unit="dir",
    )  # fmt: skip
    model: tuple[str, ...] = setting(
        (), "", "Start from this model; may be repeated, and is chosen as for digitcli predict (default: "
        "reader).", letter="-m", unit="model", complete=complete_shipped,
    )  # fmt: skip
    epochs: int = setting(
        EPOCHS, "", "Train the network that reads lines for at most this many epochs; cross-validation "
        "chooses the number.", unit="N", at_least=1, at_most=MOST_EPOCHS,
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the adapted model that is in the folder of --output.")
    device: str = device_setting("auto")
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def adapt(options: AdaptOptions) -> None:
    """Adapt the reader to your pictures, and say how many more of them it then reads correctly.

    Example: digitcli adapt labelled -o my-reader

    Then: digitcli predict scans -m my-reader

    Each picture is judged by networks that were not trained on it (cross-validation). Give pictures by the
    same writer, or of the same form, the same group in labels.csv, so that they stay together. Exit
    code 8 says that the adaptation did not help, and that no model was written.
    """
    check_device_name(options.device)
    resolved = resolve_models(options.model)
    check_writable_folder(options.output, FILES, options.force)
    with wait_with_signals():
        from digitcli.adaptation.adapt import adapt as adapt_to
    settings = FineTuning(epochs=options.epochs)
    with console.CountingBar(say_every=STEPS_PER_NOTICE) as bar:
        result = adapt_to(options.folder, resolved, settings=settings, device=options.device, on_event=bar)
    written = None
    try:
        if result.adapted:
            save_adaptation(result, options.output)
            written = options.output
    finally:  # a full disk must not take the figures with it
        _show(result, written, options.format)
    if not result.adapted:
        raise QualityError(
            "The adaptation did not help, so no model was written.",
            "Check the labels, label more pictures, or read with the shipped models as before.",
        )
    raise_failures(result.failures)


def _show(result: Adaptation, output: Path | None, format: console.Format) -> None:
    show_left_out(result.folder, result.failures, result.unlabelled)
    if format == "json":
        console.show_json({**result.record(), "output": None if output is None else str(output)})
    else:
        console.show_table(console.pairs(_describe(result, output)))


def _describe(result: Adaptation, output: Path | None) -> dict[str, str]:
    """Return the rows of a table."""
    n, choice, before = len(result.pictures), result.choice, result.scores[0]
    pictures = f"{n:,} in {counted(result.groups, 'group')}"
    if result.unused:
        pictures += f"; in {result.unused:,} it cannot be told where the text stands, and nothing was learned"
    rows = {
        "model": result.model,
        "pictures": pictures,
        "before": _answers(result.right_before, result.wrong_before, n),
    }
    if choice is not None:
        rows |= {
            "after": f"{_answers(result.right_after, result.wrong_after, n)}, each by networks that were not "
            "trained on it",
            "difference": f"{counted(result.gained, 'picture')} gained, {result.lost:,} lost; the "
            f"probability of that by chance is {describe_p(result.p_value)}",
            "lines": f"of {result.lines:,} held-out lines, {console.percent(before.exact_match)} read "
            f"correctly before, {console.percent(choice.score.exact_match)} after",
            "epochs": f"{choice.epochs}, chosen from 0 to {len(result.scores) - 1} by {result.folds} folds",
            "forgetting": f"of 1,000 synthetic lines, {console.percent(choice.composed_before)} read "
            f"correctly before, {console.percent(choice.composed_after)} after",
        }
        if choice.share < 1:
            rows["weights"] = (
                f"{choice.share:g} of the way from the weights before the training to those after it, which "
                "forget too much"
            )
    rows["result"] = result.verdict
    if result.divides_group:
        rows["groups"] = OF_ONE_GROUP
    if output is not None:
        rows["use"] = f"digitcli predict PICTURES -m {output}"
        rows["guarantee"] = (
            f"digitcli calibrate OTHER-PICTURES -m {output} --max-error 0.01, with labelled pictures that "
            "were not used here"
        )
    return rows


def _answers(right: int, wrong: int, n: int) -> str:
    return f"{right:,} of {n:,} read correctly ({console.percent(right / n)}), {wrong:,} answered wrongly"
