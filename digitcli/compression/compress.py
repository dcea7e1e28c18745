"""Compress a trained model by steps, each of which is measured."""

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
from digitcli.atomic_write import faults_of, remove_partial_files, write_whole
from digitcli.compression.changes import check_pruning
from digitcli.compression.compressor import STEPS_FOLDER, UNTRAINED_FILE, CompressionConfig, Compressor
from digitcli.compression.steps import (
    COMPRESSIONS,
    CompressionResult,
    Step,
    TestResult,
    TriedModel,
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
from digitcli.training.run_folder import LOCK_FILE, RUN_FILES, locked
from digitcli.training.setup import StopSignal
from digitcli.training.start_model import describe_start

OWN_FILES = (MODEL_FILE, COMPRESSION_FILE, COMPRESSION_SETTINGS_FILE)
# The settings on which finished steps depend, and how a message names two different values.
COMPARED = {
    "model": "model",
    "epochs": "--epochs ({}, now {})",
    "data_digest": "content of --data",
    "version": "version of digitcli ({}, now {})",
}


def compress(
    config: CompressionConfig,
    steps: Sequence[Step],
    *,
    folder: Path | None = None,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> CompressionResult:
    """Compress a model by steps in their order, and measure the model after each.

    The folder gets the model of all steps and the figures as `compression.json`, which replace those of an
    earlier compression at the very end. The same call continues a compression that was interrupted. The test
    examples are used for that model and the original one alone, at the end.

    folder: by default `runs/compress/NAME`, or `runs/compress/NAME-ARCH` if the first step is `distill=ARCH`.

    Raises:
        UsageError: the settings contradict each other, or a step cannot be made with this model.
        ModelError: there is no such model, or it is damaged.
        EnvironmentFault: a package that a step needs is not installed.
        OutputError: the folder has another compression, or the model of other steps, and `force` is not
            given; or it holds files of others, is in use, or cannot be written.
        Interrupted: `stop_signal` returned a number. The same call continues.
    """
    original = resolve_model(config.model)
    _check(original, steps)
    arch = steps[0].arch
    name = "-".join([original.label, *([arch.replace("/", "-")] if arch else [])])
    compressor = Compressor(original, config, folder or COMPRESSIONS / name, on_event, stop_signal)
    with _opened(compressor, join_steps(steps), force):
        tried = [compressor.make(())]
        for count in range(1, len(steps) + 1):
            on_event(ModelStarted(join_steps(steps[:count]), count, len(steps)))
            tried.append(compressor.make(tuple(steps[:count])))
        return _finish(compressor, tried)


def _check(original: ResolvedModel, steps: Sequence[Step]) -> None:
    header, kinds = original.header, {step.kind for step in steps}
    if not steps:
        raise UsageError("No steps are given.", "Give at least one, for example int8.")
    if header.architecture == ENSEMBLE.name:
        raise UsageError(f"{original.name} is an ensemble.", "Compress its members one by one.")
    if header.weight_bits:
        cause = f"The weights of {original.name} are integers already."
        raise UsageError(cause, "Compress the model that it was made from.")
    if header.task != "digit" and "distill" in kinds:
        cause = f"Teachers are for single digits, but {original.name} reads {header.task}s."
        raise UsageError(cause, "Leave distill out.")
    if "prune" in kinds:
        check_pruning()


@contextlib.contextmanager
def _opened(compressor: Compressor, steps: str, force: bool) -> Iterator[None]:
    """Hold the lock of the folder, whose finished steps and model must be of the same compression."""
    place, original = compressor.folder, compressor.original
    remedy = "Name another folder with --output."
    if place.resolve() in original.path.resolve().parents:
        cause = f"The model {original.name} lies in the folder {place}, which the result would replace."
        raise OutputError(cause, remedy)
    if place.exists() and not place.is_dir():
        raise OutputError(f"{place} is no folder.", remedy)
    settings = {
        **dataclasses.asdict(compressor.config),
        "model": original.sha256,
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
            _make_room(place, settings, steps, force)
        yield


def _foreign_files(place: Path, settings: dict[str, Any]) -> list[str]:
    """Return the names in a folder that is not that of a compression; a start may have left files of its own.

    Raises:
        OSError: the folder cannot be read.
    """
    if not place.exists() or settings.keys() <= _stored(place / COMPRESSION_SETTINGS_FILE).keys():
        return []
    own = (LOCK_FILE, f".{COMPRESSION_SETTINGS_FILE}.*.part")
    return sorted(path.name for path in place.iterdir() if not any(path.match(pattern) for pattern in own))


def _make_room(place: Path, settings: dict[str, Any], steps: str, force: bool) -> None:
    """Keep the finished steps of a folder if they have the same settings, else remove them, and nothing else.

    The model and the figures of an earlier call stay until those of this call are written.

    Raises:
        OutputError: it has another compression, or the model of other steps, and `force` is not given.
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
        for made in (place / STEPS_FOLDER).glob("*"):
            if (made / UNTRAINED_FILE).exists() or is_run(made):
                shutil.rmtree(made)
        write_whole(place / COMPRESSION_SETTINGS_FILE, (json.dumps(settings, indent=2) + "\n").encode())
    for made in (place / STEPS_FOLDER).glob("*"):
        remove_partial_files(made, (UNTRAINED_FILE, *RUN_FILES))
    if (place / MODEL_FILE).exists() and not force:
        try:
            former = f"--steps {_stored(place / COMPRESSION_FILE)['tried'][-1]['steps']}"
        except (KeyError, IndexError, TypeError):
            former = "unknown steps"
        if former != f"--steps {steps}":
            raise OutputError(f"{place} has the finished result of a compression with {former}.", remedy)


def _stored(file: Path) -> dict[str, Any]:
    """Return what a JSON file of a compression holds; nothing if the file is missing or damaged."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _finish(compressor: Compressor, tried: Sequence[TriedModel]) -> CompressionResult:
    """Test the model of all steps, and write it with the figures."""
    original, place = compressor.original, compressor.folder
    test = test_before = None
    model = resolve_model(tried[-1].checkpoint)
    if original.header.task == "digit":
        compressor.on_event(Notice("Testing the compressed model", routine=True))
        test, test_before = (_test(each, compressor.config.data) for each in (model, original))
    _write_model(place / MODEL_FILE, model, original, tried[-1], test)
    result = CompressionResult(
        model=original.id,
        folder=str(place),
        checkpoint=str(place / MODEL_FILE),
        unit=original.header.task,
        n=compressor.validation_size,
        tried=tuple(tried),
        chosen=len(tried) - 1,
        test=test,
        test_before=test_before,
    )
    write_whole(place / COMPRESSION_FILE, (json.dumps(result.record(), indent=2) + "\n").encode())
    return result


def _test(model: ResolvedModel, data: str) -> TestResult:
    result = evaluate(model, data, split="test", device="cpu", runtime="torch")
    return TestResult(result.accuracy, result.accuracy_low, result.accuracy_high, result.ece)


def _write_model(
    path: Path, model: ResolvedModel, original: ResolvedModel, figures: TriedModel, test: TestResult | None
) -> None:
    """Write the compressed model, whose header says which model it was made from."""
    header, tensors = read_checkpoint(model.path, model.sha256)
    metrics = {"validation_accuracy": figures.accuracy, "test_accuracy": test.accuracy if test else None}
    start = header.start if figures.steps.startswith("distill") else describe_start(original)
    write_checkpoint(path, replace(header, metrics=metrics, start=start), tensors)
