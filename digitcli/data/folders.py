"""Read labelled digits from a folder: IDX files like MNIST's, or pictures in a sub-folder for each digit."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.arrays import dataset_from_arrays, map_in_order
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
# Pictures in val join the training part, from which a validation part is split for every dataset.
PARTS = dict.fromkeys(("train", "training", "val", "valid", "validation"), "train")
PARTS |= dict.fromkeys(("test", "testing"), "test")
# The kinds of entries of a folder.
IDX, LOOSE = "IDX files", "loose pictures"
DIGIT_FOLDERS, PART_FOLDERS, OTHER_FOLDERS = "folders of digits", "folders named train or test", "others"
KINDS = (IDX, LOOSE, DIGIT_FOLDERS, PART_FOLDERS, OTHER_FOLDERS)
LAYOUT = (
    "Put each picture in a sub-folder named by its digit, 0 to 9 (the folder itself or its sub-folders train "
    "and test may hold these), or give a folder of IDX files, for example train-images-idx3-ubyte and "
    "train-labels-idx1-ubyte."
)


def load_folder(path: Path) -> Dataset:
    """Load digits from a folder of IDX files, or of pictures in sub-folders named by their digits.

    Pictures are preprocessed as for prediction. One that is blank or cannot be read becomes a failure, and
    the others are loaded. Folders of digits may lie in `train` and `test`; pictures in `val` join the
    training part.

    Raises:
        InputError: The folder contains no digits, or a mixture that has two meanings.
    """
    entries = _list_entries(path)
    if entries[IDX]:  # a preview or an unknown folder beside IDX files is harmless
        entries[LOOSE] = entries[OTHER_FOLDERS] = []
    present = [kind for kind, paths in entries.items() if paths and kind != OTHER_FOLDERS]
    if len(present) > 1:
        raise InputError(f"{path} mixes {' and '.join(present)}.", f"Keep one kind. {LAYOUT}")
    _refuse_folders(path, entries[OTHER_FOLDERS])
    name = path.resolve().name
    if entries[IDX]:
        return _load_idx_folder(path, entries[IDX], name)
    if entries[PART_FOLDERS]:
        return _load_parts(path, entries[PART_FOLDERS], name)
    if entries[DIGIT_FOLDERS]:
        train, failures, files = _read_pictures(entries[DIGIT_FOLDERS], entries[DIGIT_FOLDERS], path)
        return Dataset(name, train, None, failures, files)
    if entries[LOOSE]:
        cause = f"{path} contains pictures, but no folders that tell which digits they show."
        raise InputError(cause, f"{LAYOUT} digitcli doctor FILE examines one picture.")
    raise InputError(f"{path} contains no digits.", LAYOUT)


def _list_entries(path: Path) -> dict[str, list[Path]]:
    """Return the entries of each kind that are not hidden, in natural order."""
    entries: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    try:
        for entry in sorted(path.iterdir(), key=lambda entry: natural_order(entry.name)):
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                kind = IDX if IDX_NAME.fullmatch(entry.name) else LOOSE if is_picture(entry.name) else None
            elif entry.name in DIGIT_NAMES:
                kind = DIGIT_FOLDERS
            else:
                kind = PART_FOLDERS if entry.name.lower() in PARTS else OTHER_FOLDERS
            if kind:
                entries[kind].append(entry)
    except OSError as error:
        raise _unreadable_error(error) from error
    return entries


def _refuse_folders(path: Path, folders: Sequence[Path]) -> None:
    if folders:
        names = ", ".join(folder.name for folder in folders[:5])
        names += f" and {len(folders) - 5} more" if len(folders) > 5 else ""
        raise InputError(f"{path} has sub-folders that are not digits: {names}.", LAYOUT)


def _load_idx_folder(path: Path, files: Sequence[Path], name: str) -> Dataset:
    """Load MNIST's four files, or the two files of the training part."""
    file_of: dict[tuple[str, str], Path] = {}  # (train or test, images or labels) -> file
    prefixes = set()
    for file in sorted(files, key=lambda file: -len(file.name)):  # an uncompressed file replaces its .gz
        if match := IDX_NAME.fullmatch(file.name):
            prefixes.add(match["prefix"])
            part = "train" if match["part"].lower() == "train" else "test"
            file_of[part, match["kind"].lower()] = file
    if len(prefixes) > 1:
        names = ", ".join(sorted(map(repr, prefixes)))
        cause = f"{path} contains several datasets, whose file names begin with {names}."
        raise InputError(cause, "Put each dataset in a folder of its own.")
    has_test = any(part == "test" for part, _ in file_of)
    arrays = []
    for part, like in (("train", "train"), ("test", "t10k"))[: 1 + has_test]:
        for kind, dimensions in (("images", 3), ("labels", 1)):
            if (part, kind) not in file_of:
                remedy = f"Add one, named like MNIST's {like}-{kind}-idx{dimensions}-ubyte."
                raise InputError(f"{path} has no file of {part} {kind}.", remedy)
            file = file_of[part, kind]
            array = read_idx(file)
            if file.name.lower().startswith("emnist") and array.ndim == 3:
                array = array.transpose(0, 2, 1)  # EMNIST is published transposed
            arrays.append(array)
    return dataset_from_arrays(name, *arrays)


def _load_parts(path: Path, part_folders: Sequence[Path], name: str) -> Dataset:
    """Load folders of digits in folders named train or test."""
    digit_folders: dict[str, list[Path]] = {"train": [], "test": []}
    for part_folder in part_folders:
        entries = _list_entries(part_folder)
        _refuse_folders(part_folder, entries[OTHER_FOLDERS] + entries[PART_FOLDERS])
        if entries[LOOSE]:
            raise InputError(f"{part_folder} has pictures outside its folders of digits.", LAYOUT)
        digit_folders[PARTS[part_folder.name.lower()]] += entries[DIGIT_FOLDERS]
    folders = [*digit_folders["train"], *digit_folders["test"]]
    train, failures, files = _read_pictures(digit_folders["train"], folders, path, "training ")
    if not any(PARTS[folder.name.lower()] == "test" for folder in part_folders):
        return Dataset(name, train, None, failures, files)
    test, test_failures, test_files = _read_pictures(digit_folders["test"], folders, path, "test ")
    return Dataset(name, train, test, failures + test_failures, files, test_files)


def _read_pictures(
    digit_folders: Sequence[Path], all_digit_folders: Sequence[Path], path: Path, part: str = ""
) -> tuple[Digits, tuple[Failure, ...], tuple[str, ...]]:
    """Read every picture in the folders and their sub-folders, in natural order; also return their files.

    What a link finds in a folder of another digit, of `all_digit_folders`, is a failure.
    """
    label_of: dict[Path, int] = {}  # of the folders behind links
    for folder in all_digit_folders:
        label = label_of.setdefault(_real(folder), int(folder.name))
        if label != int(folder.name):
            raise InputError(f"{folder} is also the folder of the digit {label}.", "Remove the link.")
    failures, files = [], []
    for folder in digit_folders:
        for file in walk_pictures(folder):
            if isinstance(file, OSError):
                raise _unreadable_error(file) from file
            other = next((label_of[each] for each in _real(file).parents if each in label_of), None)
            if other in (None, int(folder.name)):
                files.append((file, int(folder.name)))
            else:
                cause = f"{file} is a link into the folder of the digit {other}."
                failures.append(Failure(str(file), "other_label", cause))
    if not files and not failures:
        raise InputError(f"{path} contains no {part}pictures ({', '.join(PICTURE_SUFFIXES)}).", LAYOUT)
    results = map_in_order(_read_picture, [file for file, _ in files])
    failures += [result for result in results if isinstance(result, Failure)]
    images = [result for result in results if not isinstance(result, Failure)]
    if not images:
        pictures = counted(len(failures), f"{part}picture")
        cause = f"Of {pictures} in {path}, none can be used; the first: {failures[0].cause}"
        raise InputError(cause, "Check that they are pictures of one digit each.")
    used = [each for each, result in zip(files, results, strict=True) if not isinstance(result, Failure)]
    labels = np.array([label for _, label in used], np.int64)
    return Digits(np.stack(images), labels), tuple(failures), tuple(str(file) for file, _ in used)


def _read_picture(file: Path) -> npt.NDArray[np.uint8] | Failure:
    from digitcli.imaging.digits import digit_from_picture  # imported here because it loads OpenCV

    try:
        digit = digit_from_picture(file)
    except PictureError as error:
        return Failure(str(file), error.reason, error.cause)
    return digit if digit.any() else Failure(str(file), "blank", "Nothing is written on it.")


def _real(path: Path) -> Path:
    """Return a path behind links; `Path.resolve` raises an error at a link that leads to itself."""
    return Path(os.path.realpath(path))


def _unreadable_error(error: OSError) -> InputError:
    return InputError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.")
