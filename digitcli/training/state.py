"""The state of a training run, and its conversion to and from the contents of a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.errors import ModelError
from digitcli.events import EpochDone


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """A member of an ensemble; the fields are those of `TrainResult`."""

    architecture: str
    seed: int
    checkpoint: str
    validation_accuracy: float
    test_accuracy: float | None
    test_nll: float | None


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run. Accuracies are fractions from 0 to 1.

    architecture: The name of the architecture; "ensemble" for several networks.
    run: The run folder; None in a dry run, which writes nothing.
    checkpoint: The file of the trained model; None in a dry run.
    seed: The random seed.
    epochs: The number of epochs, of all members; it has a fraction if a time limit ended the last one.
    train_seconds: The time of the steps, validations and saves, and of synthetic characters before them.
    total_seconds: The time of the whole command, with loading and testing.
    validation_accuracy: The accuracy of the chosen weights on the validation examples.
    test_size: The number of test examples.
    test_accuracy, test_nll, test_ece: The results on the test examples; None in a dry run. The negative
        log-likelihood is in nats, the expected calibration error is a fraction.
    temperature: The divisor of the logits that calibrates the confidence.
    parameters: The number of parameters.
    trained_parameters: The number of those that are not frozen; None for an ensemble.
    device, dtype: Where, and in which number format, the network was trained.
    unreadable: The number of files of the dataset that could not be read.
    data: The name or path of the dataset.
    misread: The indices of the test examples that the model reads wrongly; None in a dry run and for an
        ensemble.
    members: The members of an ensemble; empty for one network.
    best_member: The index of the member with the highest test accuracy; None for one network.
    gained, lost: The numbers of test examples that only the ensemble reads correctly, and that only this
        member does; None for one network.
    start: The model whose weights the run started from, with the beginning of its digest, if there is one.
    test_accuracy_before: The accuracy of that model on the test examples; None if it is not there any more.
    original: The name of the dataset that it was trained on, if it is known and is not `data`.
    original_accuracy, original_accuracy_before: The accuracy of the trained model and of the start model on
        the test examples of that dataset.
    original_test_size: The number of these.
    """

    architecture: str
    run: str | None
    checkpoint: str | None
    seed: int
    epochs: float
    train_seconds: float
    total_seconds: float
    validation_accuracy: float
    test_size: int | None = None
    test_accuracy: float | None = None
    test_nll: float | None = None
    test_ece: float | None = None
    temperature: float = 1.0
    parameters: int
    trained_parameters: int | None = None
    device: str
    dtype: str
    unreadable: int
    data: str
    misread: tuple[int, ...] | None = None
    members: tuple[MemberResult, ...] = ()
    best_member: int | None = None
    gained: int | None = None
    lost: int | None = None
    start: str | None = None
    test_accuracy_before: float | None = None
    original: str | None = None
    original_accuracy: float | None = None
    original_accuracy_before: float | None = None
    original_test_size: int | None = None


@dataclass
class TrainingState:
    """Everything that changes while a network is trained.

    It holds no random state: the order of the examples, the augmentation and dropout follow from the seed,
    the epoch and the step.

    network: The network in training.
    average: The exponential moving average of its weights, if the recipe asks for one.
    optimizer: The optimizer of the network.
    epoch: The number of complete epochs.
    step: The number of steps taken in the current epoch.
    steps_total: The number of steps taken in all epochs.
    loss_sum: The sum of the losses of the current epoch's steps.
    seconds: The training time so far.
    history: The figures of the complete epochs.
    best: The weights of the best epoch, if `patience` asks for them.
    result: The result of the run, once it is finished.
    stop: The number of the signal that any of several processes received before the last step.
    """

    network: nn.Module
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    steps_total: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[EpochDone] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    result: TrainResult | None = None
    stop: int | None = None

    def weights(self) -> nn.Module:
        """Return the network whose weights are validated and kept: the average, if there is one."""
        return self.network if self.average is None else self.average

    def best_epoch(self) -> int:
        """Return the number of the first epoch with the best validation accuracy, or 0 before the first."""
        accuracies = [row.validation_accuracy for row in self.history]
        return accuracies.index(max(accuracies)) + 1 if accuracies else 0

    def chosen_epoch(self) -> EpochDone:
        """Return the epoch whose weights the model has: the best if its weights are kept, else the last."""
        return self.history[-1 if self.best is None else self.best_epoch() - 1]

    def keep_best(self) -> None:
        """Copy the weights if the last epoch is better than all before it."""
        if self.best_epoch() == len(self.history):
            weights = self.weights().state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def counters(self) -> dict[str, Any]:
        """Return the numbers of the state, which a checkpoint holds in its JSON header."""
        numbers = ("epoch", "step", "steps_total", "loss_sum", "seconds")
        return {
            **{name: getattr(self, name) for name in numbers},
            "history": [dataclasses.asdict(row) for row in self.history],
            "result": dataclasses.asdict(self.result) if self.result else None,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state by unique names, without any tensor twice."""
        groups: dict[str, dict[str, Any]] = {"network": self.network.state_dict()}
        if self.average is not None:
            groups["average"] = self.average.state_dict()
        if self.best is not None:
            groups["best"] = self.best
        for index, slots in self.optimizer.state_dict()["state"].items():
            groups[f"optimizer.{index}"] = slots
        return {
            f"{group}.{name}": value
            for group, values in groups.items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }

    def restore(self, counters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Set the state to the results of `counters` and `tensors`.

        Raises:
            ModelError: The counters or tensors belong to another network.
        """
        try:
            self.network.load_state_dict(_group(tensors, "network"))
            if self.average is not None:
                self.average.load_state_dict(_group(tensors, "average"))
            self.best = _group(tensors, "best") or None
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": _slots(tensors)})
            self._match_strides()
            for name, value in counters.items():
                setattr(self, name, value)
            self.history = [EpochDone(**row) for row in counters["history"]]
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            cause = f"The saved state does not fit this run: {error}."
            raise ModelError(cause, "Start a new run.") from error

    def _match_strides(self) -> None:
        """Give the tensors of the optimizer the strides of their parameters, which fused optimizers need."""
        for parameter, slots in self.optimizer.state.items():
            for name, value in slots.items():
                if value.shape == parameter.shape:
                    slots[name] = torch.empty_like(parameter).copy_(value)


def model_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the model from the tensors of a state.

    They are the weights of the best epoch if they are kept, else the average, else the network.
    """
    for group in ("best", "average", "network"):
        if weights := _group(tensors, group):
            return weights
    return {}


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = group + "."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _slots(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _group(tensors, "optimizer").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = tensor
    return slots
