"""Draw doubtful labels of a dataset in the terminal, and say what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from digitcli import console
from digitcli.cli.views.terminal_image import PICTURE_COLUMNS, Picture, picture_grid
from digitcli.diagnosis.data import ExaminedData
from digitcli.diagnosis.findings import percent
from digitcli.errors import counted

# Labels that are drawn.
DRAWN = 30


def draw_labels(data: ExaminedData, file: Path | None) -> Group:
    """Draw the most doubtful labels, each with its number, its label and the likeliest digit.

    file: where the corrections are written, if they are.
    """
    if not data.doubtful:
        return Group()
    cells: list[RenderableType] = [
        Group(
            Picture(data.digits.images[each.index], PICTURE_COLUMNS),
            Text(f"{_name(data.name_of(each), each.index)}\nlabel {each.label}, rather {each.suggestion}"),
        )
        for each in data.doubtful[:DRAWN]
    ]
    words = Text(" ".join(describe_labels(data, file)))
    return Group(words, "", picture_grid(cells, console.out.width))


def describe_labels(data: ExaminedData, file: Path | None) -> Iterator[str]:
    """Yield sentences on how many labels are doubtful, which of them are drawn, and where all are written."""
    count, errors = len(data.doubtful), sum(label.is_error for label in data.doubtful)
    yield (
        f"{count:,} of {counted(len(data.digits), 'label')} are doubtful: the networks read another "
        f"digit. Confident learning takes {f'{errors:,}' if errors else 'none'} of them for wrong."
    )
    drawn = f"The {DRAWN} most doubtful ones are" if count > DRAWN else "Each is"
    yield f"{drawn} drawn{'' if file is None else f', and all {count:,} are in {_shown(file)}'}."
    if file is not None and data.part == "train":
        yield _describe_corrections(data, file, errors)
    if not data.diagnosis.findings:
        yield "Nothing else is wrong with the dataset."


def _describe_corrections(data: ExaminedData, file: Path, errors: int) -> str:
    if data.is_trusted and errors:
        return f"Check its column label before you train: it has the likeliest digit for the {errors:,}."
    reason = "no label is taken for wrong"
    if errors:
        reason = f"the networks agree with only {percent(data.agreement, 1)} of the labels"
    return (
        f"The column label of {_shown(file)} is unchanged, because {reason}: copy suggestion to label where "
        "you accept it."
    )


def _shown(file: Path) -> str:
    return console.printable(str(file))


def _name(file: str, index: int) -> str:
    """Return the number of a digit, and the end of the name of its file, as wide as a picture at most."""
    return f"#{index} {console.printable(file)[-20:]}".rstrip()
