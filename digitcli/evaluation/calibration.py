"""Calibrate confidences, and describe how well they are calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.charts import Panel, Series, draw_chart
from digitcli.evaluation.metrics import equal_mass_bins, nll

COVERAGES = (1.0, 0.999, 0.995, 0.99, 0.98, 0.95, 0.9)  # the fractions of the answers that are reported
ERRORS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)  # the fractions of wrong answers in a risk table
MIN_TEMPERATURE = 0.05  # far below every temperature that was ever fitted
MAX_TEMPERATURE = 20.0  # far above every temperature that was ever fitted
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike, least: float = 1.0) -> float:
    """Return the divisor of logits (N, 10) that minimizes the NLL of held-out labels (N,).

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017. For `least` see
    `minimize_over_temperature`.
    """
    all_correct = bool((np.asarray(logits).argmax(axis=-1) == np.asarray(labels)).all())
    return minimize_over_temperature(lambda temperature: nll(logits, labels, temperature), all_correct, least)


def minimize_over_temperature(loss: Callable[[float], float], all_correct: bool, least: float = 1.0) -> float:
    """Return the temperature of the lowest loss, which has one minimum, by golden-section search.

    If all answers are correct, the loss falls with the temperature without end, since there are too few
    answers to measure the confidence. Then the result is at least `least`.
    """
    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    while high - low > 1e-4:
        left, right = high - GOLDEN_RATIO * (high - low), low + GOLDEN_RATIO * (high - low)
        if loss(math.exp(left)) < loss(math.exp(right)):
            high = right
        else:
            low = left
    best = math.exp((low + high) / 2)
    return max(least, best) if all_correct else best


@dataclass(frozen=True)
class ReliabilityBin:
    """The mean confidence and the accuracy of `n` answers of similar confidence."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class CoveragePoint:
    """The accuracy of the most confident answers.

    coverage: the fraction of all answers that these are.
    accuracy: the fraction of these that are correct.
    confidence: the lowest confidence among these.
    """

    coverage: float
    accuracy: float
    confidence: float


def reliability(confidence: npt.ArrayLike, is_correct: npt.ArrayLike) -> list[ReliabilityBin]:
    """Return the points of a reliability diagram: the bins of the ECE, from the lowest confidence up.

    Niculescu-Mizil & Caruana, "Predicting good probabilities with supervised learning", 2005.
    """
    return [
        ReliabilityBin(float(confidences.mean()), float(correct.mean()), len(confidences))
        for confidences, correct in equal_mass_bins(confidence, is_correct)
        if len(confidences)
    ]


def coverage(confidence: npt.ArrayLike, is_correct: npt.ArrayLike) -> list[CoveragePoint]:
    """Return the accuracy of the most confident answers for each of `COVERAGES`.

    Geifman & El-Yaniv, "Selective classification for deep neural networks", 2017.
    """
    confidence, is_correct = np.asarray(confidence), np.asarray(is_correct)
    order = np.argsort(-confidence, kind="stable")
    points = []
    for share in COVERAGES:
        kept = order[: math.ceil(share * len(order))]
        points.append(CoveragePoint(share, float(is_correct[kept].mean()), float(confidence[kept[-1]])))
    return points


def draw_calibration(
    model: str, reliability: Sequence[ReliabilityBin], coverage: Sequence[CoveragePoint]
) -> str:
    """Return a reliability diagram, and the error of the most confident answers, as SVG."""
    points = [(100 * row.confidence, 100 * row.accuracy) for row in reliability]
    lowest = min(min(point) for point in points)
    diagonal = [(lowest, lowest), (100.0, 100.0)]
    errors = [(100 * row.coverage, 100 * (1 - row.accuracy)) for row in coverage]
    return draw_chart(
        f"Calibration of {model}",
        [
            Panel(
                "accuracy in %",
                "confidence in %",
                [Series("measured", points), Series("perfect calibration", diagonal, dashed=True)],
                y_range=(math.floor(lowest), 100.0),
            ),
            Panel("error in %", "coverage in %", [Series("error", errors)]),
        ],
    )


def risk_table(confidences: Sequence[float], is_correct: Sequence[bool]) -> dict[str, float]:
    """Return for each of `ERRORS` the lowest threshold above which no larger fraction is wrong.

    An error that no threshold reaches is left out. So is an error for which there are so few answers that
    not even one of them may be wrong. This is the inverse of the risk-coverage curve of El-Yaniv & Wiener,
    "On the foundations of noise-free selective classification", 2010.
    """
    order = sorted(zip(confidences, is_correct, strict=True), reverse=True)
    table: dict[str, float] = {}
    wrong = 0
    for count, (confidence, correct) in enumerate(order, start=1):
        wrong += not correct
        is_tied = count < len(order) and order[count][0] == confidence
        for error in () if is_tied else ERRORS:
            if wrong <= error * count >= 1:
                table[str(error)] = confidence
    return {str(error): table[str(error)] for error in ERRORS if str(error) in table}


def threshold_for_error(max_error: float, risk: Mapping[str, float]) -> float:
    """Return the confidence that an answer needs for at most a fraction `max_error` of answers to be wrong.

    `risk` is a risk table. Without one, the confidence itself is taken as the probability of being correct.
    Below all errors of the table the threshold is 1.
    """
    if not risk:
        return 1 - max_error
    thresholds = {float(error): confidence for error, confidence in risk.items()}
    usable = [error for error in thresholds if error <= max_error]
    return thresholds[max(usable)] if usable else 1.0
