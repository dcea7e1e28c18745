"""Vary lines while a network learns from few of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from digitcli.architectures.recipe import Recipe
from digitcli.data.augmentation import augment
from digitcli.inference.runtime import pad_lines
from digitcli.inference.torch_runtime import as_input
from digitcli.strip_format import COLUMN_PX
from digitcli.synthesis.lines import Line, count_ctc_columns

# Chosen by hand, so that a varied line could be by the same hand.
STRETCH = 0.12  # standard deviation of the logarithm of the width, and of half of it for the height
SHEAR = 0.12  # standard deviation, pixels across for each pixel down
SHIFT_PX = 1.5  # standard deviation of a shift up or down, in rows of 40
LEAST_WIDTH = 0.8  # of a line, so that its characters keep the columns that CTC needs
AT_ONCE = 32  # lines of similar width, whose strokes are varied together
# The widths of strokes and smooth displacements as for digits, with the strength of the recipe `robust`.
STROKES = Recipe(augment=True, affine=False, stroke_width=True, elastic=0.5)


def vary(lines: Sequence[Line], random: np.random.Generator) -> list[Line]:
    """Return lines in another shape and with other strokes, the narrowest first.

    The random numbers are those of `random`, and of PyTorch's global generator for the strokes.
    """
    shapes = [_vary_shape(line.image, random, COLUMN_PX * count_ctc_columns(line.text)) for line in lines]
    order = sorted(range(len(lines)), key=lambda index: shapes[index].shape[1])
    varied: list[Line] = []
    for start in range(0, len(order), AT_ONCE):
        # The first images of a batch become thicker or thinner, see `data.augmentation.stroke_width`.
        indices = random.permutation(order[start : start + AT_ONCE]).tolist()
        images = _vary_strokes([shapes[index] for index in indices])
        varied += [
            dataclasses.replace(lines[index], image=image)
            for index, image in zip(indices, images, strict=True)
        ]
    return varied


def _vary_shape(
    image: npt.NDArray[np.uint8], random: np.random.Generator, least_width: int
) -> npt.NDArray[np.uint8]:
    """Stretch, shear and shift a line, uint8 (40, W); it stays at least `least_width` pixels wide."""
    height, width = image.shape
    factor = max(LEAST_WIDTH, float(np.exp(random.normal(0, STRETCH))))
    new_width = max(round(factor * width), least_width)
    scale_x, scale_y = new_width / width, float(np.exp(random.normal(0, STRETCH / 2)))
    shear, shift = random.normal(0, SHEAR), random.normal(0, SHIFT_PX)
    middle = (height - 1) / 2
    matrix = np.array([[scale_x, -shear, shear * middle], [0, scale_y, middle * (1 - scale_y) + shift]])
    return np.asarray(cv2.warpAffine(image, matrix, (new_width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _vary_strokes(images: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    """Vary the width of strokes and bend them a little, uint8 (40, W), see `data.augmentation`."""
    padded = pad_lines(images, max(image.shape[1] for image in images))
    varied = augment(as_input(torch.from_numpy(padded)), STROKES).squeeze(1)
    levels = (255 * varied.clamp(0, 1)).round().byte().numpy()
    return [line[:, : image.shape[1]] for line, image in zip(levels, images, strict=True)]
