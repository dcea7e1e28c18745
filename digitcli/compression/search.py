"""Search the compression that reaches a goal for the accuracy, the size or both."""

from __future__ import annotations

import itertools

from digitcli.compression.compressor import Compressor
from digitcli.compression.results import Goals, TriedModel
from digitcli.compression.steps import Step, join_steps
from digitcli.errors import UsageError
from digitcli.events import ModelStarted, Notice

SHARES = tuple(round(0.05 * number, 2) for number in range(1, 20))  # of the channels that may be removed
LADDER = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # those that are tried one after the other
QUANTIZATIONS = (Step("int8"), Step("int4"))
Steps = tuple[Step, ...]
WITHOUT_PRUNING = (Step("int7"), Step("int6"), Step("int5"))  # take seconds, because nothing is trained
KINDS = (*QUANTIZATIONS, *WITHOUT_PRUNING)


def search(compressor: Compressor, goals: Goals) -> tuple[list[TriedModel], int | None]:
    """Return the original and all tried models, and the index of the best one that reaches the goals.

    Integers of 8 and of 4 bits are tried, after the removal of more and more channels, and those of 7, 6 and
    5 bits without that. With a goal for the accuracy the best model is the smallest one, else the most
    accurate one.
    """
    tried: dict[Steps, TriedModel] = {(): compressor.make(())}
    plans = [_plan(compressor, goals, last) for last in KINDS]
    for number, plan in enumerate(plans):
        try:
            _follow(compressor, goals, tried, plan, waiting={*itertools.chain(*plans[number:])})
        except UsageError as error:  # this network cannot be pruned or quantized so
            _report(compressor, KINDS[number], error)
    models, original = list(tried.values()), tried[()]
    reached = [index for index, model in enumerate(models) if goals.reached_by(model, original)]
    if goals.max_accuracy_loss is not None:
        return models, min(reached, key=lambda index: models[index].weights_bytes, default=None)
    return models, max(
        reached, key=lambda index: (models[index].accuracy, -models[index].weights_bytes), default=None
    )


def _follow(
    compressor: Compressor,
    goals: Goals,
    tried: dict[Steps, TriedModel],
    plan: list[Steps],
    waiting: set[Steps],
) -> None:
    """Add the models of a plan to those that were tried, until one of them loses too much accuracy.

    waiting: the steps of this plan and of the later ones, each of which may end before.
    """
    is_most = goals.max_accuracy_loss is not None
    for steps in plan:
        if steps not in tried:  # after the same pruning come both kinds of integers
            n = len(waiting | tried.keys()) - 1  # without the original
            compressor.on_event(ModelStarted(join_steps(steps), len(tried), n, is_most))
            tried[steps] = compressor.make(steps)
        if steps[-1] in KINDS and not goals.are_accurate_enough(tried[steps], tried[()]):
            break  # with fewer channels it would lose more


def _plan(compressor: Compressor, goals: Goals, last: Step) -> list[Steps]:
    """Return the steps of the models to try with one kind of integers, in their order."""
    try:
        if last in WITHOUT_PRUNING:
            return [(last,)] if goals.are_small_enough(compressor.bytes_of((last,))) else []
        shares = _shares(compressor, goals, last)
    except UsageError as error:
        if last in QUANTIZATIONS:  # the others fail in the same way
            _report(compressor, last, error)
        return []
    if goals.max_accuracy_loss is None:
        shares = shares[:1]  # with fewer channels it would only be smaller
    return [steps for share in shares for steps in (_pruning(share), (*_pruning(share), last)) if steps]


def _report(compressor: Compressor, last: Step, error: UsageError) -> None:
    compressor.on_event(Notice(f"With {last}: {error.cause} {error.remedy}"))


def _shares(compressor: Compressor, goals: Goals, last: Step) -> list[float]:
    """Return the shares of channels that are removed, from the least that is small enough on."""
    if goals.are_small_enough(compressor.bytes_of((last,))):
        return list(LADDER)
    compressor.on_event(Notice(f"{last}: looking for the share of channels to remove", routine=True))
    low, high = 0, len(SHARES)  # the first one that is small enough is found by bisection
    while low < high:
        middle = (low + high) // 2
        if goals.are_small_enough(compressor.bytes_of((*_pruning(SHARES[middle]), last))):
            high = middle
        else:
            low = middle + 1
    return [] if low == len(SHARES) else [SHARES[low], *(share for share in LADDER if share > SHARES[low])]


def _pruning(share: float) -> Steps:
    return (Step("prune", share),) if share else ()
