"""Read a folder of pictures of numbers and the texts that are written in them."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from digitcli.data.dataset import Failure
from digitcli.data.files import walk_pictures
from digitcli.errors import InputError

LABELS = "labels.csv"
# Spreadsheets write semicolons where a comma separates decimals.
DELIMITERS = ",;\t"
REMEDY = (
    f"Put a file {LABELS} with the columns file and text beside the pictures, one row a picture; the text of "
    "a picture without a number is empty."
)


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and what is written in it.

    file: its name in the table, which is a path from the folder.
    path: its path.
    text: the numbers in it, with ASCII digits; empty if there are none.
    group: what it shares with others, for example a writer, a form or a day; None if the table does not tell.
    """

    file: str
    path: Path
    text: str
    group: str | None = None


def read_labelled_pictures(folder: Path) -> tuple[LabelledPicture, ...]:
    """Return the pictures that `labels.csv` of a folder lists; whether they exist is not checked.

    The columns are `file`, `text` and optionally `group`; others are ignored. Without `text`, `label` counts,
    which `digitcli synthesize` writes. Commas, semicolons or tabs separate them, as in the first line.

    Raises:
        InputError: the table is missing or cannot be read, or a row of it has no file, no text, the file of
            another row, or more cells than there are columns.
    """
    table = folder / LABELS
    _check_there(folder, table)
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            content = file.read()
            rows = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter_of(content))
            columns = rows.fieldnames or ()
            text_column = "label" if "label" in columns and "text" not in columns else "text"
            missing = {"file", text_column} - {*columns}
            if missing:
                given = f", but {', '.join(columns)}" if any(columns) else ""
                raise InputError(f"{table} has no column {min(missing)}{given}.", REMEDY)
            pictures = tuple(_pictures(rows, folder, table, text_column))
    except (OSError, ValueError, csv.Error) as error:
        cause = f"{table} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise InputError(cause, REMEDY) from error
    if not pictures:
        raise InputError(f"{table} lists no pictures.", REMEDY)
    return pictures


def delimiter_of(content: str) -> str:
    """Return what separates the columns of a table, by its first line: a comma, a semicolon or a tab."""
    return max(DELIMITERS, key=re.split(r"[\r\n]", content, maxsplit=1)[0].count)


def _check_there(folder: Path, table: Path) -> None:
    """Check that there is a folder with a table.

    Raises:
        InputError: there is not.
    """
    if not folder.exists():
        raise InputError(f"There is no folder {folder}.", "Name a folder of pictures.")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Name a folder of pictures.")
    if not table.exists():
        raise InputError(f"There is no {LABELS} in {folder}.", REMEDY)


def unlabelled_pictures(folder: Path, pictures: tuple[LabelledPicture, ...]) -> list[Path]:
    """Return the pictures in a folder and below it that the table does not list."""
    listed = {os.path.normpath(picture.path) for picture in pictures}
    found = [path for path in walk_pictures(folder) if isinstance(path, Path)]
    return [path for path in found if os.path.normpath(path) not in listed]


def leave_copies_out(
    pictures: Sequence[LabelledPicture],
) -> tuple[list[LabelledPicture], tuple[Failure, ...]]:
    """Return pictures without copies of earlier ones, and these copies as failures.

    A copy has the same bytes as another file. A picture that cannot be read stays.
    """
    first_of: dict[bytes, LabelledPicture] = {}
    kept, copies = list[LabelledPicture](), list[Failure]()
    for picture in pictures:
        try:
            content = hashlib.sha256(picture.path.read_bytes()).digest()
        except (OSError, ValueError):
            kept.append(picture)
            continue
        first = first_of.setdefault(content, picture)
        if first is picture:
            kept.append(picture)
        else:
            label = "" if picture.text == first.text else ", which has another label"
            copies.append(Failure(picture.file, "duplicate", f"It is a copy of {first.file}{label}."))
    return kept, tuple(copies)


def _pictures(
    rows: csv.DictReader[str], folder: Path, table: Path, text_column: str
) -> Iterator[LabelledPicture]:
    seen: dict[str, int] = {}
    for row in rows:
        if not any("".join(cells or "").strip() for cells in row.values()):  # spreadsheets write such rows
            continue
        place, name, text = f"{table}, line {rows.line_num}", row["file"], row[text_column]
        if not name or text is None:
            raise InputError(f"{place}, has no {'text' if name else 'file'}.", REMEDY)
        if any(row.get(None, ())):
            cause = f"{place}, has more cells than the first line has columns."
            raise InputError(cause, 'Write a text with a comma in quotation marks: "12,5".')
        first = seen.setdefault(os.path.normpath(name), rows.line_num)
        if first != rows.line_num:
            cause = f"{place}, lists {name} again, after line {first}."
            raise InputError(cause, "Give each picture one row with all that is written on it.")
        group = (row.get("group") or "").strip() or None  # a space at the end makes no other group
        yield LabelledPicture(name, folder / name, _with_ascii_digits(text), group)


def _with_ascii_digits(text: str) -> str:
    """Return a text with the digits of other scripts, such as full-width ones, as 0 to 9."""
    return "".join(str(int(character)) if character.isdecimal() else character for character in text)
