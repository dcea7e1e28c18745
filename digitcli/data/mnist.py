"""MNIST, embedded in the package: nothing is downloaded.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998. Copyright Yann LeCun and Corinna Cortes, derived from NIST, CC BY-SA 3.0.
"""

from __future__ import annotations

import hashlib
import lzma
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits
from digitcli.data.idx import parse_idx
from digitcli.errors import InputError

SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
DIGEST = "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b"  # load_mnist().digest


def load_mnist() -> Dataset:
    """The canonical 60,000 and 10,000 digits.

    Raises:
        InputError: an embedded file is damaged.
    """
    with ThreadPoolExecutor() as pool:  # unpacking and hashing release the interpreter
        parts = list(pool.map(_read, SHA256))
    train_images, train_labels, test_images, test_labels = parts
    return Dataset(
        "mnist",
        Digits(train_images, train_labels.astype(np.int64)),
        Digits(test_images, test_labels.astype(np.int64)),
    )


def load_mnist_test() -> Digits:
    """The 10,000 test digits alone, for whoever does not need the rest.

    Raises:
        InputError: an embedded file is damaged.
    """
    return Digits(_read("t10k-images-idx3-ubyte"), _read("t10k-labels-idx1-ubyte").astype(np.int64))


def _read(name: str) -> npt.NDArray[np.uint8]:
    remedy = "Reinstall digitcli."
    try:
        content = lzma.decompress((files("digitcli.data") / "mnist" / f"{name}.xz").read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"The embedded MNIST file {name} cannot be read: {error}.", remedy) from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise InputError(f"The embedded MNIST file {name} is damaged.", remedy)
    return parse_idx(content, name)
