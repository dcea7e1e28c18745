"""Load a dataset by the value of `--data`: the name of a published dataset, a folder or a file.

torchvision downloads published datasets once into a cache folder. It and torch are imported only when such a
dataset is loaded.
"""

from __future__ import annotations

import importlib
import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import platformdirs

from digitcli.data.arrays import Array, dataset_from_arrays, load_csv, load_npz
from digitcli.data.dataset import Dataset
from digitcli.data.files import DECOMPRESSORS
from digitcli.data.folders import load_folder
from digitcli.data.mnist import load_mnist
from digitcli.data.mnist_c import is_mnist_c_folder, load_mnist_c, load_mnist_c_folder
from digitcli.errors import EnvironmentFault, InputError, UsageError, did_you_mean

CACHE_VARIABLE = "DIGITCLI_CACHE"
TIMEOUT_S = 30.0  # for a server that does not answer
MNIST_FILES = tuple(
    f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset that torchvision can download.

    summary: one line for help texts.
    class_name: the name of its class in torchvision.datasets.
    url, files: where a person can download its files by hand, and their names.
    train, test: the arguments of the class for each part.
    transposed: whether the images are stored transposed.
    black_border: pixels to add around images that are cropped so tightly that no paper is left.
    has_raw_folder: whether torchvision keeps its files in CLASS/raw instead of the folder that it is given.
    """

    summary: str
    class_name: str
    url: str
    files: tuple[str, ...]
    train: dict[str, Any] = field(default_factory=lambda: {"train": True})
    test: dict[str, Any] = field(default_factory=lambda: {"train": False})
    transposed: bool = False
    black_border: int = 0
    has_raw_folder: bool = True


PUBLISHED_DATASETS = {
    "fashion-mnist": PublishedDataset(
        "10 kinds of clothing instead of digits, 60,000 + 10,000, 28x28 (Xiao 2017)",
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        MNIST_FILES,
    ),
    "kmnist": PublishedDataset(
        "10 cursive Japanese characters instead of digits, 60,000 + 10,000, 28x28 (Clanuwat 2018)",
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        MNIST_FILES,
    ),
    "qmnist": PublishedDataset(
        "MNIST rebuilt from its source, 60,000 + 10,000, 28x28 (Yadav 2019)",
        "QMNIST",
        "https://github.com/facebookresearch/qmnist",
        tuple(
            f"qmnist-{part}-{kind}.gz"
            for part in ("train", "test")
            for kind in ("images-idx3-ubyte", "labels-idx2-int")
        ),
        train={"what": "train"},
        test={"what": "test10k"},
    ),
    "emnist-digits": PublishedDataset(
        "more digits of the same writers as MNIST, 240,000 + 40,000, 28x28 (Cohen 2017)",
        "EMNIST",
        "https://biometrics.nist.gov/cs_links/EMNIST/",
        ("gzip.zip",),
        train={"split": "digits", "train": True},
        test={"split": "digits", "train": False},
        transposed=True,
    ),
    "usps": PublishedDataset(
        "digits from envelopes, 7,291 + 2,007, 16x16 (Hull 1994)",
        "USPS",
        "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        ("usps.bz2", "usps.t.bz2"),
        black_border=4,
        has_raw_folder=False,
    ),
    "svhn": PublishedDataset(
        "house numbers in colour photographs, 73,257 + 26,032, 32x32 (Netzer 2011)",
        "SVHN",
        "http://ufldl.stanford.edu/housenumbers/",
        ("train_32x32.mat", "test_32x32.mat"),
        train={"split": "train"},
        test={"split": "test"},
        has_raw_folder=False,
    ),
}


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
        InputError: The data cannot be read or downloaded, or contains no digits.
        EnvironmentFault: A package is missing, or the cache folder cannot be used.
    """
    path = find_dataset(spec)
    if path is None:
        built_in = {"mnist": load_mnist, "mnist-c": load_mnist_c}
        if spec in built_in:
            return built_in[spec]()
        parts = (PUBLISHED_DATASETS[spec].train, PUBLISHED_DATASETS[spec].test)
        return dataset_from_arrays(spec, *(array for part in parts for array in _load_part(spec, part)))
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
    try:
        path = Path(spec).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:  # a name too long, a folder without permission, an unknown user
        raise InputError(f"{spec} cannot be read: {error}.", "Check the path.") from error
    if not exists and (path.suffix or os.sep in spec or "/" in spec):
        raise InputError(f"There is no file or folder {spec}.", "Check the path.")
    if not exists:
        raise UsageError(f"There is no dataset named {spec}.", did_you_mean(spec.lower(), DATASETS))
    if path.is_dir() or _format_suffix(path) in FILE_LOADERS:
        return path
    if "-ubyte" in path.name:
        raise UsageError(f"{spec} is one of several IDX files.", f"Give the folder: {path.parent}")
    raise UsageError(f"{spec} is not in a format of labelled digits.", FORMS)


def _format_suffix(path: Path) -> str:
    """Return the suffix that tells the format: that of digits.csv.gz is .csv."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in DECOMPRESSORS else suffix


def cache_folder() -> Path:
    """Return the folder for downloaded datasets: $DIGITCLI_CACHE, else the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("digitcli")).expanduser()


def _load_part(name: str, part: dict[str, Any]) -> tuple[Array, Array]:
    """Load the images and labels of one part and arrange them as in MNIST; the first time, download them."""
    published = PUBLISHED_DATASETS[name]
    root = cache_folder() if published.has_raw_folder else cache_folder() / published.class_name
    files_folder = root / published.class_name / "raw" if published.has_raw_folder else root
    try:
        datasets = importlib.import_module("torchvision.datasets")
        root.mkdir(parents=True, exist_ok=True)
        with _without_output_and_with_timeout():
            loaded = getattr(datasets, published.class_name)(root, download=True, **part)
    except ImportError as error:
        cause = f"The dataset {name} needs torchvision, which cannot be imported: {error}."
        raise EnvironmentFault(cause, "Install it with: pip install torchvision") from error
    except MemoryError:
        raise
    except Exception as error:  # torchvision raises many errors for a missing network or a damaged file
        raise _explain(error, name, files_folder) from error
    images = np.asarray(loaded.data)
    labels = np.asarray(loaded.labels if hasattr(loaded, "labels") else loaded.targets)
    if published.transposed:
        images = images.transpose(0, 2, 1)
    if border := published.black_border:
        images = np.pad(images, ((0, 0), (border, border), (border, border)))
    return images, labels[:, 0] if labels.ndim == 2 else labels  # of QMNIST's eight, the first is the digit


@contextmanager
def _without_output_and_with_timeout() -> Iterator[None]:
    """Suppress torchvision's progress bar, and stop waiting for a server that does not answer."""
    previous_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(previous_timeout)


def _explain(error: Exception, name: str, folder: Path) -> InputError | EnvironmentFault:
    """Return the error to report for an exception of torchvision."""
    published = PUBLISHED_DATASETS[name]
    text = str(error).strip() or type(error).__name__
    detail = text.splitlines()[-1].strip("<>. ")
    if isinstance(error, (PermissionError, FileExistsError, NotADirectoryError)):
        cause = f"The cache folder for {name} cannot be used: {detail}."
        return EnvironmentFault(cause, f"Set {CACHE_VARIABLE} to a folder that you may write to.")
    is_network = isinstance(error, (URLError, TimeoutError, ConnectionError, HTTPException))
    if is_network or text.startswith("Error downloading"):
        cause = f"The dataset {name} is not in the cache and cannot be downloaded: {detail}."
        files = f"{', '.join(published.files)} from {published.url} into {folder}"
        return InputError(cause, f"Put {files}, or choose other data: --data mnist needs no network.")
    cause = f"The files of {name} in {folder} cannot be read: {detail}."
    remedy = "Delete that folder and run again to download them anew, or choose other data with --data."
    return InputError(cause, remedy)
