"""Published sets of digits that torchvision fetches once into a cache folder.

Free of torch until a set is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
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

from digitcli.data.dataset import Dataset
from digitcli.data.image_arrays import Array, digits_from_arrays
from digitcli.errors import DigitcliError, EnvironmentFault, InputError

CACHE_VARIABLE = "DIGITCLI_CACHE"
PATIENCE_SECONDS = 30.0
MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class PublishedSet:
    """What torchvision calls a set, how its parts are asked for, and what a person can fetch by hand."""

    summary: str
    class_name: str
    url: str
    files: tuple[str, ...]
    train: dict[str, Any] = field(default_factory=lambda: {"train": True})
    test: dict[str, Any] = field(default_factory=lambda: {"train": False})
    transposed: bool = False
    black_border: int = 0  # for pictures cropped so tightly that no paper is left around the ink
    has_raw_folder: bool = True  # torchvision keeps the MNIST family in CLASS/raw, others where it is told
    needs: str | None = None


PUBLISHED_SETS = {
    "fashion-mnist": PublishedSet(
        "10 kinds of clothing instead of digits, 60,000 + 10,000, 28x28 (Xiao 2017)",
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        MNIST_FILES,
    ),
    "kmnist": PublishedSet(
        "10 cursive Japanese characters instead of digits, 60,000 + 10,000, 28x28 (Clanuwat 2018)",
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        MNIST_FILES,
    ),
    "qmnist": PublishedSet(
        "MNIST rebuilt from its source, 60,000 + 10,000, 28x28 (Yadav 2019)",
        "QMNIST",
        "https://github.com/facebookresearch/qmnist",
        (
            "qmnist-train-images-idx3-ubyte.gz",
            "qmnist-train-labels-idx2-int.gz",
            "qmnist-test-images-idx3-ubyte.gz",
            "qmnist-test-labels-idx2-int.gz",
        ),
        train={"what": "train"},
        test={"what": "test10k"},
    ),
    "emnist-digits": PublishedSet(
        "more digits of the same writers as MNIST, 240,000 + 40,000, 28x28 (Cohen 2017)",
        "EMNIST",
        "https://biometrics.nist.gov/cs_links/EMNIST/",
        ("gzip.zip",),
        train={"split": "digits", "train": True},
        test={"split": "digits", "train": False},
        transposed=True,
    ),
    "usps": PublishedSet(
        "digits from envelopes, 7,291 + 2,007, 16x16 (Hull 1994)",
        "USPS",
        "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        ("usps.bz2", "usps.t.bz2"),
        black_border=4,
        has_raw_folder=False,
    ),
    "svhn": PublishedSet(
        "house numbers in colour photographs, 73,257 + 26,032, 32x32 (Netzer 2011)",
        "SVHN",
        "http://ufldl.stanford.edu/housenumbers/",
        ("train_32x32.mat", "test_32x32.mat"),
        train={"split": "train"},
        test={"split": "test"},
        has_raw_folder=False,
        needs="scipy",
    ),
}


def load_published_set(name: str) -> Dataset:
    """A set of `PUBLISHED_SETS`, from the cache folder or, the first time, from the network.

    Raises:
        EnvironmentFault: a package that reads the set is missing, or the cache folder cannot be written.
        InputError: the set is not in the cache and cannot be fetched, or its files are damaged.
    """
    published = PUBLISHED_SETS[name]
    if published.needs and importlib.util.find_spec(published.needs) is None:
        raise EnvironmentFault(
            f"The dataset {name} needs {published.needs}, which is not installed.",
            f"Install it with: pip install {published.needs}",
        )
    train_images, train_labels = _fetch(name, published.train)
    test_images, test_labels = _fetch(name, published.test)
    train, failures = digits_from_arrays(train_images, train_labels, name)
    test, more = digits_from_arrays(test_images, test_labels, f"{name} (test)")
    return Dataset(name, train, test, failures + more)


def cache_folder() -> Path:
    """Where fetched sets are kept: $DIGITCLI_CACHE, else the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("digitcli")).expanduser()


def _fetch(name: str, part: dict[str, Any]) -> tuple[Array, Array]:
    """The images and labels of one part, as torchvision reads them and then as MNIST would hold them."""
    published = PUBLISHED_SETS[name]
    root = cache_folder() if published.has_raw_folder else cache_folder() / published.class_name
    files_at = root / published.class_name / "raw" if published.has_raw_folder else root
    try:
        datasets = importlib.import_module("torchvision.datasets")
        root.mkdir(parents=True, exist_ok=True)
        with _quiet_and_impatient():
            loaded = getattr(datasets, published.class_name)(root, download=True, **part)
    except ImportError as error:
        cause = f"The dataset {name} needs torchvision, which cannot be imported: {error}."
        raise EnvironmentFault(cause, "Install it with: pip install torchvision") from error
    except (DigitcliError, MemoryError):  # the first is a signal's
        raise
    except Exception as error:  # whatever torchvision raises on a missing network or a damaged file
        raise _explain(error, name, files_at) from error
    images = np.asarray(loaded.data)
    labels = np.asarray(loaded.labels if hasattr(loaded, "labels") else loaded.targets)
    if published.transposed:
        images = images.transpose(0, 2, 1)
    if published.black_border:
        border = published.black_border
        images = np.pad(images, ((0, 0), (border, border), (border, border)))
    return images, labels[:, 0] if labels.ndim == 2 else labels  # QMNIST: the class comes first


@contextmanager
def _quiet_and_impatient() -> Iterator[None]:
    """No progress bar, and no waiting for ever on a host that does not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_SECONDS)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _explain(error: Exception, name: str, folder: Path) -> InputError | EnvironmentFault:
    published = PUBLISHED_SETS[name]
    text = str(error).strip() or type(error).__name__
    detail = text.splitlines()[-1].strip("<>. ")
    if isinstance(error, (PermissionError, FileExistsError, NotADirectoryError)):
        return EnvironmentFault(
            f"The cache folder for {name} cannot be used: {detail}.",
            f"Set {CACHE_VARIABLE} to a folder that you may write to.",
        )
    is_network = isinstance(error, (URLError, TimeoutError, ConnectionError, HTTPException))
    if is_network or text.startswith("Error downloading"):
        return InputError(
            f"The dataset {name} is not in the cache, and without a network it cannot be fetched: {detail}.",
            f"Put {', '.join(published.files)} from {published.url} into {folder}, "
            "or choose another --data: mnist needs no network.",
        )
    return InputError(
        f"The files of {name} in {folder} cannot be read: {detail}.",
        "Delete that folder and run again to fetch them anew, or choose another --data.",
    )
