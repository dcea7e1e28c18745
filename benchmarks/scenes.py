"""A picture that a generator has drawn, with what is written on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.synthesis.page import Label

Box = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class DrawnScene:
    """A grey picture, uint8 (H, W), its labels, and the boxes of numbers that may be read in two ways."""

    picture: npt.NDArray[np.uint8]
    labels: tuple[Label, ...]
    ignored: tuple[Box, ...]
