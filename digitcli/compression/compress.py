"""Compress a trained model by given steps, or search the steps that reach a goal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import digitcli
from digitcli.architectures.registry import ENSEMBLE
from digitcli.atomic_write import faults_of, remove_partial_files, write_whole
from digitcli.compression import pruning
from digitcli.compression.compressor import (
    STEPS_FOLDER,
    UNTRAINED_FILE,
    CompressionConfig,
    Compressor,
    learns_from_teacher,
)
from digitcli.compression.results import (
    COMPRESSIONS,
    CompressionResult,
    Goals,
    TestResult,
    TriedModel,
    draw_pareto,
)
from digitcli.compression.search import search
from digitcli.compression.speed import measure_speeds, missing_runtimes
from digitcli.compression.steps import TRAINED, Step, is_name_of_steps, join_steps
from digitcli.errors import OutputError, UsageError
from digitcli.evaluation.evaluate import evaluate
from digitcli.events import ModelStarted, Notice, OnEvent
from digitcli.inference.checkpoint import (
    COMPRESSION_FILE,
    COMPRESSION_SETTINGS_FILE,
    MODEL_FILE,
    read_checkpoint,
    write_checkpoint,
)
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.training.checks import resolve_teachers
from digitcli.training.run_folder import LOCK_FILE, RUN_FILES, locked
from digitcli.training.setup import StopSignal
from digitcli.training.start_model import describe_start

CHART_FILE = "pareto.svg"
OWN_FILES = (MODEL_FILE, COMPRESSION_FILE, CHART_FILE, COMPRESSION_SETTINGS_FILE)
# The settings on which finished steps depend, and how a message names two different values.
COMPARED = {
    "model": "model",
    "epochs": "--epochs ({}, now {})",
    "seed": "--seed ({}, now {})",
    "teacher": "--teacher",
    "data_digest": "content of --data",
    "version": "version of digitcli ({}, now {})",
}


def compress(
    config: CompressionConfig,
    steps: Sequence[Step] = (),
    *,
    max_accuracy_loss: float | None = None,
    max_bytes: int | None = None,
    folder: Path | None = None,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> CompressionResult:
    """Compress a model by steps, or search the steps that reach goals, and measure what each brings.

    The folder gets the chosen model, the figures as `compression.json` and their chart, which replace
    those of an earlier compression at the very end. The same call continues a compression that was
    interrupted. Choices depend on validation examples alone; the test
    examples are used for the chosen and the original model, after the choice.

    steps: the steps in their order; every model along them is measured, and the last one is chosen. With
        goals there are none.
    max_accuracy_loss: the largest accepted loss of validation accuracy, in percentage points.
    max_bytes: the largest accepted number of bytes of the weights.
    folder: by default `runs/compress/NAME`, or `runs/compress/NAME-ARCH` if the first step is `distill=ARCH`.

    Returns: what was tried; nothing is chosen if no model reaches the goals.

    Raises:
        UsageError: the settings contradict each other, or a step cannot be made with this model.
        ModelError: there is no such model, or it is damaged.
        EnvironmentFault: a package that a step needs is not installed.
        OutputError: the folder has another compression, or the model of other steps or goals, and `force` is
            not given; or it holds files of others, is in use, or cannot be written.
        Interrupted: `stop_signal` returned a number. The same call continues.
    """
    original = resolve_model(config.model)
    goals = Goals(max_accuracy_loss, max_bytes)
    _check(original, config, steps, goals)
    place = folder or COMPRESSIONS / _default_name(original, steps)
    compressor = Compressor(original, config, place, on_event, stop_signal)
    with _opened(compressor, _request(goals, join_steps(tuple(steps))), force):
        tried, chosen = search(compressor, goals) if goals else _follow(compressor, tuple(steps))
        on_event(Notice("Measuring the speed of every model", routine=True))
        tried = measure_speeds(tried, on_event, compressor.check_signal)
        return _finish(compressor, goals, tried, chosen)


def _default_name(original: ResolvedModel, steps: Sequence[Step]) -> str:
    """Return the name of the folder; that of a smaller architecture is part of it."""
    arch = steps[0].arch if steps else None
    return "-".join([original.label, *([arch.replace("/", "-")] if arch else [])])


def _follow(compressor: Compressor, steps: tuple[Step, ...]) -> tuple[list[TriedModel], int]:
    """Return the original, the models after each of the steps, and the index of the last one."""
    tried = [compressor.make(())]
    for count in range(1, len(steps) + 1):
        compressor.on_event(ModelStarted(join_steps(steps[:count]), count, len(steps)))
        tried.append(compressor.make(steps[:count]))
    return tried, len(steps)


def _check(original: ResolvedModel, config: CompressionConfig, steps: Sequence[Step], goals: Goals) -> None:
    if bool(steps) == bool(goals):
        cause = "Steps and goals are given." if steps else "Neither steps nor goals are given."
        raise UsageError(cause, "Give either --steps, or goals: --max-accuracy-loss, --max-size or both.")
    header = original.header
    if header.architecture == ENSEMBLE.name:
        raise UsageError(f"{original.name} is an ensemble.", "Compress its members one by one.")
    if header.weight_bits:
        cause = f"The weights of {original.name} are integers already."
        raise UsageError(cause, "Compress the model that it was made from.")
    distills = any(step.kind == "distill" for step in steps)
    if header.task != "digit" and (config.teacher or distills):
        cause = f"Teachers are for single digits, but {original.name} reads {header.task}s."
        raise UsageError(cause, "Leave --teacher and distill out.")
    trains = distills or (config.epochs > 0 and (bool(goals) or any(step.kind in TRAINED for step in steps)))
    if config.teacher and not (trains and learns_from_teacher(header.architecture)):
        cause = "--teacher has no effect, because nothing here is trained with a teacher."
        raise UsageError(cause, "Leave it out, or give a step that trains, e.g. int4, and --epochs.")
    if goals or any(step.kind == "prune" for step in steps):
        pruning.check_installed()


@contextlib.contextmanager
def _opened(compressor: Compressor, request: str, force: bool) -> Iterator[None]:
    """Hold the lock of the folder, whose finished steps and model must be of the same compression."""
    place, config = compressor.folder, compressor.config
    teachers = resolve_teachers(config.teacher)
    for model in (compressor.original, *teachers):
        if place.resolve() in model.path.resolve().parents:
            cause = f"The model {model.name} lies in the folder {place}, which the result would replace."
            raise OutputError(cause, "Name another folder with -o.")
    if place.exists() and not place.is_dir():
        raise OutputError(f"{place} is no folder.", "Name another folder with -o.")
    settings = {
        **dataclasses.asdict(config),
        "model": compressor.original.sha256,
        "teacher": [model.sha256 for model in teachers],
        "data_digest": compressor.data_digest,
        "version": digitcli.__version__,
    }
    with faults_of(place):
        _check_replaceable(place, settings)
        place.mkdir(parents=True, exist_ok=True)
    with locked(place, OWN_FILES):
        with faults_of(place):
            _prepare(place, settings, force)
            _check_finished(place, request, force)
        yield


def _check_replaceable(place: Path, settings: dict[str, Any]) -> None:
    """Check that a path is free, or a folder that is empty or holds an earlier compression.

    Raises:
        OutputError: it is a folder with files of others.
        OSError: the folder cannot be read.
    """
    if not place.exists() or _stored(place / COMPRESSION_SETTINGS_FILE).keys() == settings.keys():
        return
    of_a_start = (
        LOCK_FILE,
        f".{COMPRESSION_SETTINGS_FILE}.*.part",
    )  # a process ended before it wrote its settings
    names = sorted(
        path.name for path in place.iterdir() if not any(path.match(pattern) for pattern in of_a_start)
    )
    if names:
        cause = f"{place} holds other files than those of a compression, for example {names[0]}."
        raise OutputError(cause, "Name another folder with -o.")


def _request(goals: Goals, steps: str) -> str:
    """Return in words what is asked of a compression."""
    return f"the goal of {goals}" if goals else f"--steps {steps}"


def _check_finished(place: Path, request: str, force: bool) -> None:
    """Check that a folder holds no model that was made by other steps or for other goals.

    Raises:
        OutputError: it holds one, and `force` is not given.
    """
    if force or not (place / MODEL_FILE).exists():
        return
    stored = _stored(place / COMPRESSION_FILE)
    try:
        former = _request(Goals(**stored["goals"]), stored["tried"][-1]["steps"])
    except (KeyError, IndexError, TypeError, ValueError):
        former = "unknown steps or goals"
    if former != request:
        cause = f"{place} has the finished result of a compression with {former}."
        remedy = (
            "Name another folder with --output, or replace the result with --force, which uses the models in "
            f"{STEPS_FOLDER}/ again that have the same settings."
        )
        raise OutputError(cause, remedy)


def _prepare(place: Path, settings: dict[str, Any], force: bool) -> None:
    """Keep the finished steps of a folder if they have the same settings, else make room for others.

    The model, the figures and the chart of an earlier call stay until those of this call are written.

    Raises:
        OutputError: the folder has another compression and `force` is not given.
    """
    stored = _stored(place / COMPRESSION_SETTINGS_FILE)
    differences = [
        title.format(stored.get(name), settings[name])
        for name, title in COMPARED.items()
        if stored.get(name) != settings[name]
    ]
    if differences:
        _make_room(place, differences, force)
        write_whole(place / COMPRESSION_SETTINGS_FILE, (json.dumps(settings, indent=2) + "\n").encode())
    for step in (place / STEPS_FOLDER).glob("*"):
        remove_partial_files(step, (UNTRAINED_FILE, *RUN_FILES))


def _make_room(place: Path, differences: Sequence[str], force: bool) -> None:
    """Remove the steps of another compression from a folder, and nothing else.

    Raises:
        OutputError: there is one, and `force` is not given.
    """
    if (place / COMPRESSION_SETTINGS_FILE).exists() and not force:
        cause = f"{place} has another compression, which was started with another {', '.join(differences)}."
        raise OutputError(cause, "Give the same, name another folder with -o, or replace it with --force.")
    for folder in (place / STEPS_FOLDER).glob("*"):
        if is_name_of_steps(unquote(folder.name)):
            shutil.rmtree(folder)


def _stored(file: Path) -> dict[str, Any]:
    """Return what a JSON file of a compression holds; nothing if the file is missing or damaged."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _finish(
    compressor: Compressor, goals: Goals, tried: Sequence[TriedModel], chosen: int | None
) -> CompressionResult:
    """Test the chosen model, and write it with the figures and the chart."""
    original, place = compressor.original, compressor.folder
    test = test_before = None
    if chosen is not None:
        model = resolve_model(tried[chosen].checkpoint)
        if original.header.task == "digit":
            compressor.on_event(Notice("Testing the chosen model", routine=True))
            test, test_before = (_test(each, compressor.config.data) for each in (model, original))
        _write_model(place / MODEL_FILE, model, original, tried[chosen], test)
    else:  # a model of other goals would not belong to these figures
        with faults_of(place):
            (place / MODEL_FILE).unlink(missing_ok=True)
    result = CompressionResult(
        model=original.id,
        folder=str(place),
        checkpoint=None if chosen is None else str(place / MODEL_FILE),
        goals=goals,
        unit=original.header.task,
        n=compressor.validation_size,
        tried=tuple(tried),
        chosen=chosen,
        test=test,
        test_before=test_before,
        missing_runtimes=missing_runtimes(),
        computed_bytes=dict(compressor.computed_bytes),
    )
    write_whole(place / COMPRESSION_FILE, (json.dumps(result.record(), indent=2) + "\n").encode())
    write_whole(place / CHART_FILE, draw_pareto(result).encode())
    return result


def _test(model: ResolvedModel, data: str) -> TestResult:
    result = evaluate(model, data, split="test", device="cpu", runtime="torch")
    return TestResult(result.accuracy, result.accuracy_low, result.accuracy_high, result.ece)


def _write_model(
    path: Path, model: ResolvedModel, original: ResolvedModel, figures: TriedModel, test: TestResult | None
) -> None:
    """Write the chosen model, whose header says which model it was made from."""
    header, tensors = read_checkpoint(model.path, model.sha256)
    metrics = {"validation_accuracy": figures.accuracy, "test_accuracy": test.accuracy if test else None}
    start = header.start if figures.steps.startswith("distill") else describe_start(original)
    write_checkpoint(path, replace(header, metrics=metrics, start=start), tensors)
