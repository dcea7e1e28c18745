"""Make compressed models, each in a folder of its own, validate them, and measure their speed."""

from __future__ import annotations

import copy
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.architectures.compression import Change, pack, with_plain_weights
from digitcli.architectures.registry import find_architecture, resolve_recipe
from digitcli.architectures.summary import AllOutputs, example_input, input_shape, summarize
from digitcli.atomic_write import faults_of
from digitcli.benchmarking.measurement import PACKAGES, ExportGraph, GraphRuntime, open_graph, time_calls
from digitcli.benchmarking.report import Candidate
from digitcli.compression.changes import fold, prune, quantize_inputs, quantize_weights
from digitcli.compression.results import (
    BITS,
    DEFAULT_EPOCHS,
    TRAINED,
    Speed,
    Step,
    TriedModel,
    join_steps,
)
from digitcli.data.dataset import Digits
from digitcli.data.loading import load_dataset
from digitcli.errors import DigitcliError, EnvironmentFault, Interrupted
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.metrics import wilson_interval
from digitcli.evaluation.splits import take_split
from digitcli.events import Event, Notice, OnEvent
from digitcli.inference.checkpoint import Header, is_run, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import infer, load_network, open_network, place_network
from digitcli.training import trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.setup import StopSignal, prepare
from digitcli.training.task import TrainingTask, seed_random
from digitcli.training.transfer import with_start

BATCHES = 8  # of training examples, for the gradient of the pruning and for the ranges of inputs
STEPS_FOLDER = "steps"
UNTRAINED_FILE = "untrained.safetensors"  # the model of a step before its fine-tuning
BATCH_SIZES = {"digit": 256, "line": 16, "page": 2}  # the throughput of a CPU hardly grows with more
ROUNDS = 5  # in each of which every model is timed, so that a busy moment of the machine slows all of them
WARM_UP_SECONDS, MIN_CALLS, MIN_SECONDS = 0.02, 3, 0.1  # of a round; chosen by hand: a model takes 2 seconds
Compute = Callable[[Tensor], object]


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """The settings of a compression.

    model: the model that is compressed.
    data: the dataset of the fine-tuning and of the validation, as `digitcli train` takes it.
    epochs: how often fine-tuning passes over the data after each step that needs it.
    device: where fine-tuning computes.
    teacher: the models from whose answers fine-tuning learns; by default the model that is compressed.
    """

    model: str
    data: str = TrainConfig.data
    epochs: int = DEFAULT_EPOCHS
    seed: int = 0
    device: str = "auto"
    teacher: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compressor:
    """Makes compressed models in a folder, in which finished steps are found again.

    original: the model that is compressed.
    computed_bytes: the bytes of the weights of the models whose size alone was computed, by their steps.
    """

    original: ResolvedModel
    config: CompressionConfig
    folder: Path
    on_event: OnEvent
    stop_signal: StopSignal
    computed_bytes: dict[str, int] = field(default_factory=dict)

    def make(self, steps: tuple[Step, ...]) -> TriedModel:
        """Make the model of some steps, and validate it; without steps, validate the original.

        Raises:
            UsageError: a step cannot be made with this model.
            EnvironmentFault: a package that a step needs is not installed.
            Interrupted: `stop_signal` returned a number; the finished steps are kept.
        """
        self.check_signal()
        return self._validate(self._made(steps), join_steps(steps))

    def check_signal(self) -> None:
        """Stop if a signal was received.

        Raises:
            Interrupted: `stop_signal` returned a number.
        """
        if (number := self.stop_signal()) is not None:
            raise Interrupted(number, "Stopped.", "The same command continues with the finished models.")

    def _made(self, steps: tuple[Step, ...]) -> ResolvedModel:
        """Return the model of some steps, which are made if they are not in the folder."""
        if not steps:
            return self.original
        *earlier, step = steps
        start = self._made(tuple(earlier))
        place = self._folder_of(steps)
        if step.kind == "distill":
            return self._trained(place, {"arch": step.arch, "teacher": self._teacher})
        file = place / UNTRAINED_FILE
        if not file.exists():
            self._change(start, step, file)
        if step.kind not in TRAINED or not self.config.epochs:
            return resolve_model(file)
        fields = with_start({"start": str(file.resolve()), "data": self.config.data})
        recipe = {**fields.pop("recipe"), "epochs": self.config.epochs}
        arch = start.header.architecture
        teacher = self._teacher if learns_from_teacher(arch) else ()
        return self._trained(place, {**fields, "recipe": recipe, "teacher": teacher})

    def _folder_of(self, steps: tuple[Step, ...]) -> Path:
        return self.folder / STEPS_FOLDER / quote(join_steps(steps), safe=",=")

    @property
    def _teacher(self) -> tuple[str, ...]:
        return self.config.teacher or (str(self.original.path.resolve()),)

    def _trained(self, place: Path, fields: dict[str, Any]) -> ResolvedModel:
        """Train in a run folder, or continue there."""

        def forward(event: Event) -> None:
            if not (isinstance(event, Notice) and event.routine):
                self.on_event(event)

        common = {"data": self.config.data, "seed": self.config.seed, "device": self.config.device}
        settings = {**common, **fields}
        try:
            if is_run(place):
                trainer.resume(place, settings, on_event=forward, stop_signal=self.stop_signal)
            else:
                config = TrainConfig(**with_start(settings))
                trainer.train(config, out=place, on_event=forward, stop_signal=self.stop_signal)
        except Interrupted:  # its remedy would continue this training alone
            self.check_signal()
            raise
        return resolve_model(place)

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
            risk_companions=(),
            metrics={},
        )
        with faults_of(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(file, header, pack(changes, network.state_dict()))

    def _temperature(self, network: nn.Module, header: Header) -> float:
        """Return the temperature that calibrates a network; for lines and pages, that of its start model."""
        if header.task != "digit":
            return header.temperature
        logits = infer(with_plain_weights(copy.deepcopy(network)), self._validation_digits.images)
        return fit_temperature(logits, self._validation_digits.labels, least=header.temperature)

    @functools.cached_property
    def _validation_digits(self) -> Digits:
        return take_split(load_dataset(self.config.data), "validation")

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

    def _training_loss(self, network: nn.Module) -> Tensor:
        """Return the mean loss of a network on a few batches of training examples."""
        task = self._task
        seed_random(torch.device("cpu"), self.config.seed)
        losses = [task.loss(network, 0, step % task.steps, progress=1.0) for step in range(BATCHES)]
        return torch.stack(losses).mean()

    @functools.cached_property
    def _task(self) -> TrainingTask:
        """The examples on which the model was trained, with their loss."""
        fields = {"start": str(self.original.path), "data": self.config.data, "seed": self.config.seed}
        config = replace(TrainConfig(**with_start(fields)), device="cpu")
        with trainer.separate_random_numbers(config):
            setup, _ = prepare(config, None, None, lambda event: None, lambda: None)
        return setup.task

    @property
    def data_digest(self) -> str:
        """The hash of the data."""
        return self._task.digest

    @property
    def validation_size(self) -> int:
        """The number of validation examples."""
        return self._task.sizes["validation"]

    def bytes_of(self, steps: tuple[Step, ...]) -> int:
        """Return the bytes of the weights of a model, which need not be trained for it.

        The last step must quantize the weights, and one step at most may come before it.
        """
        *earlier, last = steps
        start = self.original
        if earlier:
            file = self._folder_of(tuple(earlier)) / UNTRAINED_FILE
            if not file.exists():
                self.check_signal()
                self._change(start, earlier[0], file)
            start = resolve_model(file)
        network = load_network(start)
        changes = [*fold(network), *quantize_weights(network, BITS[last.kind])]
        size = sum(tensor.nbytes for tensor in pack(changes, network.state_dict()).values())
        self.computed_bytes[join_steps(steps)] = size
        return size

    def _validate(self, model: ResolvedModel, steps: str) -> TriedModel:
        header, tensors = read_checkpoint(model.path, model.sha256)
        network = open_network(model)
        summary = summarize(network, header.task)
        ece = None
        if header.task == "digit":
            result = evaluate(model, self.config.data, split="validation", device="cpu", runtime="torch")
            accuracy, n, ece = result.accuracy, result.n, result.ece
        else:
            accuracy, n = self._task.validate(network)[1], self._task.sizes["validation"]
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

    def measure_speeds(
        self, tried: Sequence[TriedModel], export_graph: ExportGraph | None
    ) -> list[TriedModel]:
        """Return models with their speeds on the CPU, in PyTorch and in each other runtime that is installed.

        A runtime that cannot compute a model is left out; a notice tells why the first time.
        """
        task = self.original.header.task
        models, told = [], set[str]()
        for each in tried:
            self.check_signal()
            computes, reasons = _open_runtimes(each, task, export_graph)
            models.append(computes)
            for runtime, reason in reasons.items():
                if runtime not in told:
                    self.on_event(Notice(f"{each.steps} is not measured with {runtime}: {reason}"))
            told |= reasons.keys()
        shape = input_shape(open_network(self.original), task)[1:]
        rounds: list[dict[str, list[list[float]]]] = [{name: [] for name in model} for model in models]
        for _ in range(ROUNDS):
            for model, seconds in zip(models, rounds, strict=True):
                for runtime, compute in model.items():
                    self.check_signal()
                    times = [_median_seconds(compute, (size, *shape)) for size in (1, BATCH_SIZES[task])]
                    seconds[runtime].append(times)
        return [
            replace(each, speeds=tuple(_speed(name, BATCH_SIZES[task], times) for name, times in of.items()))
            for each, of in zip(tried, rounds, strict=True)
        ]


def learns_from_teacher(arch: str) -> bool:
    """Return whether an architecture can learn from the answers of the model that is compressed."""
    return find_architecture(arch).task == "digit" and resolve_recipe(arch).loss == "cross_entropy"


def missing_runtimes() -> dict[str, str]:
    """Return the runtimes that cannot be measured here, with the reason."""
    missing = {}
    for runtime, import_package in PACKAGES.items():
        try:
            import_package()
        except EnvironmentFault as error:
            missing[runtime] = f"{error.cause} {error.remedy}"
    return missing


def _open_runtimes(
    tried: TriedModel, task: str, export_graph: ExportGraph | None
) -> tuple[dict[str, Compute], dict[str, str]]:
    """Return what computes a model by runtime, and why other runtimes, which are installed, cannot."""
    model = resolve_model(tried.checkpoint)
    placed = AllOutputs(place_network(open_network(model), torch.device("cpu"), task)).eval()
    computes: dict[str, Compute] = {"torch": placed}
    reasons, missing = {}, missing_runtimes()
    for name in (name for name in PACKAGES if name not in missing):
        try:
            graph, _ = open_graph(name, Candidate(tried.steps, model), open_network(model), export_graph)
            computes[name] = functools.partial(_run_graph, graph)
        except Exception as error:  # exporters of other libraries raise anything
            reasons[name] = error.cause if isinstance(error, DigitcliError) else repr(error)
    return computes, reasons


def _run_graph(graph: GraphRuntime, images: Tensor) -> object:
    return graph.run_batch(images.numpy())


def _speed(runtime: str, batch_size: int, rounds: Sequence[Sequence[float]]) -> Speed:
    """Return a speed from the seconds of a call with one input and of one with a batch in each round."""
    of_one, of_batch = zip(*rounds, strict=True)
    middle, low, high = (1000 * choose(of_one) for choose in (statistics.median, min, max))
    return Speed(runtime, middle, low, high, batch_size / statistics.median(of_batch), batch_size)


def _median_seconds(compute: Compute, shape: tuple[int, ...]) -> float:
    """Return the median time of a call with random inputs of a shape (N, C, H, W)."""
    images = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))
    if isinstance(compute, nn.Module):  # as `infer` gives them
        images = images.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        time_calls(lambda: compute(images), time.perf_counter, 2, WARM_UP_SECONDS)
        seconds = time_calls(lambda: compute(images), time.perf_counter, MIN_CALLS, MIN_SECONDS)
    return statistics.median(seconds)
