"""Architectures, their variants and finished models side by side, and what of the differences is chance."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.architectures.summary import summarize
from digitcli.benchmarking.measurement import quick_latency_ms
from digitcli.comparison.runs import (
    Conditions,
    built_of,
    check_folder,
    check_saved,
    judged_run,
    network_of,
)
from digitcli.comparison.saved import Built, ComparedRun, JudgedBy
from digitcli.comparison.specification import OUT, SEEDS, Contender, contenders, turns
from digitcli.comparison.statistics import difference_interval, holm, mcnemar, mean_interval
from digitcli.config import TrainConfig
from digitcli.data.dataset import describe_failures
from digitcli.data.loading import load_dataset
from digitcli.errors import DigitcliError, DivergedError, Interrupted, UsageError
from digitcli.evaluation.metrics import wilson_interval
from digitcli.inference.devices import choose_device
from digitcli.training.events import Notice, OnEvent
from digitcli.training.setup import StopSignal

CHANCE = 0.05
GO_ON = "The same command goes on."


@dataclass(frozen=True)
class ComparedModel:
    """The runs of a contender: accuracies from 0 to 1, their mean with its 95 % interval.

    `latency_ms` is the median time that PyTorch takes for one image where it is compared.

    With several runs it is the interval of the mean over seeds, on these images; with one that over images.
    """

    label: str
    parameters: int
    macs: int
    accuracy: float
    deviation: float | None
    low: float
    high: float
    train_seconds: float | None
    latency_ms: float
    runs: tuple[ComparedRun, ...]
    built: Built


@dataclass(frozen=True)
class Difference:
    """How much better the best is than another; `p` is McNemar's for a typical run of each, by Holm's
    correction for all pairs of models.

    `low` and `high` are the 95 % interval over seeds, where both have several that differ.
    """

    other: str
    difference: float
    low: float | None
    high: float | None
    p: float

    @property
    def is_chance(self) -> bool:
        """Whether it may be chance: over images, or over seeds where that is known."""
        return self.p >= CHANCE or (self.low is not None and self.low <= 0)


@dataclass(frozen=True)
class Comparison:
    """All that was compared, on the same images of a part. `winner` is None where that may be chance.

    `missed` are the images, by their place in that part, that no run of any model reads rightly;
    `diverged` are the labels of those left out because a run of theirs diverged;
    `unreadable` counts the files of the dataset that could not be used, whose digest is `digest`.
    """

    data: str
    digest: str
    split: JudgedBy
    images: int
    models: tuple[ComparedModel, ...]
    best: str
    winner: str | None
    differences: tuple[Difference, ...]
    missed: tuple[int, ...]
    diverged: tuple[str, ...]
    unreadable: int
    labels: npt.NDArray[np.int64] = field(repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        """All but the labels and what each run misreads, as JSON holds it."""
        record = dataclasses.asdict(self)
        del record["labels"]
        for run in (run for model in record["models"] for run in model["runs"]):
            del run["misread"]
        return record

    def rows(self) -> list[dict[str, Any]]:
        """A row a model, as CSV holds it."""
        behind = {each.other: each for each in self.differences}
        rows = []
        for model in self.models:
            each = behind.get(model.label)
            row = {name: value for name, value in vars(model).items() if name not in ("runs", "built")}
            names = {"behind": "difference", "behind_low": "low", "behind_high": "high", "p": "p"}
            row |= {"runs": len(model.runs), "split": self.split}
            row |= {column: each and getattr(each, name) for column, name in names.items()}
            rows.append(row)
        return rows


@dataclass(frozen=True)
class RunJudged:
    """A run was trained, or was there already, and judged."""

    label: str
    run: ComparedRun
    kept: bool
    done: int
    total: int


OnCompared = Callable[[RunJudged], None]


def compare(
    specs: Sequence[str],
    *,
    seeds: int = SEEDS,
    data: str = TrainConfig.data,
    split: JudgedBy = "test",
    device: str = TrainConfig.device,
    out: Path = OUT,
    on_compared: OnCompared = lambda event: None,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> Comparison:
    """Train every contender once a seed, judge all on the same images, and compare.

    To choose among variants, judge by the validation digits, and leave the test digits for the last word.
    Runs lie in `out`: one that is finished there is kept, one that was stopped goes on, one that a saved
    comparison holds is not made. All contenders have their first run before any has its second. One of which
    a run diverges is left out.

    Raises:
        UsageError: see `contenders`; fewer than one seed; what cannot be trained as was chosen; a run in
            `out`, or a saved one, by another recipe or on other data.
        DivergedError: all did.
        Interrupted: `stop_signal` gave a number; the same call goes on.
        The errors of `train`, of `load_classifier` and of `read_comparison`.
    """
    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}.", "Take at least 1.")
    entered = contenders(specs, data, device)
    built = {one.label: built_of(one) for one in entered}
    conditions = Conditions(load_dataset(data), split, device, out)
    if conditions.dataset.failures:
        on_event(Notice(f"Left out of '{data}': {describe_failures(conditions.dataset.failures)}"))
    to_do = turns(entered, seeds)
    for one in entered:
        check_saved(one, built[one.label], conditions)
    for one, seed in to_do:
        check_folder(one, seed, built[one.label], conditions)
    runs = {one.label: one.kept(seeds) for one in entered}
    diverged: dict[str, DivergedError] = {}
    for done, (one, seed) in enumerate(to_do, start=1):
        if one.label in diverged:
            continue
        try:
            with _told_of(one, seed):
                run, kept = judged_run(one, seed, conditions, on_event, stop_signal)
        except DivergedError as error:
            on_event(Notice(f"{error.cause} {one.label} is left out."))
            diverged[one.label] = error
            continue
        runs[one.label].append(run)
        on_compared(RunJudged(one.label, run, kept, done, len(to_do)))
        if number := stop_signal():
            raise Interrupted(number, "Stopped between two runs.", GO_ON)
    if len(diverged) == len(entered):
        raise next(iter(diverged.values()))
    finished = [one.label for one in entered if one.label not in diverged]
    models = [_compared(label, built[label], tuple(runs[label]), conditions) for label in finished]
    return _comparison(conditions, data, models, tuple(diverged))


@contextlib.contextmanager
def _told_of(one: Contender, seed: int | None) -> Iterator[None]:
    """Errors within it say in which run they came, and what to do about it here."""
    name = one.label if seed is None else f"{one.label}, seed {seed}"
    try:
        yield
    except Interrupted as error:
        error.cause, error.remedy = f"{name}: {error.cause}", GO_ON
        raise
    except DigitcliError as error:
        error.cause = f"{name}: {error.cause}"
        raise


def _comparison(
    conditions: Conditions, data: str, models: Sequence[ComparedModel], diverged: tuple[str, ...]
) -> Comparison:
    right = {model.label: [_right(run, len(conditions.judging)) for run in model.runs] for model in models}
    best = max(models, key=lambda model: model.accuracy)
    differences = _differences(best, models, right)
    winner = None if any(each.is_chance for each in differences) or len(models) == 1 else best.label
    missed = ~np.any([answers for each in right.values() for answers in each], axis=0)
    return Comparison(
        data=data,
        digest=conditions.dataset.digest,
        split=conditions.split,
        images=len(conditions.judging),
        models=tuple(models),
        best=best.label,
        winner=winner,
        differences=differences,
        missed=tuple(np.flatnonzero(missed).tolist()),
        diverged=diverged,
        unreadable=len(conditions.dataset.failures),
        labels=conditions.judging.labels,
    )


def _right(run: ComparedRun, images: int) -> npt.NDArray[np.bool_]:
    right = np.ones(images, np.bool_)
    right[list(run.misread)] = False
    return right


def _compared(
    label: str, built: Built, runs: tuple[ComparedRun, ...], conditions: Conditions
) -> ComparedModel:
    network, images = network_of(built), len(conditions.judging)
    summary = summarize(network)
    accuracies = [run.accuracy for run in runs]
    several = len(runs) > 1
    low, high = (
        mean_interval(accuracies) if several else wilson_interval(round(accuracies[0] * images), images)
    )
    times = [run.train_seconds for run in runs if run.train_seconds is not None]
    return ComparedModel(
        label=label,
        parameters=summary.parameters,
        macs=summary.macs,
        accuracy=statistics.fmean(accuracies),
        deviation=statistics.stdev(accuracies) if several else None,
        low=max(0.0, low),
        high=min(1.0, high),
        train_seconds=statistics.median(times) if times else None,
        latency_ms=quick_latency_ms(network, choose_device(conditions.device)),
        runs=runs,
        built=built,
    )


def _differences(
    best: ComparedModel, models: Sequence[ComparedModel], right: Mapping[str, Sequence[npt.NDArray[np.bool_]]]
) -> tuple[Difference, ...]:
    """Of the best and each other. All pairs are tested: which one is the best is known only afterwards."""
    pairs = list(itertools.combinations([model.label for model in models], 2))
    adjusted = holm([_typical_p(right[one], right[other]) for one, other in pairs])
    p_values = {frozenset(pair): p for pair, p in zip(pairs, adjusted, strict=True)}
    found = []
    for other in (model for model in models if model is not best):
        low, high = _interval_of_difference(best, other)
        p = p_values[frozenset((best.label, other.label))]
        found.append(Difference(other.label, best.accuracy - other.accuracy, low, high, p))
    return tuple(found)


def _interval_of_difference(best: ComparedModel, other: ComparedModel) -> tuple[float | None, float | None]:
    """Over seeds; None where one has a single run, or no runs of either differ."""
    if min(len(best.runs), len(other.runs)) < 2 or not (best.deviation or other.deviation):
        return None, None
    return difference_interval([run.accuracy for run in best.runs], [run.accuracy for run in other.runs])


def _typical_p(first: Sequence[npt.NDArray[np.bool_]], second: Sequence[npt.NDArray[np.bool_]]) -> float:
    """McNemar's probability for a run of each: of all pairs of runs the median."""
    return statistics.median(
        mcnemar(int((one & ~other).sum()), int((other & ~one).sum())) for one in first for other in second
    )
