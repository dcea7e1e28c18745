"""Search the compression that reaches a goal for the accuracy, the size or both."""

from __future__ import annotations

from dataclasses import dataclass

from digitcli.compression.compressor import Compressor
from digitcli.compression.results import TriedModel
from digitcli.compression.steps import Step
from digitcli.errors import UsageError
from digitcli.events import Notice

SHARES = tuple(round(0.05 * number, 2) for number in range(1, 20))  # of the channels that may be removed
LADDER = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # those that are tried one after the other
QUANTIZATIONS = (Step("int8"), Step("int4"))
WITHOUT_PRUNING = (Step("int7"), Step("int6"), Step("int5"))  # take seconds, because nothing is trained


@dataclass(frozen=True)
class Goals:
    """What a compressed model must reach; None where there is no goal.

    max_accuracy_loss: the largest loss of validation accuracy, in percentage points.
    max_bytes: the largest number of bytes of the weights.
    """

    max_accuracy_loss: float | None = None
    max_bytes: int | None = None

    def __bool__(self) -> bool:
        return self.max_accuracy_loss is not None or self.max_bytes is not None

    def are_small_enough(self, weights_bytes: int) -> bool:
        """Return whether a number of bytes is accepted."""
        return self.max_bytes is None or weights_bytes <= self.max_bytes

    def are_accurate_enough(self, model: TriedModel, original: TriedModel) -> bool:
        """Return whether the accuracy of a model is accepted."""
        if self.max_accuracy_loss is None:
            return True
        loss = 100 * (original.accuracy - model.accuracy)
        return loss <= self.max_accuracy_loss + 1e-9  # a loss of 0.1 is not exact as a float

    def reached_by(self, model: TriedModel, original: TriedModel) -> bool:
        """Return whether a model reaches all goals."""
        return self.are_small_enough(model.weights_bytes) and self.are_accurate_enough(model, original)

    def __str__(self) -> str:
        parts = []
        if self.max_accuracy_loss is not None:
            parts.append(f"a loss of {self.max_accuracy_loss:g} points or less")
        if self.max_bytes is not None:
            parts.append(f"{self.max_bytes:,} bytes or less")
        return " and ".join(parts)


def search(compressor: Compressor, goals: Goals) -> tuple[list[TriedModel], int | None]:
    """Return the original and all tried models, and the index of the best one that reaches the goals.

    Integers of 8 and of 4 bits are tried, after the removal of more and more channels, and those of 7, 6 and
    5 bits without that. With a goal for the accuracy the best model is the smallest one, else the most
    accurate one.
    """
    original = compressor.make(())
    models = [original]
    for last in QUANTIZATIONS:
        models += _tried_with(compressor, goals, last, original)
    for last in WITHOUT_PRUNING:
        models += _tried_without_pruning(compressor, goals, last)
    tried = list({model.steps: model for model in models}.values())  # both kinds may follow the same pruning
    reached = [index for index, model in enumerate(tried) if goals.reached_by(model, original)]
    if goals.max_accuracy_loss is not None:
        return tried, min(reached, key=lambda index: tried[index].weights_bytes, default=None)
    return tried, max(
        reached, key=lambda index: (tried[index].accuracy, -tried[index].weights_bytes), default=None
    )


def _tried_with(compressor: Compressor, goals: Goals, last: Step, original: TriedModel) -> list[TriedModel]:
    """Return the models that were tried with one kind of integers."""
    models: list[TriedModel] = []
    try:
        for share in _shares(compressor, goals, last):
            if share:
                models.append(compressor.make(_pruning(share)))
            models.append(compressor.make((*_pruning(share), last)))
            if not goals.are_accurate_enough(models[-1], original):
                break  # with fewer channels it would lose more
            if goals.max_accuracy_loss is None:
                break  # with fewer channels it would only be smaller
    except UsageError as error:  # this network cannot be pruned or quantized so
        compressor.on_event(Notice(f"With {last.kind}: {error.cause} {error.remedy}"))
    return models


def _tried_without_pruning(compressor: Compressor, goals: Goals, last: Step) -> list[TriedModel]:
    """Return the model that has only been quantized, if it is small enough."""
    try:
        return [compressor.make((last,))] if goals.are_small_enough(compressor.bytes_of((last,))) else []
    except UsageError:  # reported with `QUANTIZATIONS`, which fail in the same way
        return []


def _shares(compressor: Compressor, goals: Goals, last: Step) -> list[float]:
    """Return the shares of channels that are removed, from the least that is small enough on."""
    if goals.are_small_enough(compressor.bytes_of((last,))):
        return list(LADDER)
    low, high = 0, len(SHARES)  # the first one that is small enough is found by bisection
    while low < high:
        middle = (low + high) // 2
        if goals.are_small_enough(compressor.bytes_of((*_pruning(SHARES[middle]), last))):
            high = middle
        else:
            low = middle + 1
    return [] if low == len(SHARES) else [SHARES[low], *(share for share in LADDER if share > SHARES[low])]


def _pruning(share: float) -> tuple[Step, ...]:
    return (Step("prune", share),) if share else ()
