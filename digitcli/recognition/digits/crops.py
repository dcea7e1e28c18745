"""Cut the inputs of classifiers out of a page: connected components, normalized like the digits of MNIST."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from digitcli.imaging.components import Box
from digitcli.imaging.normalization import normalize_digit
from digitcli.recognition.digits.segmentation import PageLayout

# Side in pixels of the square that the digit fills in its first and in its second crop; 20 is MNIST's side.
DIGIT_SIZES_PX = (20, 16)


@dataclass(frozen=True)
class DigitCrops:
    """The digits of one number, N components from left to right.

    row: the number of its row on the page, from 0 on.
    boxes: x, y, width, height of each component in pixels of the page.
    is_cut_off: whether the number is one component that touches the edge of the page.
    images: two crops of each component, uint8 (N, 2, 28, 28), ink 255 on paper 0.
    """

    row: int
    boxes: tuple[Box, ...]
    is_cut_off: bool
    images: np.ndarray


def crop_numbers(layout: PageLayout) -> tuple[DigitCrops, ...]:
    """Crop the digits of every number of a page."""
    return tuple(
        DigitCrops(
            region.row,
            tuple(component.box for component in region.components),
            len(region.components) == 1 and region.components[0].is_cut_off,
            np.array(
                [
                    [normalize_digit(component.ink, size) for size in DIGIT_SIZES_PX]
                    for component in region.components
                ]
            ),
        )
        for region in layout.regions
    )
