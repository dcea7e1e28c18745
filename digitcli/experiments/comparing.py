"""Architectures, their variants and finished models side by side, and what of the differences is chance."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from digitcli.architectures.summary import summarise
from digitcli.checkpoint import RESUME_FILE, read_header
from digitcli.config import Recipe, TrainConfig
from digitcli.data.digits import Dataset, Digits, describe_failures, split
from digitcli.data.sources import load_dataset
from digitcli.devices import choose_device
from digitcli.errors import Interrupted, UsageError
from digitcli.evaluation.metrics import wilson_interval
from digitcli.evaluation.overlap import told_overlap
from digitcli.evaluation.significance import difference_interval, holm, mcnemar, mean_interval
from digitcli.experiments.contenders import OUT, SEEDS, Contender, contenders
from digitcli.experiments.measuring import quick_latency_ms
from digitcli.inference import load_classifier
from digitcli.networks import open_model
from digitcli.registry import create_model, recipe_of
from digitcli.synthesis.fonts import digest_of_fonts
from digitcli.training import loop
from digitcli.training.events import Notice, OnEvent, TrainResult
from digitcli.training.session import StopSignal, built_with

CHANCE = 0.05
LONGEST_NAME = 150  # of a folder, from where on a digest stands for the rest of it


@dataclass(frozen=True)
class ComparedRun:
    """A model that was judged; `train_seconds` where it was trained here."""

    model: str
    accuracy: float
    seed: int | None = None
    train_seconds: float | None = None


@dataclass(frozen=True)
class ComparedModel:
    """The runs of a contender: accuracies from 0 to 1, their mean with its 95 % interval.

    `latency_ms` is the median time that PyTorch takes for one image where it was compared.

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


@dataclass(frozen=True)
class Difference:
    """How much better the best is than another; `p` is McNemar's, of a run of each, for all pairs together.

    `low` and `high` are the 95 % interval over seeds, where both have several.
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
    """All that was compared, on the same test images. `winner` is None where that may be chance.

    `missed` are the images, by their place in the test part, that no run of any model reads rightly;
    `unreadable` counts the files of the dataset that could not be used.
    """

    data: str
    images: int
    models: tuple[ComparedModel, ...]
    best: str
    winner: str | None
    differences: tuple[Difference, ...]
    missed: tuple[int, ...]
    unreadable: int
    labels: npt.NDArray[np.int64] = field(repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        """All but the labels, as JSON holds it."""
        names = [entry.name for entry in dataclasses.fields(self) if entry.name != "labels"]
        return {name: getattr(self, name) for name in names}

    def rows(self) -> list[dict[str, Any]]:
        """A row a model, as CSV holds it."""
        behind = {each.other: each for each in self.differences}
        rows = []
        for model in self.models:
            each = behind.get(model.label)
            row = {name: value for name, value in vars(model).items() if name != "runs"}
            row |= {"runs": len(model.runs), "behind": each and each.difference, "p": each and each.p}
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
    device: str = TrainConfig.device,
    out: Path = OUT,
    on_compared: OnCompared = lambda event: None,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> Comparison:
    """Train every contender once a seed, judge all on the same test images, and compare.

    Runs lie in `out`: one that is finished there is kept, one that was stopped goes on. All contenders have
    their first seed before any has its second.

    Raises:
        UsageError: see `contenders`; fewer than one seed; a run in `out` by another recipe or on other data.
        Interrupted: `stop_signal` gave a number; the same call goes on.
        The errors of `train` and of `load_classifier`.
    """
    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}.", "Take at least 1.")
    entered = contenders(specs, data, device)
    _check_networks(entered)
    dataset = load_dataset(data)
    if dataset.failures:
        on_event(Notice(f"Left out of '{data}': {describe_failures(dataset.failures)}"))
    test = split(dataset).test
    rounds = [[one for one in entered if seed == 0 or one.config] for seed in range(seeds)]
    runs: dict[str, list[ComparedRun]] = {one.label: [] for one in entered}
    right: dict[str, list[npt.NDArray[np.bool_]]] = {one.label: [] for one in entered}
    done, total = 0, sum(map(len, rounds))
    for seed, members in enumerate(rounds):
        for one in members:
            run, answers, kept = _run(one, seed, dataset, test, device, out, on_event, stop_signal)
            runs[one.label].append(run)
            right[one.label].append(answers)
            done += 1
            on_compared(RunJudged(one.label, run, kept, done, total))
            if number := stop_signal():
                raise Interrupted(number, "Stopped between two runs.", "The same command goes on.")
    models = tuple(_compared(one.label, tuple(runs[one.label]), len(test), device) for one in entered)
    best = max(models, key=lambda model: model.accuracy)
    differences = _differences(best, models, right)
    winner = None if any(each.is_chance for each in differences) or len(models) == 1 else best.label
    missed = ~np.any([answers for each in right.values() for answers in each], axis=0)
    return Comparison(
        data,
        len(test),
        models,
        best.label,
        winner,
        differences,
        tuple(np.flatnonzero(missed).tolist()),
        len(dataset.failures),
        test.labels,
    )


def _run(
    one: Contender,
    seed: int,
    dataset: Dataset,
    test: Digits,
    device: str,
    out: Path,
    on_event: OnEvent,
    stop_signal: StopSignal,
) -> tuple[ComparedRun, npt.NDArray[np.bool_], bool]:
    """A run, which of the test images it reads rightly, and whether it was there before."""
    result, kept = None, False
    if one.config is not None:
        folder = out / f"{_folder_name(one.label)}-{seed}"
        result, kept = _trained(one.config, seed, dataset.digest, folder, on_event, stop_signal)
    name = str(one.model if result is None else result.run)
    if result is not None and result.misread is not None:
        right = np.ones(len(test), np.bool_)
        right[list(result.misread)] = False
    else:
        classifier = load_classifier(name, device=device)
        if one.model is not None:
            told_overlap(test, dataset, [name], classifier, on_event)
        right = classifier.logits(test.images).argmax(axis=-1) == test.labels
    seconds = None if result is None else result.train_seconds
    run = ComparedRun(name, float(right.mean()), None if result is None else seed, seconds)
    return run, right, kept


def _folder_name(label: str) -> str:
    """A label as a file system takes it."""
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", label)
    if len(name) <= LONGEST_NAME:
        return name
    return name[:LONGEST_NAME] + hashlib.sha256(label.encode()).hexdigest()[:12]


def _check_networks(entered: Sequence[Contender]) -> None:
    """Build each once: what cannot be built is to be known before anything has been trained."""
    with torch.random.fork_rng(devices=[]):
        for config in (one.config for one in entered if one.config is not None):
            create_model(config.arch, **built_with(recipe_of(config.arch, **config.recipe)))


def _trained(
    config: TrainConfig, seed: int, digest: str, folder: Path, on_event: OnEvent, stop_signal: StopSignal
) -> tuple[TrainResult, bool]:
    """The result of a run in a folder, and whether nothing was left to do."""
    fields = {
        name: getattr(config, name)
        for name in ("arch", "data", "device", "time_seconds", "fonts", "pretrained", "cuda_graphs")
    }
    chosen = {**fields, "seed": seed, "recipe": dict(config.recipe)}
    if not (folder / RESUME_FILE).exists():
        made = loop.train(
            TrainConfig(**chosen),
            out=folder,
            on_event=on_event,
            stop_signal=stop_signal,
        )
        return made, False
    saved = read_header(folder / RESUME_FILE)
    wanted, begun = recipe_of(config.arch, **config.recipe), Recipe(**saved.recipe)
    if wanted.dtype == "auto":
        wanted = recipe_of(config.arch, **{**config.recipe, "dtype": begun.dtype})
    if saved.architecture != config.arch or wanted != begun:
        raise UsageError(f"The run in {folder} has another recipe.", "Remove it, or take another --out.")
    fonts = None if config.fonts is None else digest_of_fonts(Path(config.fonts))
    if (saved.dataset.get("digest"), saved.dataset.get("fonts")) != (digest, fonts):
        raise UsageError(
            f"The run in {folder} was trained on other digits or fonts.", "Remove it, or take another --out."
        )
    finished = bool(saved.training.get("result"))
    chosen.pop("recipe")
    return loop.resume(folder, chosen, on_event=on_event, stop_signal=stop_signal), finished


def _compared(label: str, runs: tuple[ComparedRun, ...], images: int, device: str) -> ComparedModel:
    network, _ = open_model(runs[0].model)
    summary = summarise(network)
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
        latency_ms=quick_latency_ms(network, choose_device(device)),
        runs=runs,
    )


def _differences(
    best: ComparedModel, models: Sequence[ComparedModel], right: dict[str, list[npt.NDArray[np.bool_]]]
) -> tuple[Difference, ...]:
    others = [model for model in models if model is not best]
    p_values = [_paired(right[best.label], right[other.label]) for other in others]
    found = []
    for other, p in zip(others, holm(p_values), strict=True):
        accuracies = [[run.accuracy for run in model.runs] for model in (best, other)]
        several = all(len(values) > 1 for values in accuracies)
        low, high = difference_interval(*accuracies) if several else (None, None)
        found.append(Difference(other.label, best.accuracy - other.accuracy, low, high, p))
    return tuple(found)


def _paired(first: Sequence[npt.NDArray[np.bool_]], second: Sequence[npt.NDArray[np.bool_]]) -> float:
    """McNemar's probability for one run of each: of the counts of all pairs of runs the mean."""
    only_first = [int((one & ~other).sum()) for one in first for other in second]
    only_second = [int((other & ~one).sum()) for one in first for other in second]
    return mcnemar(round(statistics.fmean(only_first)), round(statistics.fmean(only_second)))
