"""Stage 2 of the reading pipeline for digits that stand apart, crop: cut the inputs of a classifier out.

The stages are listed in `pipeline.py`. Stage 1 found the regions of the page: a region is the place of one
number, and its components are the connected ink that may be its digits (`segmentation.py`). The input of a
classifier is a digit crop: one component, normalized to 28 x 28 pixels like the digits of MNIST. Every digit
is cropped twice, in different sizes, and the answers to both crops are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from digitcli.imaging.digits import normalize_digit
from digitcli.recognition.segmentation import PageLayout, Region

# Side in pixels of the square that the digit fills in its first and in its second crop; 20 is MNIST's side,
# and 16 was chosen by hand.
DIGIT_SIZES_PX = (20, 16)


@dataclass(frozen=True)
class DigitCrops:
    """A region, which is the place of one number on the page, and its crops.

    region: the region without the ink of its components, to save memory.
    digits: the digit crops, uint8 (N, 2, 28, 28), ink 255 on paper 0: two for each of N components.
    """

    region: Region
    digits: np.ndarray


def crop_numbers(layout: PageLayout) -> tuple[DigitCrops, ...]:
    """Crop the digits of every region of a page."""
    return tuple(DigitCrops(_without_ink(region), _crop_digits(region)) for region in layout.regions)


def _without_ink(region: Region) -> Region:
    return replace(region, components=tuple(replace(component, ink=None) for component in region.components))


def _crop_digits(region: Region) -> np.ndarray:
    crops = [
        [normalize_digit(component.ink, size_px) for size_px in DIGIT_SIZES_PX]
        for component in region.components
        if component.ink is not None
    ]
    return np.array(crops, np.uint8).reshape(-1, len(DIGIT_SIZES_PX), 28, 28)
