"""Read labels from CSV tables that a person can edit.

`labels.csv` in a folder tells what is written in its pictures; corrections replace labels of a dataset.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from digitcli.data.dataset import Dataset, Failure, Splits
from digitcli.data.files import walk_pictures
from digitcli.errors import InputError

LABELS = "labels.csv"
# Spreadsheets write semicolons where a comma separates decimals.
DELIMITERS = ",;\t"
REMEDY = (
    f"Put a file {LABELS} with the columns file and text beside the pictures, one row a picture; the text of "
    "a picture without a number is empty."
)
# The new label of each corrected digit by its index; None leaves the digit out.
Corrections = dict[int, int | None]
CORRECT_LABELS = ("", *"0123456789")
# Characters of the largest index that is read as a number.
LONGEST_INDEX = 12
CORRECTIONS_COLUMNS = ("part", "index", "label", "given", "suggestion", "probability", "error", "file")
CORRECTIONS_REMEDY = "Make one with: digitcli doctor DATA -o corrections.csv"


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


def corrections_csv(part: str, rows: Iterable[tuple[int, int, int, int, float, bool, str]]) -> str:
    """Return the CSV of corrections of a part of a dataset.

    A row has an index, the corrected and the given label, a suggestion, the probability of the given label,
    whether it is taken for an error, and the file of the digit, if it has one of its own.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CORRECTIONS_COLUMNS)
    for *labels, probability, is_error, file in rows:
        writer.writerow((part, *labels, f"{probability:.6f}", "yes" if is_error else "no", file))
    return text.getvalue()


def correct_labels(splits: Splits, dataset: Dataset, path: Path) -> Splits:
    """Return the parts of a dataset, in which digits to train on have the labels that a file gives them.

    A digit whose label is empty is left out. Validation and test digits stay as they are, so that models with
    other corrections are measured on the same ones.

    Raises:
        InputError: see `read_corrections` and `apply_corrections`.
    """
    return apply_corrections(splits, read_corrections(dataset, path))


def read_corrections(dataset: Dataset, path: Path) -> Corrections:
    """Return the label that a file gives to each training digit that it names; None for one that is left out.

    The columns `index`, counted from 0, and `label` are needed. The columns `part`, `given` and `file`, where
    they are there and not empty, must agree with the dataset; of `file`, the name and the folder in which it
    lies, since a dataset may be moved. Other columns are ignored.

    Raises:
        InputError: the file cannot be read, or a row does not fit the dataset.
    """
    count = len(dataset.train)
    remedy = f"Give corrections of the training digits of {dataset.name}."
    labels: Corrections = {}
    for line, row in _read_correction_rows(path):
        place, text = f"{path}, line {line}", row["index"].strip()
        index = int(text) if text.isdecimal() and len(text) < LONGEST_INDEX else count
        if index >= count:
            wrong = f"the index {text[:LONGEST_INDEX]} is not from 0 to {count - 1}"
            raise InputError(f"{place}: {wrong if text else 'it has no index'}.", remedy)
        label = row["label"].strip()
        if label not in CORRECT_LABELS:
            cause = f"{place}: the label {label[:20]!r} is not a digit from 0 to 9."
            raise InputError(cause, "Correct it, or leave it empty to leave the picture out.")
        if index in labels:
            raise InputError(f"{place}: the index {index} occurs twice.", "Leave one of the rows out.")
        for column, value in _facts_of(dataset, index).items():
            stated = (row.get(column) or "").strip()
            if stated and stated != value and not (column == "file" and _name(stated) == _name(value)):
                cause = f"{place}: the {column} is {stated[-60:]}, but that of the digit is {value}."
                raise InputError(cause, remedy)
        labels[index] = int(label) if label else None
    return labels


def apply_corrections(splits: Splits, labels: Corrections) -> Splits:
    """Return the parts of a dataset, in which digits to train on have other labels or are left out.

    Raises:
        InputError: no digit to train on is left.
    """
    corrected = splits.train.labels.copy()
    is_kept = np.ones(len(corrected), bool)
    for place_in_part, index in enumerate(splits.train_indices.tolist()):
        if index in labels:
            new = labels[index]
            is_kept[place_in_part] = new is not None
            corrected[place_in_part] = 0 if new is None else new
    kept = np.flatnonzero(is_kept)
    if not kept.size:
        raise InputError("The corrections leave out every digit to train on.", "Give some of them a label.")
    train = replace(splits.train, labels=corrected).take(kept)
    return replace(splits, train=train, train_indices=splits.train_indices[kept])


def _facts_of(dataset: Dataset, index: int) -> dict[str, str]:
    """Return what the columns of a training digit tell."""
    facts = {"part": "train", "given": str(dataset.train.labels[index])}
    return facts | ({"file": dataset.train_files[index]} if dataset.train_files else {})


def _name(file: str) -> tuple[str, ...]:
    """Return the name of a file, and that of the folder in which it lies."""
    return Path(file).parts[-2:]


def describe_corrections(before: Splits, after: Splits, labels: Corrections) -> Iterator[str]:
    """Yield sentences on what corrections have changed in the parts of a dataset, and what they have not."""
    left_out = len(before.train) - len(after.train)
    is_kept = np.isin(before.train_indices, after.train_indices)
    changed = int((before.train.labels[is_kept] != after.train.labels).sum())
    if changed or left_out:
        yield f"Labels corrected: {changed:,}; training digits left out: {left_out:,}."
    else:
        yield (
            "The corrections change nothing: no row gives a digit to train on another label or an empty one. "
            "Copy suggestion to label where you accept it."
        )
    held_out = len(labels.keys() - set(before.train_indices.tolist()))
    if held_out:
        yield f"Rows of validation or test digits, which stay as they are: {held_out:,}."


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file of corrections.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"The corrections {path} cannot be read: {error}.", CORRECTIONS_REMEDY) from error


def _read_correction_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a file with their lines; a cell that is missing at the end of a row is empty."""
    try:
        content = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        table = io.StringIO(content, newline="")
        reader = csv.DictReader(table, restval="", delimiter=delimiter_of(content))
        columns = reader.fieldnames or ()
        numbered = [(reader.reader.line_num, row) for row in reader]  # without empty lines
        rows = [
            (line, row) for line, row in numbered if any("".join(cells).strip() for cells in row.values())
        ]
    except (OSError, csv.Error) as error:
        raise InputError(f"The corrections {path} cannot be read: {error}.", CORRECTIONS_REMEDY) from error
    if not {"index", "label"} <= {*columns}:
        raise InputError(f"The corrections {path} have no columns index and label.", CORRECTIONS_REMEDY)
    return rows
