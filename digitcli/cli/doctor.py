"""`digitcli doctor`: say what is wrong, how one knows it, and what corrects it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from digitcli import console
from digitcli.atomic_write import check_writable, write_whole
from digitcli.cli.options import DRAWINGS, device_setting
from digitcli.diagnosis.findings import Diagnosis, kind_of, percent
from digitcli.errors import UsageError, counted
from digitcli.inference.devices import check_device_name
from digitcli.settings import argument, setting

if TYPE_CHECKING:
    from digitcli.diagnosis.data import ExaminedData

STYLES = {"error": "bold red", "warning": "yellow"}
# Doubtful labels that are drawn in the terminal.
DRAWN = 30


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What is examined."""

    subject: str | None = argument(
        "SUBJECT",
        "Examine this run folder, model, picture or dataset (default: the installation).",
        None,
    )
    lr_range: bool = setting(
        False, "", "Only find a learning rate for a run or an architecture, by 100 steps while it rises."
    )
    label: str | None = setting(
        None, "", "Tell which digits a picture shows, to learn why it is read wrongly.", unit="digits"
    )
    output: tuple[Path, ...] = setting(
        (), "", "Of a dataset, write corrections of doubtful labels to a .csv file, or draw the labels in a "
        ".png or .html file; may be repeated.",
        letter="-o", unit="file", aliases=("--out", "--save"),
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the files of --output if they exist.")
    device: str | None = device_setting()
    format: console.Format = setting("table", "", "Print text for people, or JSON.")


def doctor(options: DoctorOptions) -> None:
    """Say what is wrong with a run, a model, a picture, data or the installation.

    Every finding has the evidence and a remedy. Runs are examined by their curves, by what their network does
    with digits, and by training it again for a few hundred steps with other settings; nothing in their folder
    changes. The labels of a dataset are examined by networks that were trained on its other digits.

    Examples:

      digitcli doctor
      digitcli doctor runs/cnn-1
      digitcli doctor cnn --lr-range
      digitcli doctor photo.jpg --label 42
      digitcli doctor my-digits -o corrections.csv -o doubtful.html
    """
    subject, label, device = options.subject, options.label, options.device or "auto"
    check_device_name(device)
    of_subjects: dict[str, object] = {"--label": label, "--output": options.output}
    if subject is None:
        further = {"--device": options.device, "--lr-range": options.lr_range}
        _refuse("the installation", of_subjects | further)
        return _show(_examine_installation(), options.format)
    if options.lr_range:
        _refuse("a learning rate", of_subjects)
        with console.Busy("Training with a rising learning rate"):
            from digitcli.diagnosis.run import find_learning_rate

            return _show(find_learning_rate(subject, options.device), options.format)
    kind = kind_of(subject)
    if kind != "data":
        _refuse(f"a {kind}", {"--output": options.output})
    if kind != "picture":
        _refuse("data" if kind == "data" else f"a {kind}", {"--label": label})
    elif label is not None and not (label.isascii() and label.replace(" ", "").isdecimal()):
        raise UsageError(f"--label is '{label}'.", "Give the digits of the picture, for example --label 42.")
    if kind == "data":
        return _examine_data(subject, options)
    with console.Busy("Examining"):
        if kind == "picture":
            from digitcli.diagnosis.picture import examine_picture

            diagnosis = examine_picture(Path(subject), label, device=device)
        else:
            from digitcli.diagnosis.run import examine_model, examine_run

            diagnosis = (
                examine_run(Path(subject), device) if kind == "run" else examine_model(subject, device)
            )
    _show(diagnosis, options.format)


def _refuse(examined: str, options: Mapping[str, object]) -> None:
    """Refuse options that have no effect on what is examined."""
    for option in (option for option, value in options.items() if value):
        cause = f"{option} has no effect on the examination of {examined}."
        raise UsageError(cause, f"Leave {option} out, or name what it is for.")


def _examine_installation() -> Diagnosis:
    with console.Busy("Examining the installation"):
        from digitcli.diagnosis.installation import examine_installation

        diagnosis = examine_installation()
    columns, rows = shutil.get_terminal_size()
    terminal = f"{columns} x {rows}, {console.out.encoding}, colours: {console.out.color_system or 'none'}"
    diagnosis.facts["terminal"] = terminal
    return diagnosis


def _examine_data(subject: str, options: DoctorOptions) -> None:
    """Examine a dataset, show what is wrong with it, and write and draw its doubtful labels."""
    for file in options.output:
        if file.suffix.lower() not in (".csv", *DRAWINGS):
            remedy = f"Name a file that ends in .csv, {', '.join(DRAWINGS)}."
            raise UsageError(f"--output cannot write {file}.", remedy)
        check_writable(file, options.force)
    csv = next((file for file in options.output if file.suffix.lower() == ".csv"), None)
    with console.Busy("Training on parts of the digits"):
        from digitcli.diagnosis.data import examine_data

        data = examine_data(subject, options.device or "auto", corrections=csv)
    for file in options.output:
        if file.suffix.lower() == ".csv":
            write_whole(file, data.corrections().encode(errors="surrogateescape"))
        else:
            data.save_drawing(file, subject)
    if options.format == "json":
        console.show_json(data.diagnosis.record())
    else:
        console.show_table(Group(draw(data.diagnosis), draw_labels(data, csv)))


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


def draw_labels(data: ExaminedData, file: Path | None) -> Group:
    """Draw the most doubtful labels, each with its number, its label and the likeliest digit.

    file: where the corrections are written, if they are.
    """
    from digitcli.cli.terminal_image import PICTURE_COLUMNS, Picture, picture_grid

    if not data.doubtful:
        return Group()
    cells: list[RenderableType] = []
    for each in data.doubtful[:DRAWN]:
        # The end of the name of its file, as wide as the picture at most.
        name = f"#{each.index} {console.printable(data.name_of(each))[-20:]}".rstrip()
        words = Text(f"{name}\nlabel {each.label}, rather {each.suggestion}")
        cells.append(Group(Picture(data.digits.images[each.index], PICTURE_COLUMNS), words))
    count, errors = len(data.doubtful), sum(label.is_error for label in data.doubtful)
    sentences = [
        f"{count:,} of {counted(len(data.digits), 'label')} are doubtful: the networks read another digit. "
        f"Confident learning takes {f'{errors:,}' if errors else 'none'} of them for wrong.",
        f"The {DRAWN} most doubtful ones are drawn." if count > DRAWN else "Each is drawn.",
    ]
    if file is not None:
        column = f"All {count:,} are in {console.printable(str(file))}; its column label"
        if data.is_trusted and errors:
            sentences.append(
                f"{column} has the likeliest digit for the {errors:,}: check it before you train."
            )
        else:
            agreement = f"the networks agree with only {percent(data.agreement, 1)} of the labels"
            reason = agreement if errors else "no label is taken for wrong"
            sentences.append(f"{column} is unchanged, because {reason}: copy suggestion where you accept it.")
    return Group(Text(" ".join(sentences)), "", picture_grid(cells, console.out.width))
