"""Select the members of an ensemble on validation digits; the test digits play no part in the choice.

Caruana, Niculescu-Mizil, Crew & Ksikes, "Ensemble selection from libraries of models", 2004. Differences: a
model is added once at most, because here all members have equal weights and each costs time; and the number
of members is chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset
from digitcli.errors import UsageError, counted
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.metrics import accuracy, nll
from digitcli.evaluation.splits import Split, report_overlap, take_split
from digitcli.events import OnEvent, ThingsDone
from digitcli.inference.ctc import log_softmax
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.predictor import DigitClassifier
from digitcli.inference.runtime import average_probabilities

Logs = Sequence[npt.NDArray[np.float32]]  # log-probabilities (N, 10) of each model


@dataclass(frozen=True)
class Addition:
    """A model that was added to an ensemble, measured on the validation digits.

    model: the id of the model.
    alone_accuracy, alone_nll: the accuracy and the negative log-likelihood in nats of the model by itself.
    accuracy, nll: the same of the ensemble with this model, calibrated on these digits.
    """

    model: str
    alone_accuracy: float
    alone_nll: float
    accuracy: float
    nll: float


@dataclass(frozen=True)
class Selection:
    """The members of an ensemble in the order in which they were chosen.

    n: the number of validation digits.
    digest: the digest of the dataset that they are a part of.
    left_out: the ids of the models that were not chosen.
    temperature: the divisor of the ensemble's logits, fitted on the validation digits.
    """

    n: int
    digest: str
    additions: tuple[Addition, ...]
    left_out: tuple[str, ...]
    temperature: float


def check_selection(count: int, models: int, split: Split | None) -> None:
    """Check that so many of the models can be chosen and then be evaluated on the split.

    Raises:
        UsageError: there are too few models, or the split holds the digits on which the choice is made.
    """
    if not 1 <= count <= models:
        cause = f"--select is {count}, but the command names {counted(models, 'model')}."
        raise UsageError(cause, f"Give a number from 1 to {models}, or name more models.")
    if split not in (None, "test"):
        cause = f"--select chooses on the validation digits, so the split '{split}' cannot judge the choice."
        raise UsageError(cause, "Leave --split out.")


def select_models(
    models: Sequence[ResolvedModel],
    dataset: Dataset,
    count: int,
    load: Callable[[ResolvedModel], DigitClassifier],
    on_event: OnEvent,
) -> tuple[tuple[ResolvedModel, ...], Selection]:
    """Choose `count` models, which `load` opens, on the validation digits, see `select_members`.

    Raises:
        InputError: the dataset has too few digits to hold some out for validation.
        The errors of `load`.
    """
    digits = take_split(dataset, "validation")
    labels, logs = digits.labels, list[npt.NDArray[np.float32]]()
    for number, model in enumerate(models, start=1):
        classifier = load(model)
        report_overlap(digits, dataset, classifier, on_event)
        logs.append(log_softmax(classifier.logits(digits.images)))
        on_event(ThingsDone(number * len(digits), len(models) * len(digits)))
    chosen, additions, temperature = [], [], 1.0
    for index, average, temperature in select_members(logs, labels, count):
        chosen.append(index)
        additions.append(
            Addition(
                model=models[index].id,
                alone_accuracy=accuracy(logs[index], labels),
                alone_nll=nll(logs[index], labels),
                accuracy=accuracy(average, labels),
                nll=nll(average, labels, temperature),
            )
        )
    left_out = tuple(model.id for index, model in enumerate(models) if index not in chosen)
    selection = Selection(len(digits), dataset.digest, tuple(additions), left_out, temperature)
    return tuple(models[index] for index in chosen), selection


def select_members(
    logs: Logs, labels: npt.NDArray[np.int64], count: int
) -> Iterator[tuple[int, npt.NDArray[np.float32], float]]:
    """Yield the indices of the models whose average answers best, with the average and its temperature.

    Each step adds the model with which the calibrated average of the probabilities has the lowest negative
    log-likelihood of the labels (N,). It changes with every probability, whereas the accuracy on some
    thousand digits is the same for many models. The first of equally good models is taken.
    """
    chosen: list[int] = []
    for _ in range(count):
        averages = {
            index: _calibrated_average([logs[member] for member in (*chosen, index)], labels)
            for index in range(len(logs))
            if index not in chosen
        }
        best = min(averages, key=lambda index: nll(averages[index][0], labels, averages[index][1]))
        chosen.append(best)
        yield best, *averages[best]


def _calibrated_average(logs: Logs, labels: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], float]:
    """Return the average of several models and its temperature; one model has its own already."""
    average = average_probabilities(logs)
    return average, fit_temperature(average, labels) if len(logs) > 1 else 1.0
