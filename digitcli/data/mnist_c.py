"""MNIST-C: the test digits of MNIST under 15 corruptions, made anew or read from the published files.

Mu & Gilmer, "MNIST-C: A robustness benchmark for computer vision", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits, concatenate
from digitcli.data.files import MAX_BYTES
from digitcli.data.mnist import load_mnist
from digitcli.errors import InputError

NAME = "mnist-c"
CORRUPTION_NAMES = (
    "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate", "brightness",
    "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag", "canny_edges",
)  # fmt: skip
_UNPACK = "Unpack the published files of MNIST-C again."


def load_mnist_c() -> Dataset:
    """Return MNIST with 15 corrupted copies of its test digits, 150,000, as the test part.

    They are made by the definitions of the authors' generator with other random numbers: single images differ
    from the published ones.

    Raises:
        InputError: An embedded file of MNIST is damaged.
    """
    from digitcli.data.corruptions import corrupt  # loads OpenCV

    clean = load_mnist()
    assert clean.test is not None
    parts = {name: Digits(corrupt(name, clean.test.images), clean.test.labels) for name in CORRUPTION_NAMES}
    return _with_groups(NAME, clean.train, parts)


def is_mnist_c_folder(folder: Path) -> bool:
    """Tell whether a folder has the form in which MNIST-C is published: a folder for each corruption."""
    return all((folder / name / "test_images.npy").is_file() for name in CORRUPTION_NAMES)


def load_mnist_c_folder(folder: Path) -> Dataset:
    """Return MNIST with the test digits of the published files as the test part.

    Raises:
        InputError: A file is missing or damaged.
    """
    parts = {name: _read_digits(folder / name) for name in CORRUPTION_NAMES}
    return _with_groups(folder.name, load_mnist().train, parts)


def _with_groups(name: str, train: Digits, parts: Mapping[str, Digits]) -> Dataset:
    groups = tuple(group for group, digits in parts.items() for _ in range(len(digits)))
    return Dataset(name, train, concatenate(*parts.values()), test_groups=groups)


def _read_digits(folder: Path) -> Digits:
    try:
        images, labels = (_read_array(folder / f"test_{kind}.npy") for kind in ("images", "labels"))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"The test digits in {folder} cannot be read: {error}.", _UNPACK) from error
    if images.ndim == 4:  # as published, with one channel
        images = images[..., 0]
    is_labelled = labels.ndim == 1 and labels.dtype.kind in "iu" and set(np.unique(labels)) <= {*range(10)}
    if not is_labelled or images.dtype != np.uint8 or images.shape != (len(labels), 28, 28):
        cause = f"The arrays in {folder} are not labelled images of 28x28 pixels."
        raise InputError(cause, _UNPACK)
    return Digits(np.asarray(images, np.uint8), labels.astype(np.int64))


def _read_array(path: Path) -> npt.NDArray[np.generic]:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} is too large")
    return np.asarray(np.load(path, allow_pickle=False))
