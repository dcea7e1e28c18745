"""Making a confidence mean what it says."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from digitcli.evaluation.metrics import nll

LOWEST, HIGHEST = 0.05, 20.0
GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature by which the logits (N, 10) are divided to minimise the NLL of held-out labels (N,).

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017.
    """
    return best_temperature(lambda temperature: nll(logits, labels, temperature))


def best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature of the lowest loss, which has one minimum: golden-section search over its logarithm."""
    low, high = math.log(LOWEST), math.log(HIGHEST)
    while high - low > 1e-4:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if loss(math.exp(left)) < loss(math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
