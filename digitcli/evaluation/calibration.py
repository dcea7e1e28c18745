"""Making a confidence mean what it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.evaluation.metrics import equal_mass_bins, nll

COVERAGES = (1.0, 0.999, 0.995, 0.99, 0.98, 0.95, 0.9)  # that are reported
ERRORS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # that a risk table lists
LOWEST, HIGHEST = 0.05, 20.0
GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature by which the logits (N, 10) are divided to minimise the NLL of held-out labels (N,).

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017.
    """
    all_right = bool((np.asarray(logits).argmax(axis=-1) == np.asarray(labels)).all())
    return best_temperature(lambda temperature: nll(logits, labels, temperature), all_right)


def best_temperature(loss: Callable[[float], float], all_right: bool) -> float:
    """The temperature of the lowest loss, from `LOWEST` to `HIGHEST`, by golden-section search.

    The loss has no more than one minimum. Where all answers are right, the lower the temperature the lower
    the loss, which says that there are too few of them: then it is 1 at least.
    """
    low, high = math.log(LOWEST), math.log(HIGHEST)
    while high - low > 1e-4:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if loss(math.exp(left)) < loss(math.exp(right)):
            high = right
        else:
            low = left
    best = math.exp((low + high) / 2)
    return max(1.0, best) if all_right else best


@dataclass(frozen=True)
class Bin:
    """Of `n` answers of like confidence the mean confidence, and the share that is right."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Covered:
    """The accuracy of a share of the answers, the surest; `confidence` is that of the least sure of them."""

    coverage: float
    accuracy: float
    confidence: float


def reliability(confidence: npt.ArrayLike, right: npt.ArrayLike) -> list[Bin]:
    """The bins of the ECE, from the least sure to the surest: a reliability diagram.

    Niculescu-Mizil & Caruana, "Predicting good probabilities with supervised learning", 2005.
    """
    return [
        Bin(float(sure.mean()), float(ours.mean()), len(sure))
        for sure, ours in equal_mass_bins(confidence, right)
        if len(sure)
    ]


def coverage(confidence: npt.ArrayLike, right: npt.ArrayLike) -> list[Covered]:
    """How right the surest answers are, for each of `COVERAGES`; of equal confidences the first are taken.

    Geifman & El-Yaniv, "Selective classification for deep neural networks", 2017.
    """
    confidence, right = np.asarray(confidence), np.asarray(right)
    order = np.argsort(-confidence, kind="stable")
    found = []
    for share in COVERAGES:
        surest = order[: math.ceil(share * len(order))]
        found.append(Covered(share, float(right[surest].mean()), float(confidence[surest[-1]])))
    return found


def risk_table(confidences: Sequence[float], right: Sequence[bool]) -> dict[str, float]:
    """For each of `ERRORS` the lowest confidence from which on no more of the answers are wrong.

    The risk-coverage curve of El-Yaniv & Wiener, "On the foundations of noise-free selective
    classification", 2010, read the other way round. An error that is never met is left out.
    """
    order = sorted(zip(confidences, right, strict=True), reverse=True)
    table: dict[str, float] = {}
    wrong = 0
    for count, (confidence, is_right) in enumerate(order, start=1):
        wrong += not is_right
        tied = count < len(order) and order[count][0] == confidence
        for error in () if tied else ERRORS:
            if wrong <= error * count:
                table[str(error)] = confidence
    return table


def least_confidence(max_error: float, risk: Mapping[str, float]) -> float:
    """How sure an answer must be for no more than a share of them to be wrong, by a risk table.

    Without a table the confidence is taken at its word; for an error below all that the table lists it is 1.
    """
    if not risk:
        return 1 - max_error
    listed = {float(error): confidence for error, confidence in risk.items()}
    usable = [error for error in listed if error <= max_error]
    return listed[max(usable)] if usable else 1.0
