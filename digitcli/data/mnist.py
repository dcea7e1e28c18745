"""MNIST, which is embedded in the package, and IDX, the file format in which MNIST was published.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998. Copyright Yann LeCun and Corinna Cortes, derived from NIST, CC BY-SA 3.0.
IDX: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
"""

from __future__ import annotations

import hashlib
import lzma
import math
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits
from digitcli.data.files import MAX_BYTES, open_decompressed
from digitcli.errors import InputError

SHA256 = {  # of the decompressed files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
DIGEST = "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b"  # load_mnist().digest
UINT8 = 0x08  # IDX's code for unsigned bytes
MAX_DIMENSIONS = 4  # images in colour have four; more would be no pictures
MAX_HEADER_BYTES = 4 + 4 * MAX_DIMENSIONS  # a magic number, and four bytes for each dimension
_FETCH_AGAIN = "Download the file again."


def load_mnist() -> Dataset:
    """Load the published 60,000 training digits and 10,000 test digits.

    Raises:
        InputError: An embedded file is damaged.
    """
    with ThreadPoolExecutor() as pool:  # decompressing and hashing release Python's global lock
        train_images, train_labels, test_images, test_labels = pool.map(_read_embedded, SHA256)
    return Dataset(
        "mnist",
        Digits(train_images, train_labels.astype(np.int64)),
        Digits(test_images, test_labels.astype(np.int64)),
    )


def load_mnist_test() -> Digits:
    """Load only the 10,000 test digits, which is faster.

    Raises:
        InputError: An embedded file is damaged.
    """
    images, labels = _read_embedded("t10k-images-idx3-ubyte"), _read_embedded("t10k-labels-idx1-ubyte")
    return Digits(images, labels.astype(np.int64))


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read the array in an IDX file of unsigned bytes, plain or compressed (.gz, .xz, .bz2).

    Raises:
        InputError: The file is missing, damaged or not IDX.
    """
    with open_decompressed(path) as file:
        content = file.read(MAX_HEADER_BYTES)
        start, shape = _parse_header(content, path.name)
        missing = start + math.prod(shape) - len(content)
        content += file.read(max(missing, 0) + 1)  # the extra byte makes gzip verify its checksum
    return parse_idx(content, path.name)


def parse_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Parse the bytes of an IDX file of unsigned bytes; `name` is for error messages.

    Raises:
        InputError: The bytes are not IDX, or their number differs from what the header says.
    """
    start, shape = _parse_header(content, name)
    expected = start + math.prod(shape)
    if len(content) != expected:
        size = f"more than {expected}" if len(content) > expected else str(len(content))
        cause = f"{name} is damaged: it has {size} bytes, but its header announces {expected}."
        raise InputError(cause, _FETCH_AGAIN)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _read_embedded(name: str) -> npt.NDArray[np.uint8]:
    remedy = "Reinstall digitcli."
    try:
        content = lzma.decompress((files("digitcli.data") / "mnist" / f"{name}.xz").read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"The embedded MNIST file {name} cannot be read: {error}.", remedy) from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise InputError(f"The embedded MNIST file {name} is damaged.", remedy)
    return parse_idx(content, name)


def _parse_header(content: bytes, name: str) -> tuple[int, tuple[int, ...]]:
    """Return the position at which the array begins, and its shape."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UINT8:
        raise InputError(f"{name} is not an IDX file of unsigned bytes.", _FETCH_AGAIN)
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if not 1 <= dimensions <= MAX_DIMENSIONS or len(content) < start:
        raise InputError(f"{name} is damaged: its header is cut short or invalid.", _FETCH_AGAIN)
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if math.prod(shape) > MAX_BYTES:
        cause = f"{name} is damaged or too large: its header announces {math.prod(shape)} bytes."
        raise InputError(cause, _FETCH_AGAIN)
    return start, shape
