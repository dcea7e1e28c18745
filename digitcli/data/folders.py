"""Digits in a folder: IDX files as MNIST is published, or pictures in one sub-folder a digit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits, Failure
from digitcli.data.files import PICTURE_SUFFIXES, is_picture, natural_order, walk_pictures
from digitcli.data.image_arrays import digits_from_arrays, map_in_order
from digitcli.data.mnist import read_idx
from digitcli.errors import InputError, PictureError

IDX_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)-(?P<kind>images|labels)"
    r"([-.]idx[13]-ubyte)?(\.(gz|xz|bz2))?",
    re.IGNORECASE,
)
DIGIT_NAMES = tuple("0123456789")
PARTS = {
    "train": "train",
    "training": "train",
    "val": "train",  # choices are made on digits held out of the training part, which these join
    "valid": "train",
    "validation": "train",
    "test": "test",
    "testing": "test",
}
LAYOUT = (
    "Put each picture in a sub-folder named by its digit, 0 to 9 (these may lie in train and test), "
    "or give a folder of IDX files such as train-images-idx3-ubyte and train-labels-idx1-ubyte."
)


@dataclass(frozen=True)
class _Listing:
    """What lies in a folder, hidden files left out."""

    idx_files: list[Path]
    pictures: list[Path]
    digit_folders: list[Path]
    part_folders: list[Path]
    other_folders: list[Path]


def load_folder(path: Path) -> Dataset:
    """Digits from a folder of IDX files, or of pictures in sub-folders named by their digits.

    Pictures take the road that every picture takes; one that cannot be read, or is blank, becomes a failure
    and loses no other. Digit folders may lie in `train` and `test`; pictures in `val` join the training part.

    Raises:
        InputError: the folder holds no digits, or a mixture that can be understood in two ways.
    """
    listing = _list(path)
    _refuse_mixtures(path, listing)
    name = path.resolve().name
    if listing.idx_files:
        return _load_idx_folder(path, listing.idx_files, name)
    if listing.part_folders:
        return _load_parts(path, listing.part_folders, name)
    if listing.digit_folders:
        train, failures = _read_pictures(listing.digit_folders, path)
        return Dataset(name, train, None, failures)
    if listing.pictures:
        raise InputError(f"{path} holds pictures, but nothing says which digits they are.", LAYOUT)
    raise InputError(f"{path} holds no digits.", LAYOUT)


def _list(path: Path) -> _Listing:
    try:
        entries = sorted(
            (entry for entry in path.iterdir() if not entry.name.startswith(".")),
            key=lambda entry: natural_order(entry.name),
        )
        folders = [entry for entry in entries if entry.is_dir()]
        files = [entry for entry in entries if not entry.is_dir()]
    except OSError as error:
        raise _unreadable(error) from error
    return _Listing(
        idx_files=[file for file in files if IDX_NAME.fullmatch(file.name)],
        pictures=[file for file in files if is_picture(file.name)],
        digit_folders=[folder for folder in folders if folder.name in DIGIT_NAMES],
        part_folders=[folder for folder in folders if folder.name.lower() in PARTS],
        other_folders=[folder for folder in folders if folder.name.lower() not in (*DIGIT_NAMES, *PARTS)],
    )


def _refuse_mixtures(path: Path, listing: _Listing) -> None:
    kinds = {
        "IDX files": listing.idx_files,
        "loose pictures": [] if listing.idx_files else listing.pictures,  # such as a preview
        "folders of digits": listing.digit_folders,
        "folders such as train and test": listing.part_folders,
    }
    present = [kind for kind, entries in kinds.items() if entries]
    if len(present) > 1:
        raise InputError(f"{path} mixes {' and '.join(present)}.", f"Keep one kind. {LAYOUT}")
    if listing.other_folders and not listing.idx_files:
        raise InputError(
            f"{path} has sub-folders that are not digits: {_some(listing.other_folders)}.", LAYOUT
        )


def _load_idx_folder(path: Path, files: Iterable[Path], name: str) -> Dataset:
    """MNIST's four files, or the two of the training part."""
    found: dict[tuple[str, str], Path] = {}
    prefixes = set()
    for file in sorted(files, key=lambda file: -len(file.name)):  # last, and so best, is the unpacked one
        if match := IDX_NAME.fullmatch(file.name):
            prefixes.add(match["prefix"])
            found["train" if match["part"].lower() == "train" else "test", match["kind"].lower()] = file
    if len(prefixes) > 1:
        named = ", ".join(sorted(repr(prefix) for prefix in prefixes))
        raise InputError(
            f"{path} holds several sets, whose names begin with {named}.",
            "Put one set in a folder of its own.",
        )
    train, failures = _read_idx_part(path, found, "train")
    if ("test", "images") not in found and ("test", "labels") not in found:
        return Dataset(name, train, None, failures)
    test, more = _read_idx_part(path, found, "test")
    return Dataset(name, train, test, failures + more)


def _read_idx_part(
    path: Path, found: dict[tuple[str, str], Path], part: str
) -> tuple[Digits, tuple[Failure, ...]]:
    for kind in ("images", "labels"):
        if (part, kind) not in found:
            name = f"{'train' if part == 'train' else 't10k'}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
            raise InputError(f"{path} has no file of {part} {kind}.", f"Add one, named as MNIST's {name}.")
    file = found[part, "images"]
    images = read_idx(file)
    if file.name.lower().startswith("emnist") and images.ndim == 3:
        images = images.transpose(0, 2, 1)  # published so
    return digits_from_arrays(images, read_idx(found[part, "labels"]), f"{path.name}/{file.name}")


def _load_parts(path: Path, part_folders: Iterable[Path], name: str) -> Dataset:
    """Digit folders below train and test."""
    digit_folders: dict[str, list[Path]] = {"train": [], "test": []}
    for part_folder in part_folders:
        listing = _list(part_folder)
        if listing.other_folders or listing.part_folders:
            strangers = listing.other_folders + listing.part_folders
            raise InputError(
                f"{part_folder} has sub-folders that are not digits: {_some(strangers)}.", LAYOUT
            )
        if listing.pictures:
            raise InputError(f"{part_folder} has pictures outside its folders of digits.", LAYOUT)
        digit_folders[PARTS[part_folder.name.lower()]] += listing.digit_folders
    train, failures = _read_pictures(digit_folders["train"], path, "training ")
    if not any(PARTS[folder.name.lower()] == "test" for folder in part_folders):
        return Dataset(name, train, None, failures)
    test, more = _read_pictures(digit_folders["test"], path, "test ")
    return Dataset(name, train, test, failures + more)


def _read_pictures(
    digit_folders: Iterable[Path], path: Path, part: str = ""
) -> tuple[Digits, tuple[Failure, ...]]:
    """Every picture below the folders, in natural order."""
    files = [(file, int(folder.name)) for folder in digit_folders for file in _list_pictures(folder)]
    if not files:
        raise InputError(f"{path} holds no {part}pictures ({', '.join(PICTURE_SUFFIXES)}).", LAYOUT)
    images, labels, failures = [], [], []
    results = map_in_order(_read_picture, [file for file, _ in files])
    for result, (_, label) in zip(results, files, strict=True):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            images.append(result)
            labels.append(label)
    if not images:
        raise InputError(
            f"None of the {len(files)} {part}pictures in {path} can be used; the first: {failures[0].cause}",
            "Check that they are pictures of one digit each.",
        )
    return Digits(np.stack(images), np.array(labels, np.int64)), tuple(failures)


def _read_picture(file: Path) -> npt.NDArray[np.uint8] | Failure:
    from digitcli.imaging import digit_from_picture  # loads OpenCV

    try:
        digit = digit_from_picture(file)
    except PictureError as error:
        return Failure(str(file), error.reason, error.cause)
    return digit if digit.any() else Failure(str(file), "blank", "Nothing is written in it.")


def _list_pictures(folder: Path) -> list[Path]:
    files = []
    for found in walk_pictures(folder):
        if isinstance(found, OSError):
            raise _unreadable(found) from found
        files.append(found)
    return files


def _unreadable(error: OSError) -> InputError:
    return InputError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.")


def _some(folders: list[Path]) -> str:
    names = ", ".join(folder.name for folder in folders[:5])
    return f"{names} and {len(folders) - 5} more" if len(folders) > 5 else names
