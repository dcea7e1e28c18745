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

import digitcli
from digitcli.architectures.registry import ENSEMBLE
from digitcli.atomic_write import faults_of, write_whole
from digitcli.compression import pruning
from digitcli.compression.compressor import STEPS_FOLDER, CompressionConfig, Compressor, learns_from_teacher
from digitcli.compression.results import CompressionResult, TestResult, TriedModel, draw_pareto
from digitcli.compression.search import Goals, search
from digitcli.compression.speed import measure_speeds, missing_runtimes
from digitcli.compression.steps import TRAINED, Step, is_name_of_steps
from digitcli.errors import Interrupted, OutputError, QualityError, UsageError
from digitcli.evaluation.evaluate import evaluate
from digitcli.events import Notice, OnEvent
from digitcli.inference.checkpoint import MODEL_FILE, RUNS, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.training.configuration import resolve_teachers
from digitcli.training.run_folder import locked
from digitcli.training.setup import StopSignal

OUT = RUNS / "compress"
RESULT_FILE, CONFIG_FILE, CHART_FILE = "compression.json", "settings.json", "pareto.svg"


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

    The folder gets the chosen model, the figures as `compression.json` and their chart. The same call
    continues a compression that was interrupted. Choices depend on validation examples alone; the test
    examples are used for the chosen and the original model, after the choice.

    steps: the steps in their order; every model along them is measured, and the last one is chosen. With
        goals there are none.
    max_accuracy_loss: the largest accepted loss of validation accuracy, in percentage points.
    max_bytes: the largest accepted number of bytes of the weights.
    folder: by default `runs/compress/NAME`.

    Raises:
        UsageError: the settings contradict each other, or a step cannot be made with this model.
        ModelError: there is no such model, or it is damaged.
        EnvironmentFault: a package that a step needs is not installed.
        OutputError: the folder has another compression and `force` is not given, or cannot be written.
        QualityError: no model reaches the goals; the tried ones are kept.
        Interrupted: `stop_signal` returned a number. The same call continues.
    """
    original = resolve_model(config.model)
    goals = Goals(max_accuracy_loss, max_bytes)
    _check(original, config, steps, goals)
    place = folder or OUT / original.id.partition("@")[0]
    compressor = Compressor(original, config, place, on_event, stop_signal)
    with _opened(compressor, force):
        if goals:
            tried, chosen = search(compressor, goals)
        else:
            tried = [compressor.make(tuple(steps[:count])) for count in range(len(steps) + 1)]
            chosen = len(steps)
        on_event(Notice("Measuring the speed of every model", routine=True))
        for index, each in enumerate(tried):
            _stop_if_signalled(stop_signal)
            tried[index] = replace(each, speeds=measure_speeds(resolve_model(each.checkpoint)))
        result = _finish(compressor, tried, chosen)
    if chosen is None:
        best = max(tried[1:], key=lambda each: each.accuracy, default=tried[0])
        cause = (
            f"No model reaches {goals}; of those that were tried, {best.steps} has "
            f"{best.weights_bytes:,} bytes and reads {100 * best.accuracy:.2f} % of the validation examples."
        )
        raise QualityError(cause, f"Give other goals, or more --epochs; {place / RESULT_FILE} lists all.")
    return result


def _stop_if_signalled(stop_signal: StopSignal) -> None:
    if (number := stop_signal()) is not None:
        raise Interrupted(number, "Stopped.", "The same command continues with the finished models.")


def _check(original: ResolvedModel, config: CompressionConfig, steps: Sequence[Step], goals: Goals) -> None:
    if bool(steps) == bool(goals):
        cause = "Steps and goals are given." if steps else "Neither steps nor goals are given."
        raise UsageError(cause, "Give either --steps, or goals: --max-accuracy-loss, --max-size or both.")
    header = original.header
    if header.architecture == ENSEMBLE.name:
        raise UsageError(f"{original.name} is an ensemble.", "Compress its members one by one.")
    if header.has_integer_weights:
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
def _opened(compressor: Compressor, force: bool) -> Iterator[None]:
    """Hold the lock of the folder, whose finished steps must be of the same compression."""
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
        place.mkdir(parents=True, exist_ok=True)
    with locked(place), faults_of(place):
        file = place / CONFIG_FILE
        stored = _stored(file)
        if stored != settings:
            _make_room(place, is_ours=stored.keys() == settings.keys(), force=force)
            write_whole(file, (json.dumps(settings, indent=2) + "\n").encode())
        for name in (MODEL_FILE, RESULT_FILE, CHART_FILE):  # of other steps, or of a goal
            (place / name).unlink(missing_ok=True)
        yield


def _make_room(place: Path, *, is_ours: bool, force: bool) -> None:
    """Remove another compression from a folder, and nothing else.

    Raises:
        OutputError: `force` is not given, or the folder has files of the same names that are of others.
    """
    names = (STEPS_FOLDER, MODEL_FILE, RESULT_FILE, CHART_FILE, CONFIG_FILE)
    present = ", ".join(name for name in names if (place / name).exists())
    if present and not is_ours:
        raise OutputError(f"{place} has other files: {present}.", "Name another folder with -o.")
    if present and not force:
        cause = f"{place} has another compression: {present}."
        raise OutputError(cause, "Name another folder with -o, or replace it with --force.")
    for folder in (place / STEPS_FOLDER).glob("*"):
        if is_name_of_steps(folder.name):
            shutil.rmtree(folder)


def _stored(file: Path) -> dict[str, Any]:
    """Return the settings of the compression in a folder; nothing if there is none."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _finish(compressor: Compressor, tried: Sequence[TriedModel], chosen: int | None) -> CompressionResult:
    """Test the chosen model, and write it with the figures and the chart."""
    original, place = compressor.original, compressor.folder
    test = test_before = None
    if chosen is not None:
        model = resolve_model(tried[chosen].checkpoint)
        if original.header.task == "digit":
            compressor.on_event(Notice("Testing the chosen model", routine=True))
            test, test_before = (_test(each, compressor.config.data) for each in (model, original))
        _write_model(place / MODEL_FILE, model, original, tried[chosen], test)
    result = CompressionResult(
        model=original.id,
        folder=str(place),
        checkpoint=None if chosen is None else str(place / MODEL_FILE),
        unit=original.header.task,
        n=compressor.validation_size,
        tried=tuple(tried),
        chosen=chosen,
        test=test,
        test_before=test_before,
        missing_runtimes=missing_runtimes(),
    )
    write_whole(place / RESULT_FILE, (json.dumps(result.record(), indent=2) + "\n").encode())
    write_whole(place / CHART_FILE, draw_pareto(result).encode())
    return result


def _test(model: ResolvedModel, data: str) -> TestResult:
    result = evaluate(model, data, device="cpu", runtime="torch")
    return TestResult(result.accuracy, result.accuracy_low, result.accuracy_high, result.ece)


def _write_model(
    path: Path, model: ResolvedModel, original: ResolvedModel, figures: TriedModel, test: TestResult | None
) -> None:
    """Write the chosen model, whose header says which model it was made from."""
    header, tensors = read_checkpoint(model.path, model.sha256)
    metrics = {"validation_accuracy": figures.accuracy, "test_accuracy": test.accuracy if test else None}
    start: dict[str, Any] = {}
    if not figures.steps.startswith("distill"):
        temperature = original.header.temperature
        start = {"model": original.id, "sha256": original.sha256, "temperature": temperature}
    write_checkpoint(path, replace(header, metrics=metrics, start=start), tensors)
