"""Load a dataset by the value of `--data`: the name of a published dataset, a folder or a file."""

from __future__ import annotations

import os
from pathlib import Path

from digitcli.data.arrays import load_csv, load_npz
from digitcli.data.dataset import Dataset
from digitcli.data.files import DECOMPRESSORS
from digitcli.data.folders import load_folder
from digitcli.data.mnist import load_mnist
from digitcli.data.mnist_c import is_mnist_c_folder, load_mnist_c, load_mnist_c_folder
from digitcli.data.torchvision_datasets import PUBLISHED_DATASETS, load_published_dataset
from digitcli.errors import InputError, UsageError, did_you_mean

DATASETS = {
    "mnist": "handwritten digits, 60,000 + 10,000, 28x28, built in: no network is needed (LeCun 1998)",
    "mnist-c": "mnist with 15 corruptions of its test digits, made here: no network is needed (Mu 2019)",
    **{name: published.summary for name, published in PUBLISHED_DATASETS.items()},
}
FILE_LOADERS = {".npz": load_npz, ".csv": load_csv}
FORMS = f"Give one of {', '.join(DATASETS)}; a folder of pictures or IDX files; a .npz or a .csv file."


def load_dataset(spec: str) -> Dataset:
    """Load a dataset by one of the names in `DATASETS`, or from a folder, a .npz or a .csv file.

    A name takes precedence over a folder of the same name, which can be given as `./name`.

    Raises:
        UsageError: There is no such dataset, or the file has another format.
        InputError: The data cannot be read or contains no digits.
        EnvironmentFault: A package is missing, or the cache folder cannot be used.
    """
    path = find_dataset(spec)
    if path is None:
        built_in = {"mnist": load_mnist, "mnist-c": load_mnist_c}
        return built_in[spec]() if spec in built_in else load_published_dataset(spec)
    if not path.is_dir():
        return FILE_LOADERS[_format_suffix(path)](path)
    return load_mnist_c_folder(path) if is_mnist_c_folder(path) else load_folder(path)


def find_dataset(spec: str) -> Path | None:
    """Return the folder or file that `spec` means, or None for the name of a dataset; read nothing.

    Raises:
        UsageError: There is no such dataset, or the file has another format.
        InputError: There is no such folder or file.
    """
    if spec in DATASETS:
        return None
    if not spec.strip():
        raise UsageError("The name of a dataset is empty.", FORMS)
    path = _find_path(spec)
    if path.is_dir() or _format_suffix(path) in FILE_LOADERS:
        return path
    if "-ubyte" in path.name:
        raise UsageError(f"{spec} is one of several IDX files.", f"Give the folder: {path.parent}")
    raise UsageError(f"{spec} is not in a format of labelled digits.", FORMS)


def _find_path(spec: str) -> Path:
    """Return the path that `spec` means if something exists there."""
    try:
        path = Path(spec).expanduser()
        if path.exists():
            return path
    except (OSError, RuntimeError) as error:  # a name too long, a folder without permission, an unknown user
        raise InputError(f"{spec} cannot be read: {error}.", "Check the path.") from error
    if path.suffix or os.sep in spec or "/" in spec:
        raise InputError(f"There is no file or folder {spec}.", "Check the path.")
    raise UsageError(f"There is no dataset named {spec}.", did_you_mean(spec.lower(), DATASETS))


def _format_suffix(path: Path) -> str:
    """Return the suffix that tells the format: that of digits.csv.gz is .csv."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in DECOMPRESSORS else suffix
