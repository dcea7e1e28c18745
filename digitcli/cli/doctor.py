"""`digitcli doctor`: say what is wrong, how one knows it, and what mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Group, RenderableType
from rich.text import Text
from typer import Argument, Option

from digitcli import console
from digitcli.atomic_write import check_writable, write_whole
from digitcli.cli.options import DRAWINGS, DeviceOption
from digitcli.diagnosis.findings import Diagnosis
from digitcli.diagnosis.subjects import Kind, kind_of
from digitcli.errors import UsageError
from digitcli.inference.devices import check_device_name

if TYPE_CHECKING:
    from digitcli.diagnosis.data import ExaminedData

STYLES = {"error": "bold red", "warning": "yellow"}

Subject = Annotated[
    str | None,
    Argument(
        metavar="[RUN|COMPARISON|MODEL|PICTURE|DATA]",
        help="Examine this run folder, file of compare --save, model, picture or dataset (default: the "
        "installation).",
        show_default=False,
    ),
]
As = Annotated[
    Kind | None,
    Option("--as", help="Say what the name stands for, if that is not recognized."),
]
LrRange = Annotated[
    bool,
    Option(
        "--lr-range",
        help="Only find a learning rate for a run or an architecture, by at most 100 steps while it rises.",
    ),
]
Split = Annotated[
    Literal["train", "test"] | None,
    Option(help="Of a dataset, examine the labels of this part (default: train)."),
]
Label = Annotated[
    str | None,
    Option(metavar="DIGITS", help="Of a picture, say what it shows, to learn why it is read wrongly."),
]
Out = Annotated[
    Path | None,
    Option(
        "--out",
        "-o",
        metavar="FILE.csv",
        help="Of a dataset, write the doubtful labels with corrections to this file, for digitcli train "
        "--corrections.",
    ),
]
Save = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Of a dataset, draw the doubtful labels into this .png, .svg or .html file.",
    ),
]
Force = Annotated[bool, Option("--force", help="Replace the files of --out and --save if they exist.")]
Format = Annotated[console.Format, Option("--format", help="Print text for people, or JSON.")]


def doctor(
    subject: Subject = None,
    kind: As = None,
    lr_range: LrRange = False,
    split: Split = None,
    label: Label = None,
    out: Out = None,
    save: Save = None,
    force: Force = False,
    device: DeviceOption = None,
    format: Format = "table",
) -> None:
    """Say what is wrong with a run, a comparison, a model, a picture, data or the installation.

    Every finding has the evidence and a remedy. Runs are examined by their curves, by what their network does
    with digits, and by training it again for a few hundred steps with other settings; nothing in their folder
    changes. The labels of a dataset are examined by networks that were trained on its other digits.

    Examples:

      digitcli doctor
      digitcli doctor runs/cnn-1
      digitcli doctor cnn --lr-range
      digitcli doctor photo.jpg --label 42
      digitcli doctor my-digits -o corrections.csv --save doubtful.html
    """
    if device is not None:
        check_device_name(device)
    of_subjects = {"--as": kind, "--split": split, "--label": label, "--out": out, "--save": save}
    if subject is None:
        _refuse("the installation", {**of_subjects, "--device": device, "--lr-range": lr_range or None})
        return _show(_examine_installation(), format)
    if lr_range:
        _refuse("a learning rate", of_subjects)
        return _show(_find_learning_rate(subject, device), format)
    kind = kind or kind_of(subject)
    if kind != "data":
        _refuse(f"a {kind}", {"--split": split, "--out": out, "--save": save})
    if kind != "picture":
        _refuse(f"a {kind}".replace("a data", "data"), {"--label": label})
    elif label is not None and not (label.isascii() and label.replace(" ", "").isdecimal()):
        raise UsageError(f"--label is '{label}'.", "Give the digits of the picture, for example --label 42.")
    if kind == "comparison":
        _refuse("a comparison", {"--device": device})
    _check_files(out, save, force)
    if kind == "data":
        data = _examine_data(subject, split or "train", device or "auto", out)
        _write_files(data, subject, out, save)
        if format == "json":
            return console.show_json(data.diagnosis.record())
        from digitcli.cli.views.doubtful_labels import draw_labels

        return console.show_table(Group(draw(data.diagnosis), draw_labels(data, out)))
    with console.Busy("Examining"):
        diagnosis = _examiner(kind, label, device or "auto")(subject)
    _show(diagnosis, format)


def _refuse(examined: str, options: Mapping[str, object]) -> None:
    """Refuse options that have no effect on what is examined."""
    for option, value in options.items():
        if value is not None:
            cause = f"{option} has no effect on the examination of {examined}."
            raise UsageError(cause, f"Leave {option} out, or name what it is for.")


def _check_files(out: Path | None, save: Path | None, force: bool) -> None:
    """Check the files that will be written before the work begins."""
    if save is not None and save.suffix.lower() not in DRAWINGS:
        raise UsageError(f"--save cannot draw {save}.", f"Name a file that ends in {', '.join(DRAWINGS)}.")
    for file in (out, save):
        if file is not None:
            check_writable(file, force)


def _write_files(data: ExaminedData, name: str, out: Path | None, save: Path | None) -> None:
    if out is not None:
        write_whole(out, data.corrections().encode(errors="surrogateescape"))
    if save is not None:
        from digitcli.diagnosis.contact_sheet import save_contact_sheet

        save_contact_sheet(save, data, name)


def _examine_installation() -> Diagnosis:
    with console.Busy("Examining the installation"):
        from digitcli.diagnosis.installation import examine_installation

        diagnosis = examine_installation()
    columns, rows = shutil.get_terminal_size()
    terminal = f"{columns} x {rows}, {console.out.encoding}, colours: {console.out.color_system or 'none'}"
    diagnosis.facts["terminal"] = terminal
    return diagnosis


def _examiner(kind: Kind, label: str | None, device: str) -> Callable[[str], Diagnosis]:
    """Return the function of the library that examines one kind of thing; it loads torch."""
    if kind == "run":
        from digitcli.diagnosis.run import examine_run

        return lambda subject: examine_run(Path(subject), device)
    if kind == "comparison":
        from digitcli.diagnosis.comparison import examine_comparison

        return lambda subject: examine_comparison(Path(subject))
    if kind == "picture":
        from digitcli.diagnosis.picture import examine_picture

        return lambda subject: examine_picture(Path(subject), label, device=device)
    from digitcli.diagnosis.model import examine_model

    return lambda subject: examine_model(subject, device)


def _find_learning_rate(subject: str, device: str | None) -> Diagnosis:
    with console.Busy("Training with a rising learning rate"):
        from digitcli.diagnosis.run import find_learning_rate

        return find_learning_rate(subject, device)


def _examine_data(
    subject: str, split: Literal["train", "test"], device: str, out: Path | None
) -> ExaminedData:
    with console.Busy("Training on parts of the digits"):
        from digitcli.diagnosis.data import examine_data

        return examine_data(subject, split, device, corrections=out)


def _show(diagnosis: Diagnosis, format: console.Format) -> None:
    if format == "json":
        console.show_json(diagnosis.record())
    else:
        console.show_table(draw(diagnosis))


def draw(diagnosis: Diagnosis) -> Group:
    """Draw the facts, and then the findings or that there are none."""
    parts: list[RenderableType] = [console.pairs(diagnosis.facts), ""]
    for finding in diagnosis.findings:
        parts.append(Text(f"{finding.severity}: {finding.rule}", STYLES[finding.severity]))
        parts += [Text(console.printable(sentence)) for sentence in (finding.evidence, finding.remedy)]
        parts += [Text(f"    {console.printable(finding.command)}")] if finding.command else []
        parts.append("")
    if not diagnosis.findings and diagnosis.has_verdict:
        parts.append(Text(f"Nothing is wrong with the {console.printable(diagnosis.subject)}.", "green"))
    return Group(*parts)
