"""Compress a trained model by given steps, or search the steps that reach a goal."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import digitcli
from digitcli.architectures.registry import ENSEMBLE
from digitcli.atomic_write import faults_of, remove_partial_files, write_whole
from digitcli.benchmarking.measurement import ExportGraph
from digitcli.compression.changes import check_pruning
from digitcli.compression.compressor import (
    STEPS_FOLDER,
    UNTRAINED_FILE,
    CompressionConfig,
    Compressor,
    learns_from_teacher,
    missing_runtimes,
)
from digitcli.compression.results import (
    BITS,
    COMPRESSIONS,
    TRAINED,
    CompressionResult,
    Goals,
    Step,
    TestResult,
    TriedModel,
    draw_pareto,
    join_steps,
)
from digitcli.errors import OutputError, UsageError
from digitcli.evaluation.evaluate import evaluate
from digitcli.events import ModelStarted, Notice, OnEvent
from digitcli.inference.checkpoint import (
    COMPRESSION_FILE,
    COMPRESSION_SETTINGS_FILE,
    MODEL_FILE,
    is_run,
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
SHARES = tuple(round(0.05 * number, 2) for number in range(1, 20))  # of the channels that may be removed
LADDER = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # those that are tried one after the other
INTEGERS = tuple(map(Step, BITS))
Steps = tuple[Step, ...]


def compress(
    config: CompressionConfig,
    steps: Sequence[Step] = (),
    *,
    max_accuracy_loss: float | None = None,
    max_bytes: int | None = None,
    folder: Path | None = None,
    force: bool = False,
    export_graph: ExportGraph | None = None,
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
    export_graph: makes the graphs with which onnxruntime and tflite are measured, see `benchmark`.

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
    with _opened(compressor, _request(goals, join_steps(steps)), force):
        tried, chosen = search(compressor, goals) if goals else _follow(compressor, tuple(steps))
        on_event(Notice("Measuring the speed of every model", routine=True))
        tried = compressor.measure_speeds(tried, export_graph)
        return _finish(compressor, goals, tried, chosen)


def _default_name(original: ResolvedModel, steps: Sequence[Step]) -> str:
    """Return the name of the folder; that of a smaller architecture is part of it."""
    arch = steps[0].arch if steps else None
    return "-".join([original.label, *([arch.replace("/", "-")] if arch else [])])


def _request(goals: Goals, steps: str) -> str:
    """Return in words what is asked of a compression."""
    return f"the goal of {goals}" if goals else f"--steps {steps}"


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
        check_pruning()


@contextlib.contextmanager
def _opened(compressor: Compressor, request: str, force: bool) -> Iterator[None]:
    """Hold the lock of the folder, whose finished steps and model must be of the same compression."""
    place, config = compressor.folder, compressor.config
    teachers = resolve_teachers(config.teacher)
    remedy = "Name another folder with --output."
    for model in (compressor.original, *teachers):
        if place.resolve() in model.path.resolve().parents:
            cause = f"The model {model.name} lies in the folder {place}, which the result would replace."
            raise OutputError(cause, remedy)
    if place.exists() and not place.is_dir():
        raise OutputError(f"{place} is no folder.", remedy)
    settings = {
        **dataclasses.asdict(config),
        "model": compressor.original.sha256,
        "teacher": [model.sha256 for model in teachers],
        "data_digest": compressor.data_digest,
        "version": digitcli.__version__,
    }
    with faults_of(place):
        if foreign := _foreign_files(place, settings):
            cause = f"{place} holds other files than those of a compression, for example {foreign[0]}."
            raise OutputError(cause, remedy)
        place.mkdir(parents=True, exist_ok=True)
    with locked(place, OWN_FILES):
        with faults_of(place):
            _make_room(place, settings, request, force)
        yield


def _foreign_files(place: Path, settings: dict[str, Any]) -> list[str]:
    """Return the names in a folder that is not that of a compression; a start may have left files of its own.

    Raises:
        OSError: the folder cannot be read.
    """
    if not place.exists() or _stored(place / COMPRESSION_SETTINGS_FILE).keys() == settings.keys():
        return []
    own = (LOCK_FILE, f".{COMPRESSION_SETTINGS_FILE}.*.part")
    return sorted(path.name for path in place.iterdir() if not any(path.match(pattern) for pattern in own))


def _make_room(place: Path, settings: dict[str, Any], request: str, force: bool) -> None:
    """Keep the finished steps of a folder if they have the same settings, else remove them, and nothing else.

    The model, the figures and the chart of an earlier call stay until those of this call are written.

    Raises:
        OutputError: the folder has another compression, or the model of other steps or goals, and `force` is
            not given.
    """
    remedy = "Give the same, name another folder with --output, or replace it with --force."
    stored = _stored(place / COMPRESSION_SETTINGS_FILE)
    differences = [
        title.format(stored.get(name), settings[name])
        for name, title in COMPARED.items()
        if stored.get(name) != settings[name]
    ]
    if differences:
        if stored and not force:
            cause = f"{place} has another compression, which was started with another"
            raise OutputError(f"{cause} {', '.join(differences)}.", remedy)
        for step in (place / STEPS_FOLDER).glob("*"):
            if (step / UNTRAINED_FILE).exists() or is_run(step):
                shutil.rmtree(step)
        write_whole(place / COMPRESSION_SETTINGS_FILE, (json.dumps(settings, indent=2) + "\n").encode())
    for step in (place / STEPS_FOLDER).glob("*"):
        remove_partial_files(step, (UNTRAINED_FILE, *RUN_FILES))
    if (place / MODEL_FILE).exists() and not force:
        former = _former_request(_stored(place / COMPRESSION_FILE))
        if former != request:
            raise OutputError(f"{place} has the finished result of a compression with {former}.", remedy)


def _former_request(stored: dict[str, Any]) -> str:
    try:
        return _request(Goals(**stored["goals"]), stored["tried"][-1]["steps"])
    except (KeyError, IndexError, TypeError, ValueError):
        return "unknown steps or goals"


def _stored(file: Path) -> dict[str, Any]:
    """Return what a JSON file of a compression holds; nothing if the file is missing or damaged."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _follow(compressor: Compressor, steps: Steps) -> tuple[list[TriedModel], int]:
    """Return the original, the models after each of the steps, and the index of the last one."""
    tried = [compressor.make(())]
    for count in range(1, len(steps) + 1):
        compressor.on_event(ModelStarted(join_steps(steps[:count]), count, len(steps)))
        tried.append(compressor.make(steps[:count]))
    return tried, len(steps)


def search(compressor: Compressor, goals: Goals) -> tuple[list[TriedModel], int | None]:
    """Return the original and all tried models, and the index of the best one that reaches the goals.

    Integers of 8 and of 4 bits are tried, after the removal of more and more channels. With a goal for the
    accuracy the best model is the smallest one, else the most accurate one.
    """
    is_most = goals.max_accuracy_loss is not None
    tried: dict[Steps, TriedModel] = {(): compressor.make(())}
    plans = {last: _plan(compressor, goals, last) for last in INTEGERS}
    waiting = list(plans.values())
    for last, plan in plans.items():
        try:
            for steps in plan:
                if steps not in tried:  # after the same pruning come both kinds of integers
                    n = len({*itertools.chain(*waiting), *tried}) - 1  # without the original
                    compressor.on_event(ModelStarted(join_steps(steps), len(tried), n, is_most))
                    tried[steps] = compressor.make(steps)
                if steps[-1] == last and not goals.are_accurate_enough(tried[steps], tried[()]):
                    break  # with fewer channels it would lose more
        except UsageError as error:  # this network cannot be pruned or quantized so
            compressor.on_event(Notice(f"With {last}: {error.cause} {error.remedy}"))
        del waiting[0]
    models, original = list(tried.values()), tried[()]
    reached = [index for index, model in enumerate(models) if goals.reached_by(model, original)]
    if is_most:
        return models, min(reached, key=lambda index: models[index].weights_bytes, default=None)
    order = [(models[index].accuracy, -models[index].weights_bytes, index) for index in reached]
    return models, max(order)[2] if order else None


def _plan(compressor: Compressor, goals: Goals, last: Step) -> list[Steps]:
    """Return the steps of the models to try with one kind of integers, in their order."""
    try:
        shares = _shares(compressor, goals, last)
    except UsageError as error:
        compressor.on_event(Notice(f"With {last}: {error.cause} {error.remedy}"))
        return []
    if goals.max_accuracy_loss is None:
        shares = shares[:1]  # with fewer channels it would only be smaller
    return [steps for share in shares for steps in (_pruning(share), (*_pruning(share), last)) if steps]


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
        missing_runtimes=tuple(missing_runtimes().values()),
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
