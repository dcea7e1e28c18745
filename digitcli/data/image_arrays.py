"""Turn arrays of images and labels from any source into labelled digits.

Grey images of 28 x 28 pixels have MNIST's format and are taken as they are. Images of other sizes or in
colour are preprocessed like every picture (`digitcli.imaging`).
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
from digitcli.errors import InputError, counted

SIDE_PX = 28  # of MNIST's images
CLEAN_PAPER_SHARE = 0.3  # if this share of pixels has the same extreme value, it is paper without noise
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
THREADS = min(8, os.cpu_count() or 1)  # more do not help: memory becomes the limit

Array = npt.NDArray[Any]
Source = TypeVar("Source")
Result = TypeVar("Result")


def digits_from_arrays(images: Array, labels: Array, origin: str) -> tuple[Digits, tuple[Failure, ...]]:
    """Return the digits of images (N, H, W), or an equivalent shape, and of labels (N,) or (N, 1).

    Grey images of 28 x 28 pixels from 0 to 255, or from 0 to 1, are taken as they are. If most of their
    pixels are bright, they show ink on white paper and are inverted to ink 255 on paper 0. `origin` names the
    source in error messages.

    Raises:
        InputError: The arrays differ in length or do not hold digits.
    """
    images = _check_images(images, origin)
    labels = _check_labels(labels, origin)
    if len(images) != len(labels):
        raise InputError(
            f"{origin} has {counted(len(images), 'image')} but {counted(len(labels), 'label')}.",
            "Give one label for each image, in the same order.",
        )
    if len(images) == 0:
        raise InputError(f"{origin} contains no images.", "Choose data with at least one image.")
    if images.shape[1:] == (SIDE_PX, SIDE_PX):
        return Digits(_invert_dark_on_light(_to_bytes(images, origin)), labels), ()
    return _preprocess(images, labels, origin)


def map_in_order(function: Callable[[Source], Result], sources: Sequence[Source]) -> list[Result]:
    """Call a function that releases Python's global lock, in threads; return the results in order."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, sources))


def _check_images(images: Array, origin: str) -> Array:
    """Return finite images (N, H, W), or (N, H, W, 3) in colour."""
    if images.dtype.kind not in "biuf":
        raise InputError(
            f"The images of {origin} have the type {images.dtype}, which is not a number.",
            "Save uint8 arrays.",
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


def _check_labels(labels: Array, origin: str) -> npt.NDArray[np.int64]:
    remedy = "Give labels that are integers from 0 to 9, one for each image."
    if labels.dtype.kind not in "iuf":
        raise InputError(
            f"The labels of {origin} have the type {labels.dtype}, which is not a number.", remedy
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"The labels of {origin} have the shape {labels.shape}, not (N,).", remedy)
    wrong = np.flatnonzero(~np.isin(labels, np.arange(10)))
    if len(wrong):
        index = int(wrong[0])
        raise InputError(
            f"Labels of {origin} that are not digits: {len(wrong):,} of {len(labels):,}, the first being "
            f"{labels[index]} of image {index}.",
            remedy,
        )
    return labels.astype(np.int64)


def _to_bytes(images: Array, origin: str) -> npt.NDArray[np.uint8]:
    """Convert images to uint8; scale them if their values lie between 0 and 1."""
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise InputError(
            f"The images of {origin} hold values from {low} to {high}.",
            "Give pixels from 0 to 255, or from 0 to 1.",
        )
    if high <= 1:
        images = images.astype(np.float32) * 255
    if images.dtype.kind == "f":
        images = np.rint(images)
    return np.ascontiguousarray(images, dtype=np.uint8)


def _invert_dark_on_light(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Invert a set of images if most pixels are bright: ink covers less than half of any set of digits."""
    return 255 - images if np.count_nonzero(images > 127) > images.size / 2 else images


def _preprocess(
    images: Array, labels: npt.NDArray[np.int64], origin: str
) -> tuple[Digits, tuple[Failure, ...]]:
    """Normalize images of any size and colour to MNIST's format; blank images become failures."""
    from digitcli.imaging.digits import digit_from_grey  # imported here because it loads OpenCV

    low, high = float(images.min()), float(images.max())
    scale = 255 / max(high - low, 1e-9)
    share, level = max((float(np.mean(images == level)), level) for level in (low, high))
    paper = level if share > CLEAN_PAPER_SHARE else None

    def normalize(image: Array) -> npt.NDArray[np.uint8]:
        grey = image @ LUMA if image.ndim == 3 else image
        if paper is not None:  # a digit that fills its image would leave no paper to measure
            grey = np.pad(grey, max(grey.shape) // 4, constant_values=paper)
        return digit_from_grey(np.rint((grey - low) * scale).astype(np.uint8))

    digits = np.stack(map_in_order(normalize, list(images)))  # N, 28, 28
    has_ink = digits.any(axis=(1, 2))
    if not has_ink.any():
        raise InputError(f"Every image of {origin} is blank.", "Check how the images were saved.")
    failures = tuple(
        Failure(f"{origin}[{index}]", "blank", "Nothing is written on it.")
        for index in np.flatnonzero(~has_ink)
    )
    return Digits(digits[has_ink], labels[has_ink]), failures
