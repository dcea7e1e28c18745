"""Examine a saved comparison: runs far from the other seeds, and regularization that does harm.

Loads no torch.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from digitcli.comparison.saved_comparison import ComparedRun, SavedModel, read_comparison
from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.errors import counted, quoted
from digitcli.evaluation.statistics import SIGNIFICANCE, describe_p, holm, student_tail, welch

# A run is an outlier if chance makes such a distance less often than this.
OUTLIER = 0.01
# Runs of one model below which no run can be called an outlier.
LEAST_SEEDS = 4
# Settings that restrain a network; a larger value restrains it more.
REGULARIZATION = ("dropout", "weight_decay", "label_smoothing", "stochastic_depth", "mixup")


def examine_comparison(path: Path) -> Diagnosis:
    """Return the models of a saved comparison, and what is wrong with their runs.

    Raises:
        InputError: the file cannot be read, or is not a saved comparison.
    """
    models = read_comparison(path)
    facts = {
        model.label: f"{counted(len(model.runs), 'run')}, {percent(_mean(model.runs))}" for model in models
    }
    findings = [finding for model in models for finding in outlier_seeds(model)]
    findings += harmful_regularization(models)
    return Diagnosis(f"comparison {path}", facts, tuple(findings))


def outlier_seeds(model: SavedModel) -> Iterator[Finding]:
    """Yield runs whose number of errors is far from that of the other seeds.

    The distance from the mean of the others is divided by their standard deviation, or by that of chance (a
    binomial distribution) if it is larger: a deleted residual, which has Student's distribution. The
    probability is corrected for the number of runs. Belsley, Kuh & Welsch, "Regression diagnostics", 1980.
    """
    errors = [len(run.misread) for run in model.runs]
    if len(errors) < LEAST_SEEDS:
        return
    for index, (run, count) in enumerate(zip(model.runs, errors, strict=True)):
        others = errors[:index] + errors[index + 1 :]
        mean = statistics.fmean(others)
        chance = math.sqrt(max(mean, 1) * (1 - mean / model.images))
        deviation = max(statistics.stdev(others), chance) * math.sqrt(1 + 1 / len(others))
        p = min(1.0, len(errors) * student_tail((count - mean) / deviation, len(others) - 1))
        if p < OUTLIER:
            yield Finding(
                "outlier_seed",
                "warning",
                f"Seed {run.seed} of {model.label} misreads {count} of {model.images:,} digits, the other "
                f"seeds {mean:.0f} in the mean. The probability of such a distance by chance is {p:.1g}.",
                "Look for what went wrong in this run, and do not leave it out of the mean.",
                f"digitcli doctor {quoted(run.model)}",
            )


def harmful_regularization(models: Sequence[SavedModel]) -> Iterator[Finding]:
    """Yield a model that is worse than the same with less of one kind of regularization.

    Welch's test over the seeds has to give chance less than 5 %, corrected for all such pairs (Holm).
    """
    pairs = [
        (less, more, name)
        for less, more in itertools.permutations(models, 2)
        if (name := _only_difference(less, more)) and _setting(less, name) < _setting(more, name)
    ]
    accuracies = [[[run.accuracy for run in model.runs] for model in pair[:2]] for pair in pairs]
    for (less, more, name), (better, worse), p in zip(
        pairs, accuracies, holm([welch(*each) for each in accuracies]), strict=True
    ):
        if p < SIGNIFICANCE and statistics.fmean(better) > statistics.fmean(worse):
            architecture, option = less.definition.architecture, f"--{name.replace('_', '-')}"
            yield Finding(
                "unhelpful_regularization",
                "warning",
                f"With {name} {_setting(more, name):g}, {architecture} reads {percent(_mean(more.runs))} in "
                f"the mean of {len(worse)} seeds; with {_setting(less, name):g}, {percent(_mean(less.runs))} "
                f"of {len(better)}. Welch's test, corrected for all pairs, gives p = {describe_p(p)}.",
                f"Lower {option}; augmentation may do its work already.",
                f"digitcli train --arch {architecture} {option} {_setting(less, name):g}",
            )


def _only_difference(first: SavedModel, second: SavedModel) -> str | None:
    """Return the kind of regularization in which two models differ; None if they differ in anything else."""
    recipes = [{name: _setting(each, name) for name in first.definition.recipe} for each in (first, second)]
    changed = [name for name, value in recipes[0].items() if value != recipes[1][name]]
    others = [
        (replace(each.definition, arguments={}, recipe={}), each.digest, each.split)
        for each in (first, second)
    ]
    enough = min(len(first.runs), len(second.runs)) >= 2
    is_one = len(changed) == 1 and changed[0] in REGULARIZATION and others[0] == others[1]
    return changed[0] if enough and is_one else None


def _setting(model: SavedModel, name: str) -> Any:
    return model.definition.recipe.get(name) or 0.0


def _mean(runs: Sequence[ComparedRun]) -> float:
    return statistics.fmean(run.accuracy for run in runs)
