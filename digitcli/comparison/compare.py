"""Compare architectures, variants of their recipes and models, and tell real differences from chance."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.architectures.summary import summarize
from digitcli.benchmarking.benchmark import quick_latency_ms
from digitcli.charts import Panel, Series, draw_chart
from digitcli.comparison.runs import Conditions, build_network, define_model, evaluate_run
from digitcli.comparison.specification import (
    OUT,
    SEEDS,
    ComparedRun,
    EvaluationSplit,
    ModelDefinition,
    SavedModel,
    Specification,
    plan_runs,
)
from digitcli.data.dataset import describe_failures
from digitcli.data.loading import load_dataset
from digitcli.errors import DigitcliError, DivergedError, Interrupted, UsageError
from digitcli.evaluation.metrics import wilson_interval
from digitcli.evaluation.statistics import SIGNIFICANCE, difference_interval, holm, mcnemar, mean_interval
from digitcli.events import Event as TrainingEvent
from digitcli.events import Notice
from digitcli.inference.devices import choose_device
from digitcli.training.configuration import TrainConfig
from digitcli.training.setup import StopSignal

LONGEST_LABELS = 3  # models are named in a conclusion
CONTINUE = "Run the same command again to continue."


@dataclass(frozen=True)
class ComparedModel:
    """One model, its runs, and its distance from the best model.

    accuracy: the mean over the runs, from 0 to 1.
    deviation: the standard deviation over the runs; None for a single run.
    low, high: the 95 % interval: of the mean over seeds (Student), or over images (Wilson) for a single run
        and for runs of the same accuracy, which do not show how much seeds change it.
    train_seconds: the median over the runs; None for a model that was not trained here.
    latency_ms: the median time that PyTorch takes for one image on this machine.
    behind: the accuracy of the best minus that of this model; None, like the next three, for the best itself.
    behind_low, behind_high: its 95 % interval over seeds (Welch); None unless both have runs that differ.
    p: McNemar's probability for a typical run of each model, corrected for all pairs of models (Holm).
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
    definition: ModelDefinition
    behind: float | None = None
    behind_low: float | None = None
    behind_high: float | None = None
    p: float | None = None

    @property
    def may_equal_best(self) -> bool:
        """Whether the difference from the best is not significant, over images or over known seeds."""
        return self.p is not None and (self.p >= SIGNIFICANCE or self.interval_includes_0)

    @property
    def interval_includes_0(self) -> bool:
        """Whether its distance from the best has a known interval over seeds, which includes 0."""
        return self.behind_low is not None and self.behind_low <= 0


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison; all models are evaluated on the same images.

    data, digest: the name of the dataset and the digest of its content.
    split, images: the part of it on which the models are evaluated, and the number of images in it.
    best: the label of the model with the highest accuracy.
    winner: the same label if all differences from it are significant, else None.
    missed: the indices of the images that every run of every model misreads.
    diverged: the labels of models that are left out because a run of theirs diverged.
    """

    data: str
    digest: str
    split: EvaluationSplit
    images: int
    models: tuple[ComparedModel, ...]
    best: str
    winner: str | None
    missed: tuple[int, ...]
    diverged: tuple[str, ...]
    unreadable: int
    labels: npt.NDArray[np.int64] = field(repr=False, compare=False)

    def conclusion(self) -> str:
        """Return a sentence that says which of several models is better, or why none is."""
        if self.winner is None:
            by_accuracy = sorted(self.models, key=lambda model: -model.accuracy)
            rivals = [model for model in by_accuracy if model.may_equal_best]
            names = listed([model.label for model in rivals], LONGEST_LABELS)
            causes, remedy = [], ""
            if any(model.p is not None and model.p >= SIGNIFICANCE for model in rivals):
                causes.append(f"p is not below {SIGNIFICANCE}")
            if any(model.interval_includes_0 for model in rivals):
                causes.append("the interval of the difference over seeds includes 0")
                remedy = f" Run more seeds: --seeds {2 * max(len(model.runs) for model in self.models)}."
            cause = (" and " if len(rivals) == 1 else ", or ").join(causes)
            return (
                f"No winner: the difference between {self.best} and {names} may be chance: {cause}.{remedy}"
            )
        over_seeds = all(model.behind_low is not None for model in self.models if model.behind is not None)
        caveat = "" if over_seeds else " on these images; other seeds may give another result"
        return f"{self.winner} is better than the others by more than chance{caveat}."

    def record(self) -> dict[str, Any]:
        """Return the comparison for JSON, without the labels and the images that each run misreads."""
        record = dataclasses.asdict(self)
        del record["labels"]
        for run in (run for model in record["models"] for run in model["runs"]):
            del run["misread"]
        return record

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model, for CSV."""
        models = self.record()["models"]
        rows = [model | {"runs": len(model["runs"]), "split": self.split} for model in models]
        return [{name: row[name] for name in row if name != "definition"} for row in rows]

    def to_saved(self) -> list[SavedModel]:
        """Return the models as `save_comparison` writes them."""
        evaluated_on = (self.data, self.digest, self.split, self.images)
        return [SavedModel(model.label, model.definition, *evaluated_on, model.runs) for model in self.models]


@dataclass(frozen=True)
class RunEvaluated:
    """A run was evaluated: number `done` of `total`. If `reused`, it was trained by an earlier comparison."""

    label: str
    run: ComparedRun
    reused: bool
    done: int
    total: int


OnEvent = Callable[[TrainingEvent | RunEvaluated], None]


def listed(names: Sequence[str], longest: int) -> str:
    """Return the first names of a list, and how many more there are."""
    rest = len(names) - longest
    return ", ".join(names[:longest]) + (f" and {rest} more" if rest > 0 else "")


def compare(
    specifications: Sequence[Specification],
    *,
    seeds: int = SEEDS,
    data: str = TrainConfig.data,
    split: EvaluationSplit = "test",
    device: str = TrainConfig.device,
    out: Path = OUT,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> Comparison:
    """Train every architecture once for each seed, evaluate all models on the same images, and compare them.

    `specifications` are what `parse_specifications` returns for the same dataset and device. To choose among
    variants, evaluate on the validation digits and keep the test digits for the last comparison. A finished
    run in `out` is reused, and an interrupted one is resumed. A model is left out when one of its runs
    diverges.

    Raises:
        UsageError: `seeds` is below 1; an architecture cannot be trained with its settings; a run in `out`
            has another recipe or other digits, or saved runs have other digits.
        DivergedError: every model diverged.
        Interrupted: `stop_signal` returned a signal; the same call continues.
        The errors of `load_dataset`, `define_model`, `train` and `load_classifier`.
    """
    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}.", "Give at least 1.")
    conditions = Conditions(load_dataset(data), split, device, out, on_event, stop_signal)
    dataset, digits = conditions.dataset, conditions.digits
    if dataset.failures:
        on_event(Notice(f"Left out of '{data}': {describe_failures(dataset.failures)}"))
    definitions = {each.label: define_model(each, seeds, conditions) for each in specifications}
    runs = {each.label: list(each.saved.runs) if each.saved else [] for each in specifications}
    diverged = _evaluate_all(plan_runs(specifications, seeds), conditions, runs)
    if len(diverged) == len(specifications):
        raise next(iter(diverged.values()))
    models = [
        _summarize_model(label, definitions[label], tuple(runs[label]), len(digits), device)
        for label in runs
        if label not in diverged
    ]
    best = max(models, key=lambda model: model.accuracy)
    models = _add_differences(models, best)
    has_winner = len(models) > 1 and not any(model.may_equal_best for model in models)
    return Comparison(
        data=data,
        digest=dataset.digest,
        split=split,
        images=len(digits),
        models=tuple(models),
        best=best.label,
        winner=best.label if has_winner else None,
        missed=tuple(sorted(set.intersection(*(set(run.misread) for each in models for run in each.runs)))),
        diverged=tuple(diverged),
        unreadable=len(dataset.failures),
        labels=digits.labels,
    )


def _evaluate_all(
    planned: Sequence[tuple[Specification, int | None]],
    conditions: Conditions,
    runs: Mapping[str, list[ComparedRun]],
) -> dict[str, DivergedError]:
    """Train and evaluate the planned runs, add them to `runs`, and return the errors of diverged models."""
    diverged: dict[str, DivergedError] = {}
    for done, (each, seed) in enumerate(planned, start=1):
        if each.label in diverged:
            continue
        try:
            run, reused = evaluate_run(each, seed, conditions)
        except (DigitcliError, Interrupted) as error:
            name = each.label if seed is None else f"{each.label}, seed {seed}"
            error.cause = f"{name}: {error.cause}"
            if isinstance(error, Interrupted):
                error.remedy = CONTINUE
            if not isinstance(error, DivergedError):
                raise
            conditions.on_event(Notice(f"{error.cause} {each.label} is left out."))
            diverged[each.label] = error
            continue
        runs[each.label].append(run)
        conditions.on_event(RunEvaluated(each.label, run, reused, done, len(planned)))
        if number := conditions.stop_signal():
            raise Interrupted(number, "Stopped between two runs.", CONTINUE)
    return diverged


def _summarize_model(
    label: str, definition: ModelDefinition, runs: tuple[ComparedRun, ...], images: int, device: str
) -> ComparedModel:
    """Return the figures of a model; its latency is measured."""
    network = build_network(definition)
    summary = summarize(network)
    accuracies = [run.accuracy for run in runs]
    deviation = statistics.stdev(accuracies) if len(runs) > 1 else None
    if deviation:
        low, high = mean_interval(accuracies)
    else:
        low, high = wilson_interval(round(accuracies[0] * images), images)
    times = [run.train_seconds for run in runs if run.train_seconds is not None]
    return ComparedModel(
        label=label,
        parameters=summary.parameters,
        macs=summary.macs,
        accuracy=statistics.fmean(accuracies),
        deviation=deviation,
        low=max(0.0, low),
        high=min(1.0, high),
        train_seconds=statistics.median(times) if times else None,
        latency_ms=quick_latency_ms(network, choose_device(device)),
        runs=runs,
        definition=definition,
    )


def _add_differences(models: Sequence[ComparedModel], best: ComparedModel) -> list[ComparedModel]:
    """Compare each model with the best.

    The correction counts the tests of all pairs of models, since the same images decide which model is best.
    """
    pairs = list(itertools.combinations(models, 2))
    corrected = holm([_typical_p(*pair) for pair in pairs])
    p_values = {frozenset((one.label, two.label)): p for (one, two), p in zip(pairs, corrected, strict=True)}
    compared = []
    for model in models:
        if model is not best:
            low, high = _interval_over_seeds(best, model)
            p = p_values[frozenset((best.label, model.label))]
            behind = best.accuracy - model.accuracy
            model = replace(model, behind=behind, behind_low=low, behind_high=high, p=p)
        compared.append(model)
    return compared


def _interval_over_seeds(best: ComparedModel, model: ComparedModel) -> tuple[float | None, float | None]:
    """Return Welch's interval; None where a model has a single run, or no two runs of either differ."""
    if min(len(best.runs), len(model.runs)) < 2 or not (best.deviation or model.deviation):
        return None, None
    return difference_interval([run.accuracy for run in best.runs], [run.accuracy for run in model.runs])


def _typical_p(first: ComparedModel, second: ComparedModel) -> float:
    """Return McNemar's probability for a run of each model: the median over all pairs of runs."""
    by_first, by_second = ([set(run.misread) for run in model.runs] for model in (first, second))
    return statistics.median(
        mcnemar(only_first=len(theirs - ours), only_second=len(ours - theirs))
        for ours, theirs in itertools.product(by_first, by_second)
    )


def draw_comparison_chart(result: Comparison) -> str:
    """Return the error against the parameters and against the milliseconds per image, as SVG.

    The models are numbered from the smallest error on. A logarithmic axis has no zero, so a model without
    errors is drawn as if it had misread half an image.
    """
    models = sorted(result.models, key=lambda model: -model.accuracy)
    errors = [100 * max(1 - model.accuracy, 0.5 / result.images) for model in models]
    costs = {
        "parameters": [float(model.parameters) for model in models],
        "milliseconds per image": [model.latency_ms for model in models],
    }
    panels = [
        Panel(
            f"{result.split} error in %",
            title,
            [Series("models", list(zip(values, errors, strict=True)), numbered=True)],
            logarithmic=True,
        )
        for title, values in costs.items()
    ]
    title = f"{result.split} error of {len(models)} models on {result.data}"
    return draw_chart(title, panels, [model.label for model in models], panel_px=(460, 420))
