"""Arrays of pictures and labels, of whatever origin, made into digits.

Arrays of 28x28 grey pictures are MNIST's own format and are taken as they are; other sizes and colour take
the road that every picture takes (`digitcli.imaging`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits, Failure
from digitcli.errors import InputError

SIDE = 28
DRAWN_PAPER = 0.3  # from this share of the same extreme on, it is paper that no camera has seen
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
THREADS = min(8, os.cpu_count() or 1)

Array = npt.NDArray[Any]
Source = TypeVar("Source")
Result = TypeVar("Result")


def digits_from_arrays(images: Array, labels: Array, origin: str) -> tuple[Digits, tuple[Failure, ...]]:
    """Digits from pictures, (N, H, W) or what is plainly the same, and labels, (N,) or (N, 1).

    28x28 grey pictures hold 0 to 255, or 0 to 1, and are taken as they are, except that a set that is mostly
    bright, ink on white paper, is turned into ink 255 on paper 0.

    Raises:
        InputError: the arrays do not belong together or are not digits.
    """
    images = _pictures(images, origin)
    labels = _whole_labels(labels, origin)
    if len(images) != len(labels):
        raise InputError(
            f"{origin} has {len(images)} images but {len(labels)} labels.",
            "Each image needs one label, in order.",
        )
    if len(images) == 0:
        raise InputError(f"{origin} holds no images.", "Choose data with at least one image.")
    if images.shape[1:] == (SIDE, SIDE):
        return Digits(_ink_on_black(_as_bytes(images, origin)), labels), ()
    return _by_the_road(images, labels, origin)


def map_in_order(function: Callable[[Source], Result], sources: Sequence[Source]) -> list[Result]:
    """The results of a function that spends its time outside the interpreter, in the order of its sources."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, sources))


def _pictures(images: Array, origin: str) -> Array:
    """Finite pictures (N, H, W), or (N, H, W, 3) in colour."""
    if images.dtype.kind not in "biuf":
        raise InputError(
            f"The images of {origin} are of type {images.dtype}, not numbers.", "Save uint8 arrays."
        )
    shape = images.shape
    if images.ndim == 2 and shape[1] and math.isqrt(shape[1]) ** 2 == shape[1]:
        side = math.isqrt(shape[1])
        images = images.reshape(len(images), side, side)
    elif images.ndim == 4 and shape[-1] == 1:
        images = images[..., 0]
    elif images.ndim == 4 and shape[1] == 1:
        images = images[:, 0]
    elif images.ndim == 4 and shape[1] == 3 and shape[-1] != 3:
        images = np.moveaxis(images, 1, -1)
    elif not (images.ndim == 3 or images.ndim == 4 and shape[-1] == 3):
        raise InputError(
            f"The images of {origin} have the shape {shape}.",
            "Give (N, 28, 28), (N, 784), (N, height, width) or (N, height, width, 3).",
        )
    if 0 in images.shape[1:]:
        raise InputError(f"The images of {origin} have the shape {shape}: no pixels.", "Give (N, 28, 28).")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError(
            f"The images of {origin} hold values that are not finite.", "Remove NaN and infinity."
        )
    return images


def _whole_labels(labels: Array, origin: str) -> npt.NDArray[np.int64]:
    remedy = "Labels are whole numbers from 0 to 9, one an image."
    if labels.dtype.kind not in "iuf":
        raise InputError(f"The labels of {origin} are of type {labels.dtype}, not numbers.", remedy)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"The labels of {origin} have the shape {labels.shape}, not (N,).", remedy)
    wrong = np.flatnonzero(~np.isin(labels, np.arange(10)))
    if len(wrong):
        index = int(wrong[0])
        raise InputError(
            f"{origin} has {len(wrong)} labels that are not digits, the first being {labels[index]} "
            f"of image {index}.",
            remedy,
        )
    return labels.astype(np.int64)


def _as_bytes(images: Array, origin: str) -> npt.NDArray[np.uint8]:
    """Pictures of 0 to 255 as they are, pictures of 0 to 1 scaled."""
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise InputError(
            f"The images of {origin} hold values from {low} to {high}.",
            "Pixels are numbers from 0 to 255, or 0 to 1.",
        )
    if high <= 1:
        images = images.astype(np.float32) * 255
    if images.dtype.kind == "f":
        images = np.rint(images)
    return np.ascontiguousarray(images, dtype=np.uint8)


def _ink_on_black(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Ink covers less than half of any set of digits: where most is bright, the paper is."""
    return 255 - images if np.count_nonzero(images > 127) > images.size / 2 else images


def _by_the_road(
    images: Array, labels: npt.NDArray[np.int64], origin: str
) -> tuple[Digits, tuple[Failure, ...]]:
    from digitcli.imaging import digit_from_grey  # loads OpenCV

    low, high = float(images.min()), float(images.max())
    scale = 255 / max(high - low, 1e-9)
    share, level = max((float(np.mean(images == level)), level) for level in (low, high))
    paper = level if share > DRAWN_PAPER else None

    def convert(image: Array) -> npt.NDArray[np.uint8]:
        grey = image @ LUMA if image.ndim == 3 else image
        if paper is not None:  # a digit may fill its picture so that none is left around it
            grey = np.pad(grey, max(grey.shape) // 4, constant_values=paper)
        return digit_from_grey(np.rint((grey - low) * scale).astype(np.uint8))

    digits = np.stack(map_in_order(convert, list(images)))  # N, 28, 28
    written = digits.any(axis=(1, 2))
    if not written.any():
        raise InputError(
            f"All {len(digits)} images of {origin} are blank.", "Check how the images were saved."
        )
    failures = tuple(
        Failure(f"{origin}[{index}]", "blank", "Nothing is written in it.")
        for index in np.flatnonzero(~written)
    )
    return Digits(digits[written], labels[written]), failures
