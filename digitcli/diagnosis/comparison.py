"""Examine a saved comparison: runs far from the other seeds, and regularization that does harm."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from digitcli.comparison.saved import ComparedRun, SavedModel, read_comparison
from digitcli.comparison.statistics import difference_interval
from digitcli.diagnosis.findings import Diagnosis, Finding, percent

# A run is far from the other seeds if its modified z-score is above this: Iglewicz & Hoaglin, "How to detect
# and handle outliers", 1993.
OUTLIER = 3.5
# Runs of one model below which no run can be called an outlier.
LEAST_SEEDS = 3
# Settings that restrain a network; a larger value restrains it more.
REGULARIZATION = ("dropout", "weight_decay", "label_smoothing", "stochastic_depth", "mixup")


def examine_comparison(path: Path) -> Diagnosis:
    """Return the models of a saved comparison, and what is wrong with their runs.

    Raises:
        InputError: the file cannot be read, or is not a saved comparison.
    """
    models = read_comparison(path)
    facts = {model.label: f"{len(model.runs)} runs, {percent(_mean(model.runs))}" for model in models}
    findings = [finding for model in models for finding in outlier_seeds(model)]
    findings += harmful_regularization(models)
    return Diagnosis(f"comparison {path}", facts, tuple(findings))


def outlier_seeds(model: SavedModel) -> Iterator[Finding]:
    """Yield runs whose number of errors is far from that of the other seeds.

    The deviation from the median is divided by the median deviation, or by that of chance (a binomial
    distribution) where the seeds happen to agree better.
    """
    if len(model.runs) < LEAST_SEEDS:
        return
    errors = [len(run.misread) for run in model.runs]
    median = statistics.median(errors)
    spread = 1.4826 * statistics.median([abs(count - median) for count in errors])
    chance = (max(median, 1) * (1 - median / model.images)) ** 0.5
    for run, count in zip(model.runs, errors, strict=True):
        z = abs(count - median) / max(spread, chance)
        if z > OUTLIER:
            yield Finding(
                "outlier_seed",
                "warning",
                f"Seed {run.seed} of {model.label} misreads {count} of {model.images:,} digits, the median "
                f"seed {median:g}; the modified z-score is {z:.1f}.",
                "Look for what went wrong in this run, and do not leave it out of the mean.",
                f"digitcli doctor {run.model}",
            )


def harmful_regularization(models: Sequence[SavedModel]) -> Iterator[Finding]:
    """Yield a model that is worse than the same with less of one kind of regularization.

    Welch's 95 % interval of the difference over the seeds has to exclude 0.
    """
    for less, more in itertools.permutations(models, 2):
        changed = [name for name in less.definition.recipe if _setting(less, name) != _setting(more, name)]
        alike = (less.definition.architecture, less.digest, less.split)
        if len(changed) != 1 or changed[0] not in REGULARIZATION:
            continue
        if alike != (more.definition.architecture, more.digest, more.split):
            continue
        (name,) = changed
        if not _setting(less, name) < _setting(more, name) or min(len(less.runs), len(more.runs)) < 2:
            continue
        low, high = difference_interval(*([run.accuracy for run in model.runs] for model in (less, more)))
        if low > 0:
            architecture = less.definition.architecture
            option = f"--{name.replace('_', '-')}"
            yield Finding(
                "unhelpful_regularization",
                "warning",
                f"With {name} {_setting(more, name):g}, {architecture} reads {percent(_mean(more.runs))} in "
                f"the mean of {len(more.runs)} seeds; with {_setting(less, name):g}, "
                f"{percent(_mean(less.runs))} of {len(less.runs)}. The 95 % interval of the difference is "
                f"{100 * low:.2f} to {100 * high:.2f} points.",
                f"Lower {option}; augmentation may do its work already.",
                f"digitcli train --arch {architecture} {option} {_setting(less, name):g}",
            )


def _setting(model: SavedModel, name: str) -> Any:
    return model.definition.recipe.get(name) or 0.0


def _mean(runs: Sequence[ComparedRun]) -> float:
    return statistics.fmean(run.accuracy for run in runs)
