"""The test digits of MNIST whose label people reject."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits

# Of each of these, fewer than three of five people agreed with the label: Northcutt, Athalye & Mueller,
# "Pervasive label errors in test sets destabilize machine learning benchmarks", 2021.
DOUBTED = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)


def undoubted(test: Digits) -> npt.NDArray[np.bool_]:
    """Of MNIST's 10,000 test digits those whose label people accept."""
    accepted = np.ones(len(test), np.bool_)
    accepted[list(DOUBTED)] = False
    return accepted
