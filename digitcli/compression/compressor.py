"""Make compressed models, each in a folder of its own, and validate them."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor, nn

from digitcli.architectures.compression import Change, pack, with_plain_weights
from digitcli.architectures.registry import find_architecture, resolve_recipe
from digitcli.architectures.summary import example_input, summarize
from digitcli.atomic_write import faults_of
from digitcli.compression.changes import fold, prune, quantize_inputs, quantize_weights
from digitcli.compression.steps import DEFAULT_EPOCHS, TRAINED, Step, TriedModel, join_steps
from digitcli.data.dataset import Digits
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.metrics import wilson_interval
from digitcli.evaluation.splits import take_split
from digitcli.events import Event, Notice, OnEvent
from digitcli.inference.checkpoint import Header, is_run, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import infer, load_network, open_network
from digitcli.training import trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.setup import StopSignal, prepare
from digitcli.training.task import TrainingTask, seed_random
from digitcli.training.transfer import with_start

BATCHES = 8  # of training examples, for the gradient of the pruning and for the ranges of inputs
STEPS_FOLDER = "steps"
UNTRAINED_FILE = "untrained.safetensors"  # the model of a step before its fine-tuning
SEED = 0  # of the fine-tuning and of the examples on which inputs are measured


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """The settings of a compression.

    model: the model that is compressed.
    data: the dataset of the fine-tuning and of the validation, as `digitcli train` takes it.
    epochs: how often fine-tuning passes over the data after each step that needs it.
    device: where fine-tuning computes.
    """

    model: str
    data: str = TrainConfig.data
    epochs: int = DEFAULT_EPOCHS
    device: str = "auto"


@dataclass(frozen=True)
class Compressor:
    """Makes compressed models in a folder, in which finished steps are found again.

    original: the model that is compressed, from whose answers fine-tuning learns.
    """

    original: ResolvedModel
    config: CompressionConfig
    folder: Path
    on_event: OnEvent
    stop_signal: StopSignal

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
        place = self.folder / STEPS_FOLDER / quote(join_steps(steps), safe=",=")
        teacher = (str(self.original.path.resolve()),)
        if step.kind == "distill":
            return self._trained(place, {"arch": step.arch, "teacher": teacher})
        file = place / UNTRAINED_FILE
        if not file.exists():
            self._change(start, step, file)
        if step.kind not in TRAINED or not self.config.epochs:
            return resolve_model(file)
        fields = with_start({"start": str(file.resolve()), "data": self.config.data})
        recipe = {**fields.pop("recipe"), "epochs": self.config.epochs}
        arch = start.header.architecture
        learns = find_architecture(arch).task == "digit" and resolve_recipe(arch).loss == "cross_entropy"
        return self._trained(place, {**fields, "recipe": recipe, "teacher": teacher if learns else ()})

    def _trained(self, place: Path, fields: dict[str, Any]) -> ResolvedModel:
        """Train in a run folder, or continue there."""

        def forward(event: Event) -> None:
            if not (isinstance(event, Notice) and event.routine):
                self.on_event(event)

        common = {"data": self.config.data, "seed": SEED, "device": self.config.device}
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
        seed_random(torch.device("cpu"), SEED)
        losses = [task.loss(network, 0, step % task.steps, progress=1.0) for step in range(BATCHES)]
        return torch.stack(losses).mean()

    @functools.cached_property
    def _task(self) -> TrainingTask:
        """The examples on which the model was trained, with their loss."""
        fields = {"start": str(self.original.path), "data": self.config.data, "seed": SEED}
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
