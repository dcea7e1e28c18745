"""Compress a trained model by steps, each of which is measured."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import digitcli
from digitcli.architectures.compression import Change, pack, with_plain_weights
from digitcli.architectures.registry import ENSEMBLE, find_architecture, resolve_recipe
from digitcli.architectures.summary import example_input, summarize
from digitcli.atomic_write import faults_of, remove_partial_files, write_whole
from digitcli.compression.changes import check_pruning, fold, prune, quantize_inputs, quantize_weights
from digitcli.compression.steps import (
    COMPRESSIONS,
    DEFAULT_EPOCHS,
    TRAINED,
    CompressionResult,
    Step,
    TestResult,
    TriedModel,
    join_steps,
)
from digitcli.data.dataset import Digits
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted, OutputError, UsageError
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.metrics import wilson_interval
from digitcli.evaluation.splits import take_split
from digitcli.events import Event, ModelStarted, Notice, OnEvent
from digitcli.inference.checkpoint import (
    COMPRESSION_FILE,
    COMPRESSION_SETTINGS_FILE,
    MODEL_FILE,
    Header,
    is_run,
    read_checkpoint,
    write_checkpoint,
)
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import infer, load_network, open_network
from digitcli.training import trainer
from digitcli.training.configuration import TrainConfig, with_start
from digitcli.training.run_folder import LOCK_FILE, RUN_FILES, locked
from digitcli.training.setup import StopSignal, prepare
from digitcli.training.start_model import describe_start
from digitcli.training.task import TrainingTask, seed_random

BATCHES = 8  # of training examples, for the gradient of the pruning and for the ranges of inputs
SEED = 0  # of the fine-tuning and of the examples on which inputs are measured
STEPS_FOLDER = "steps"
UNTRAINED_FILE = "untrained.safetensors"  # the model of a step before its fine-tuning
OWN_FILES = (MODEL_FILE, COMPRESSION_FILE, COMPRESSION_SETTINGS_FILE)
# The settings on which finished steps depend, and how a message names two different values.
COMPARED = {
    "model": "model",
    "epochs": "--epochs ({}, now {})",
    "data_digest": "content of --data",
    "version": "version of digitcli ({}, now {})",
}
REMEDY = "Name another folder with --output."


def compress(
    model: str,
    steps: Sequence[Step],
    *,
    data: str = TrainConfig.data,
    epochs: int = DEFAULT_EPOCHS,
    device: str = "auto",
    folder: Path | None = None,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
    stop_signal: StopSignal = lambda: None,
) -> CompressionResult:
    """Compress a model by steps in their order, and measure the model after each.

    The folder gets the model of all steps and the figures as `compression.json`, which replace those of an
    earlier compression at the very end. The same call continues a compression that was interrupted. The test
    examples are used for that model and the original one alone, at the end.

    data: the dataset of the fine-tuning and of the validation, as `digitcli train` takes it.
    epochs: how often fine-tuning passes over the data after each step that needs it.
    device: where fine-tuning computes.
    folder: by default `runs/compress/NAME`.

    Raises:
        UsageError: the settings contradict each other, or a step cannot be made with this model.
        ModelError: there is no such model, or it is damaged.
        EnvironmentFault: a package that a step needs is not installed.
        OutputError: the folder has another compression, or the model of other steps, and `force` is not
            given; or it holds files of others, is in use, or cannot be written.
        Interrupted: `stop_signal` returned a number. The same call continues.
    """
    original = resolve_model(model)
    _check(original, steps)
    place = folder or COMPRESSIONS / original.label
    compression = _Compression(original, data, epochs, device, place, on_event, stop_signal)
    with _opened(compression, join_steps(steps), force):
        compression.check_signal()
        model_of_steps, tried = original, [compression.validate(original, join_steps(()))]
        for count, step in enumerate(steps, start=1):
            name = join_steps(steps[:count])
            on_event(ModelStarted(name, count, len(steps)))
            compression.check_signal()
            model_of_steps = compression.make(model_of_steps, step, name)
            tried.append(compression.validate(model_of_steps, name))
        return _finish(compression, model_of_steps, tried)


def _check(original: ResolvedModel, steps: Sequence[Step]) -> None:
    if not steps:
        raise UsageError("No steps are given.", "Give at least one, for example int8.")
    if original.header.architecture == ENSEMBLE.name:
        raise UsageError(f"{original.name} is an ensemble.", "Compress its members one by one.")
    if original.header.weight_bits:
        cause = f"The weights of {original.name} are integers already."
        raise UsageError(cause, "Compress the model that it was made from.")
    if any(step.kind == "prune" for step in steps):
        check_pruning()


@dataclass(frozen=True)
class _Compression:
    """A compression in a folder, in which finished steps are found again.

    original: the model that is compressed, from whose answers fine-tuning learns.
    """

    original: ResolvedModel
    data: str
    epochs: int
    device: str
    folder: Path
    on_event: OnEvent
    stop_signal: StopSignal

    def check_signal(self) -> None:
        """Raise `Interrupted` if a signal was received; the finished steps are kept."""
        if (number := self.stop_signal()) is not None:
            raise Interrupted(number, "Stopped.", "The same command continues with the finished models.")

    def make(self, start: ResolvedModel, step: Step, name: str) -> ResolvedModel:
        """Return a model changed by a step and fine-tuned, which is made if it is not in the folder.

        name: all steps up to this one.
        """
        place = self.folder / STEPS_FOLDER / name
        file = place / UNTRAINED_FILE
        if not file.exists():
            self._change(start, step, file)
        if step.kind not in TRAINED or not self.epochs:
            return resolve_model(file)
        settings = with_start({"start": str(file.resolve()), "data": self.data})
        settings |= {"seed": SEED, "device": self.device}
        settings["recipe"] = {**settings["recipe"], "epochs": self.epochs}
        arch = start.header.architecture
        if find_architecture(arch).task == "digit" and resolve_recipe(arch).loss == "cross_entropy":
            settings["teacher"] = (str(self.original.path.resolve()),)
        try:
            if is_run(place):
                trainer.resume(place, settings, on_event=self._forward, stop_signal=self.stop_signal)
            else:
                config = TrainConfig(**settings)
                trainer.train(config, out=place, on_event=self._forward, stop_signal=self.stop_signal)
        except Interrupted:  # its remedy would continue this training alone
            self.check_signal()
            raise
        return resolve_model(place)

    def _forward(self, event: Event) -> None:
        if not (isinstance(event, Notice) and event.routine):
            self.on_event(event)

    def _change(self, start: ResolvedModel, step: Step, file: Path) -> None:
        """Change the network of a model by one step, and write it to a file."""
        network = load_network(start)
        changes = [*start.header.compression, *self._apply(network, start, step)]
        header = replace(
            start.header,
            arguments={**start.header.arguments, "compression": changes},
            temperature=self._temperature(network, start.header),
            guarantee=None,  # what was measured about the answers of the start model is not known of this one
            risk={},
            page_risk={},
            risk_companions=(),
            metrics={},
        )
        with faults_of(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(file, header, pack(changes, network.state_dict()))

    def _apply(self, network: nn.Module, start: ResolvedModel, step: Step) -> list[Change]:
        if step.kind == "prune":
            assert step.share is not None
            return prune(network, example_input(network, start.header.task), self._training_loss, step.share)
        folded = fold(network)
        if step.kind == "int8":
            return [*folded, *quantize_inputs(network, self._training_loss), *quantize_weights(network, 8)]
        if step.kind == "int4":
            return [*folded, *quantize_weights(network, 4, self._training_loss)]
        return folded

    def _temperature(self, network: nn.Module, header: Header) -> float:
        """Return the temperature that calibrates a network; for lines and pages, that of its start model."""
        if header.task != "digit":
            return header.temperature
        logits = infer(with_plain_weights(copy.deepcopy(network)), self._validation_digits.images)
        return fit_temperature(logits, self._validation_digits.labels, least=header.temperature)

    @functools.cached_property
    def _validation_digits(self) -> Digits:
        return take_split(load_dataset(self.data), "validation")

    def _training_loss(self, network: nn.Module) -> Tensor:
        """Return the mean loss of a network on a few batches of training examples."""
        seed_random(torch.device("cpu"), SEED)
        steps = (step % self.task.steps for step in range(BATCHES))
        return torch.stack([self.task.loss(network, 0, step, progress=1.0) for step in steps]).mean()

    @functools.cached_property
    def task(self) -> TrainingTask:
        """The examples on which the model was trained, with their loss."""
        fields = {"start": str(self.original.path), "data": self.data, "seed": SEED}
        config = replace(TrainConfig(**with_start(fields)), device="cpu")
        with trainer.separate_random_numbers(config):
            setup, _ = prepare(config)
        return setup.task

    def validate(self, model: ResolvedModel, steps: str) -> TriedModel:
        """Return the size of a model, and its accuracy on the validation examples."""
        header, tensors = read_checkpoint(model.path, model.sha256)
        network = open_network(model)
        summary = summarize(network, header.task)
        ece, n = None, self.task.sizes["validation"]
        if header.task == "digit":
            result = evaluate(model, self.data, split="validation", device="cpu", runtime="torch")
            accuracy, n, ece = result.accuracy, result.n, result.ece
        else:
            accuracy = self.task.validate(network)[1]
        low, high = wilson_interval(round(accuracy * n), n)
        return TriedModel(
            steps=steps,
            checkpoint=str(model.path),
            accuracy=accuracy,
            accuracy_low=low,
            accuracy_high=high,
            ece=ece,
            weights_bytes=sum(tensor.nbytes for tensor in tensors.values()),
            size_bytes=model.path.stat().st_size,
            parameters=summary.parameters,
            macs=summary.macs,
        )


@contextlib.contextmanager
def _opened(compression: _Compression, steps: str, force: bool) -> Iterator[None]:
    """Hold the lock of the folder, whose finished steps and model must be of the same compression."""
    place, original = compression.folder, compression.original
    if place.resolve() in original.path.resolve().parents:
        cause = f"The model {original.name} lies in the folder {place}, which the result would replace."
        raise OutputError(cause, REMEDY)
    if place.exists() and not place.is_dir():
        raise OutputError(f"{place} is no folder.", REMEDY)
    settings = {
        "model": original.sha256,
        "data": compression.data,
        "epochs": compression.epochs,
        "device": compression.device,
        "data_digest": compression.task.digest,
        "version": digitcli.__version__,
    }
    with faults_of(place):
        if not settings.keys() <= _stored(place / COMPRESSION_SETTINGS_FILE).keys():
            _check_unused(place)
        place.mkdir(parents=True, exist_ok=True)
    with locked(place, OWN_FILES):
        with faults_of(place):
            _make_room(place, settings, steps, force)
        yield


def _check_unused(place: Path) -> None:
    """Check that a folder holds nothing but what a start may have left.

    Raises:
        OutputError: it holds other files.
        OSError: it cannot be read.
    """
    own = (LOCK_FILE, f".{COMPRESSION_SETTINGS_FILE}.*.part")
    names = sorted(path.name for path in place.iterdir()) if place.exists() else []
    if foreign := [name for name in names if not any(Path(name).match(pattern) for pattern in own)]:
        cause = f"{place} holds other files than those of a compression, for example {foreign[0]}."
        raise OutputError(cause, REMEDY)


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


def _finish(
    compression: _Compression, model: ResolvedModel, tried: Sequence[TriedModel]
) -> CompressionResult:
    """Test the model of all steps, and write it with the figures; its header says what it was made from."""
    original, place = compression.original, compression.folder
    test = test_before = None
    if original.header.task == "digit":
        compression.on_event(Notice("Testing the compressed model", routine=True))
        test, test_before = (_test(each, compression.data) for each in (model, original))
    header, tensors = read_checkpoint(model.path, model.sha256)
    metrics = {"validation_accuracy": tried[-1].accuracy, "test_accuracy": test.accuracy if test else None}
    header = replace(header, metrics=metrics, start=describe_start(original))
    write_checkpoint(place / MODEL_FILE, header, tensors)
    result = CompressionResult(
        model=original.id,
        folder=str(place),
        checkpoint=str(place / MODEL_FILE),
        unit=original.header.task,
        n=compression.task.sizes["validation"],
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
