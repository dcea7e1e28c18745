"""Architectures, their variants and finished models side by side, and what of the differences is chance."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from digitcli.architectures.summary import summarise
from digitcli.checkpoint import RESUME_FILE, find_checkpoint, read_header
from digitcli.config import Recipe, TrainConfig
from digitcli.data.digits import Dataset, Digits, describe_failures, split
from digitcli.data.sources import load_dataset
from digitcli.devices import choose_device
from digitcli.errors import Interrupted, UsageError
from digitcli.evaluation.metrics import wilson_interval
from digitcli.evaluation.overlap import told_overlap
from digitcli.evaluation.significance import difference_interval, holm, mcnemar, mean_interval
from digitcli.experiments.contenders import OUT, SEEDS, Contender, contenders, turns
from digitcli.experiments.measuring import quick_latency_ms
from digitcli.experiments.saved_comparison import Built, ComparedRun
from digitcli.inference import load_classifier
from digitcli.registry import create_model, recipe_of
from digitcli.synthesis.fonts import digest_of_fonts
from digitcli.training import loop
from digitcli.training.events import Notice, OnEvent, TrainResult
from digitcli.training.session import StopSignal, built_with

CHANCE = 0.05
LONGEST_NAME = 150  # of a folder, from where on a digest stands for the rest of it


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
    `unreadable` counts the files of the dataset that could not be used, whose digest is `digest`.
    """

    data: str
    digest: str
    images: int
    models: tuple[ComparedModel, ...]
    best: str
    winner: str | None
    differences: tuple[Difference, ...]
    missed: tuple[int, ...]
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

    Runs lie in `out`: one that is finished there is kept, one that was stopped goes on, one that a saved
    comparison holds is not made. All contenders have their first run before any has its second.

    Raises:
        UsageError: see `contenders`; fewer than one seed; a run in `out`, or a saved one, by another recipe
            or on other data.
        Interrupted: `stop_signal` gave a number; the same call goes on.
        The errors of `train`, of `load_classifier` and of `read_comparison`.
    """
    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}.", "Take at least 1.")
    entered = contenders(specs, data, device)
    built = {one.label: _built(one) for one in entered}
    dataset = load_dataset(data)
    _check_saved(entered, built, dataset)
    if dataset.failures:
        on_event(Notice(f"Left out of '{data}': {describe_failures(dataset.failures)}"))
    test = split(dataset).test
    runs = {one.label: list(one.saved.runs) if one.saved else [] for one in entered}
    to_do = turns(entered, seeds)
    for done, (one, seed) in enumerate(to_do, start=1):
        run, kept = _run(one, seed, dataset, test, device, out, on_event, stop_signal)
        runs[one.label].append(run)
        on_compared(RunJudged(one.label, run, kept, done, len(to_do)))
        if number := stop_signal():
            raise Interrupted(number, "Stopped between two runs.", "The same command goes on.")
    models = tuple(
        _compared(label, built[label], tuple(made), len(test), device) for label, made in runs.items()
    )
    best = max(models, key=lambda model: model.accuracy)
    right = {model.label: [_right(run, len(test)) for run in model.runs] for model in models}
    differences = _differences(best, models, right)
    winner = None if any(each.is_chance for each in differences) or len(models) == 1 else best.label
    missed = ~np.any([answers for each in right.values() for answers in each], axis=0)
    return Comparison(
        data,
        dataset.digest,
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
    seed: int | None,
    dataset: Dataset,
    test: Digits,
    device: str,
    out: Path,
    on_event: OnEvent,
    stop_signal: StopSignal,
) -> tuple[ComparedRun, bool]:
    """A run, and whether it was there before."""
    result, kept = None, False
    if one.config is not None and seed is not None:
        folder = out / f"{_folder_name(one.label)}-{seed}"
        result, kept = _trained(one.config, seed, dataset.digest, folder, on_event, stop_signal)
    name = str(one.model if result is None else result.run)
    misread = None if result is None else result.misread
    if misread is None:
        classifier = load_classifier(name, device=device)
        if one.model is not None:
            told_overlap(test, dataset, [name], classifier, on_event)
        answers = classifier.logits(test.images).argmax(axis=-1)
        misread = tuple(np.flatnonzero(answers != test.labels).tolist())
    seconds = None if result is None else result.train_seconds
    return ComparedRun(name, 1 - len(misread) / len(test), misread, seed, seconds), kept


def _right(run: ComparedRun, images: int) -> npt.NDArray[np.bool_]:
    right = np.ones(images, np.bool_)
    right[list(run.misread)] = False
    return right


def _folder_name(label: str) -> str:
    """A label as a file system takes it."""
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", label)
    if len(name) <= LONGEST_NAME:
        return name
    return name[:LONGEST_NAME] + hashlib.sha256(label.encode()).hexdigest()[:12]


def _built(one: Contender) -> Built:
    """How a contender is built, which is tried: what fails is to be known before anything is trained."""
    if one.config is not None:
        recipe = recipe_of(one.config.arch, **one.config.recipe)
        built = Built(one.config.arch, built_with(recipe), dataclasses.asdict(recipe))
    elif one.model is not None:
        header = read_header(find_checkpoint(one.model))
        built = Built(header.architecture, header.arguments, header.recipe)
    else:
        assert one.saved is not None
        built = one.saved.built
    _network(built)
    return built


def _network(built: Built) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return create_model(built.architecture, **built.arguments)


def _check_saved(entered: Sequence[Contender], built: Mapping[str, Built], dataset: Dataset) -> None:
    """What is saved must be by the recipe that is asked for, and on these digits."""
    for one in entered:
        if one.saved is None:
            continue
        if one.saved.built != built[one.label]:
            raise UsageError(f"The saved runs of {one.label} have another recipe.", "Leave their file out.")
        if one.saved.digest != dataset.digest:
            raise UsageError(
                f"The saved runs of {one.label} are on other digits than '{dataset.name}'.",
                "Leave their file out, or name their --data.",
            )


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


def _compared(
    label: str, built: Built, runs: tuple[ComparedRun, ...], images: int, device: str
) -> ComparedModel:
    network = _network(built)
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
        built=built,
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
