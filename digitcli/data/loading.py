"""Where digits come from: `--data` names a published set, a folder or a file."""

from __future__ import annotations

import os
from pathlib import Path

from digitcli.data.array_files import load_csv, load_npz
from digitcli.data.dataset import Dataset
from digitcli.data.files import DECOMPRESSORS
from digitcli.data.folders import load_folder
from digitcli.data.mnist import load_mnist
from digitcli.data.torchvision_datasets import PUBLISHED_SETS, load_published_set
from digitcli.errors import InputError, UsageError, did_you_mean

DATASETS = {
    "mnist": "handwritten digits, 60,000 + 10,000, 28x28, built in: no network is needed (LeCun 1998)",
    **{name: published.summary for name, published in PUBLISHED_SETS.items()},
}
FILE_LOADERS = {".npz": load_npz, ".csv": load_csv}
FORMS = f"Give one of {', '.join(DATASETS)}; a folder of pictures or IDX files; a .npz or a .csv file."


def load_dataset(spec: str) -> Dataset:
    """The digits that `spec` names: one of `DATASETS`, a folder, a .npz or a .csv file.

    A name goes before a folder of the same name, which `./name` means.

    Raises:
        UsageError: there is no such dataset, or no such form of file is read.
        InputError: what is named cannot be read or holds no digits.
        EnvironmentFault: a package or a cache folder is missing.
    """
    path = find_dataset(spec)
    if path is None:
        return load_mnist() if spec == "mnist" else load_published_set(spec)
    return load_folder(path) if path.is_dir() else FILE_LOADERS[_suffix(path)](path)


def find_dataset(spec: str) -> Path | None:
    """The folder or file that `spec` means, or None where it is the name of a dataset. Reads nothing.

    Raises:
        UsageError: there is no such dataset, or no such form of file is read.
        InputError: there is no such folder or file.
    """
    if spec in DATASETS:
        return None
    if not spec.strip():
        raise UsageError("The name of a dataset is empty.", FORMS)
    path = _existing(spec)
    if path.is_dir() or _suffix(path) in FILE_LOADERS:
        return path
    if "-ubyte" in path.name:
        raise UsageError(f"{spec} is one of several IDX files.", f"Give the folder: {path.parent}")
    raise UsageError(f"{spec} is not in a form that holds labelled digits.", FORMS)


def _existing(spec: str) -> Path:
    """The path that `spec` means, if something is there."""
    try:
        path = Path(spec).expanduser()
        if path.exists():
            return path
    except (OSError, RuntimeError) as error:  # a name too long, a folder closed to us, no such user
        raise InputError(f"{spec} cannot be read: {error}.", "Check the path.") from error
    if path.suffix or os.sep in spec or "/" in spec:
        raise InputError(f"There is no file or folder {spec}.", "Check the path.")
    raise UsageError(f"There is no dataset named {spec}.", did_you_mean(spec.lower(), DATASETS))


def _suffix(path: Path) -> str:
    """What the file holds; .csv.gz is a .csv."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in DECOMPRESSORS else last
