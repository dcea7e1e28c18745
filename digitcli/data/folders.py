"""Read labelled digits from a folder: IDX files like MNIST's, or pictures in a sub-folder for each digit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.arrays import digits_from_arrays, map_in_order
from digitcli.data.dataset import Dataset, Digits, Failure
from digitcli.data.files import PICTURE_SUFFIXES, is_picture, natural_order, walk_pictures
from digitcli.data.mnist import read_idx
from digitcli.errors import InputError, PictureError, counted

IDX_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)-(?P<kind>images|labels)"
    r"([-.]idx[13]-ubyte)?(\.(gz|xz|bz2))?",
    re.IGNORECASE,
)
DIGIT_NAMES = tuple("0123456789")
PARTS = {
    "train": "train",
    "training": "train",
    "val": "train",  # it joins the training part, from which a validation part is split for every dataset
    "valid": "train",
    "validation": "train",
    "test": "test",
    "testing": "test",
}
LAYOUT = (
    "Put each picture in a sub-folder named by its digit, 0 to 9 (the folder itself or its sub-folders train "
    "and test may hold these), or give a folder of IDX files, for example train-images-idx3-ubyte and "
    "train-labels-idx1-ubyte."
)


@dataclass(frozen=True)
class _FolderEntries:
    """The entries of a folder that are not hidden, sorted by kind."""

    idx_files: list[Path]
    pictures: list[Path]
    digit_folders: list[Path]
    part_folders: list[Path]
    other_folders: list[Path]


def load_folder(path: Path) -> Dataset:
    """Load digits from a folder of IDX files, or of pictures in sub-folders named by their digits.

    Pictures are preprocessed as for prediction. One that is blank or cannot be read becomes a failure, and
    the others are loaded. Folders of digits may lie in `train` and `test`; pictures in `val` join the
    training part.

    Raises:
        InputError: The folder contains no digits, or a mixture that has two meanings.
    """
    entries = _list_entries(path)
    _reject_mixtures(path, entries)
    name = path.resolve().name
    if entries.idx_files:
        return _load_idx_folder(path, entries.idx_files, name)
    if entries.part_folders:
        return _load_parts(path, entries.part_folders, name)
    if entries.digit_folders:
        train, failures, files = _read_pictures(entries.digit_folders, entries.digit_folders, path)
        return Dataset(name, train, None, failures, files)
    if entries.pictures:
        raise InputError(
            f"{path} contains pictures, but no folders that tell which digits they show.",
            f"{LAYOUT} digitcli doctor FILE examines one picture.",
        )
    raise InputError(f"{path} contains no digits.", LAYOUT)


def _list_entries(path: Path) -> _FolderEntries:
    try:
        entries = sorted(
            (entry for entry in path.iterdir() if not entry.name.startswith(".")),
            key=lambda entry: natural_order(entry.name),
        )
        folders = [entry for entry in entries if entry.is_dir()]
        files = [entry for entry in entries if not entry.is_dir()]
    except OSError as error:
        raise _unreadable_error(error) from error
    return _FolderEntries(
        idx_files=[file for file in files if IDX_NAME.fullmatch(file.name)],
        pictures=[file for file in files if is_picture(file.name)],
        digit_folders=[folder for folder in folders if folder.name in DIGIT_NAMES],
        part_folders=[folder for folder in folders if folder.name.lower() in PARTS],
        other_folders=[folder for folder in folders if folder.name.lower() not in (*DIGIT_NAMES, *PARTS)],
    )


def _reject_mixtures(path: Path, entries: _FolderEntries) -> None:
    kinds = {
        "IDX files": entries.idx_files,
        "loose pictures": [] if entries.idx_files else entries.pictures,  # a preview beside IDX is harmless
        "folders of digits": entries.digit_folders,
        "folders named train or test": entries.part_folders,
    }
    present = [kind for kind, paths in kinds.items() if paths]
    if len(present) > 1:
        raise InputError(f"{path} mixes {' and '.join(present)}.", f"Keep one kind. {LAYOUT}")
    if entries.other_folders and not entries.idx_files:
        raise InputError(
            f"{path} has sub-folders that are not digits: {_name_some(entries.other_folders)}.", LAYOUT
        )


def _load_idx_folder(path: Path, files: Iterable[Path], name: str) -> Dataset:
    """Load MNIST's four files, or the two files of the training part."""
    file_of: dict[tuple[str, str], Path] = {}  # (train or test, images or labels) -> file
    prefixes = set()
    for file in sorted(files, key=lambda file: -len(file.name)):  # an uncompressed file replaces its .gz
        if match := IDX_NAME.fullmatch(file.name):
            prefixes.add(match["prefix"])
            part = "train" if match["part"].lower() == "train" else "test"
            file_of[part, match["kind"].lower()] = file
    if len(prefixes) > 1:
        names = ", ".join(sorted(repr(prefix) for prefix in prefixes))
        raise InputError(
            f"{path} contains several datasets, whose file names begin with {names}.",
            "Put each dataset in a folder of its own.",
        )
    train, failures = _read_idx_part(path, file_of, "train")
    if ("test", "images") not in file_of and ("test", "labels") not in file_of:
        return Dataset(name, train, None, failures)
    test, test_failures = _read_idx_part(path, file_of, "test")
    return Dataset(name, train, test, failures + test_failures)


def _read_idx_part(
    path: Path, file_of: dict[tuple[str, str], Path], part: str
) -> tuple[Digits, tuple[Failure, ...]]:
    for kind in ("images", "labels"):
        if (part, kind) not in file_of:
            name = f"{'train' if part == 'train' else 't10k'}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
            raise InputError(f"{path} has no file of {part} {kind}.", f"Add one, named like MNIST's {name}.")
    file = file_of[part, "images"]
    images = read_idx(file)
    if file.name.lower().startswith("emnist") and images.ndim == 3:
        images = images.transpose(0, 2, 1)  # EMNIST is published transposed
    return digits_from_arrays(images, read_idx(file_of[part, "labels"]), f"{path.name}/{file.name}")


def _load_parts(path: Path, part_folders: Iterable[Path], name: str) -> Dataset:
    """Load folders of digits in folders named train or test."""
    digit_folders: dict[str, list[Path]] = {"train": [], "test": []}
    for part_folder in part_folders:
        entries = _list_entries(part_folder)
        if entries.other_folders or entries.part_folders:
            names = _name_some(entries.other_folders + entries.part_folders)
            raise InputError(f"{part_folder} has sub-folders that are not digits: {names}.", LAYOUT)
        if entries.pictures:
            raise InputError(f"{part_folder} has pictures outside its folders of digits.", LAYOUT)
        digit_folders[PARTS[part_folder.name.lower()]] += entries.digit_folders
    folders = [*digit_folders["train"], *digit_folders["test"]]
    train, failures, files = _read_pictures(digit_folders["train"], folders, path, "training ")
    if not any(PARTS[folder.name.lower()] == "test" for folder in part_folders):
        return Dataset(name, train, None, failures, files)
    test, test_failures, test_files = _read_pictures(digit_folders["test"], folders, path, "test ")
    return Dataset(name, train, test, failures + test_failures, files, test_files)


def _read_pictures(
    digit_folders: Iterable[Path], all_digit_folders: Iterable[Path], path: Path, part: str = ""
) -> tuple[Digits, tuple[Failure, ...], tuple[str, ...]]:
    """Read every picture in the folders and their sub-folders, in natural order; also return their files.

    What a link finds in a folder of another digit, of `all_digit_folders`, is a failure.
    """
    label_of = _labels_of_real_folders(all_digit_folders)
    images, labels, failures, used, files = [], [], [], [], []
    for folder in digit_folders:
        for file in _list_pictures(folder):
            other = _label_of_real_file(file, label_of)
            if other in (None, int(folder.name)):
                files.append((file, int(folder.name)))
            else:
                cause = f"{file} is a link into the folder of the digit {other}."
                failures.append(Failure(str(file), "other_label", cause))
    if not files and not failures:
        raise InputError(f"{path} contains no {part}pictures ({', '.join(PICTURE_SUFFIXES)}).", LAYOUT)
    results = map_in_order(_read_picture, [file for file, _ in files])
    for result, (file, label) in zip(results, files, strict=True):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            images.append(result)
            labels.append(label)
            used.append(str(file))
    if not images:
        raise InputError(
            f"Of {counted(len(failures), f'{part}picture')} in {path}, none can be used; the first: "
            f"{failures[0].cause}",
            "Check that they are pictures of one digit each.",
        )
    return Digits(np.stack(images), np.array(labels, np.int64)), tuple(failures), tuple(used)


def _read_picture(file: Path) -> npt.NDArray[np.uint8] | Failure:
    from digitcli.imaging.digits import digit_from_picture  # imported here because it loads OpenCV

    try:
        digit = digit_from_picture(file)
    except PictureError as error:
        return Failure(str(file), error.reason, error.cause)
    return digit if digit.any() else Failure(str(file), "blank", "Nothing is written on it.")


def _labels_of_real_folders(digit_folders: Iterable[Path]) -> dict[Path, int]:
    """Return the digit of each folder behind links.

    Raises:
        InputError: two digits have the same folder.
    """
    label_of: dict[Path, int] = {}
    for folder in digit_folders:
        label = label_of.setdefault(_real(folder), int(folder.name))
        if label != int(folder.name):
            raise InputError(f"{folder} is also the folder of the digit {label}.", "Remove the link.")
    return label_of


def _label_of_real_file(file: Path, label_of: Mapping[Path, int]) -> int | None:
    """Return the digit of the folder in which a file lies behind links; None if it lies in none of them."""
    return next((label_of[folder] for folder in _real(file).parents if folder in label_of), None)


def _real(path: Path) -> Path:
    """Return a path behind links; `Path.resolve` raises an error at a link that leads to itself."""
    return Path(os.path.realpath(path))


def _list_pictures(folder: Path) -> list[Path]:
    files = []
    for entry in walk_pictures(folder):
        if isinstance(entry, OSError):
            raise _unreadable_error(entry) from entry
        files.append(entry)
    return files


def _unreadable_error(error: OSError) -> InputError:
    return InputError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.")


def _name_some(folders: list[Path]) -> str:
    names = ", ".join(folder.name for folder in folders[:5])
    return f"{names} and {len(folders) - 5} more" if len(folders) > 5 else names
