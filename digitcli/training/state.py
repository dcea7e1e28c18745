"""Where a training run stands, and its way into a checkpoint and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.errors import ModelError
from digitcli.training.events import EpochDone, TrainResult


@dataclass
class TrainingState:
    """Everything that changes while a network is trained.

    Random numbers are no part of it: order, augmentation and dropout follow from seed, epoch and step.
    """

    network: nn.Module
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    epoch: int = 0  # epochs that are complete
    step: int = 0  # steps taken in the epoch under way
    steps_total: int = 0
    loss_sum: float = 0.0  # over the steps of the epoch under way
    seconds: float = 0.0
    history: list[EpochDone] = field(default_factory=list)
    best: dict[str, Tensor] | None = None  # the weights of the best epoch, where patience asks for them
    result: TrainResult | None = None
    stop: int | None = None  # the number of a signal that a process got in the last step

    def weights(self) -> nn.Module:
        """The network whose weights people use: the average where there is one."""
        return self.network if self.average is None else self.average

    def best_epoch(self) -> int:
        """The number of the first epoch with the best validation accuracy; 0 before the first epoch."""
        accuracies = [row.validation_accuracy for row in self.history]
        return accuracies.index(max(accuracies)) + 1 if accuracies else 0

    def chosen_epoch(self) -> EpochDone:
        """The epoch whose weights are the model's: the best where its weights are kept, else the latest."""
        return self.history[-1 if self.best is None else self.best_epoch() - 1]

    def keep_best(self) -> None:
        """Copy the weights if the latest epoch is better than all before it."""
        if self.best_epoch() == len(self.history):
            latest = self.weights().state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in latest.items()}

    def has_best(self) -> bool:
        """Whether the weights of the best epoch, if there was one, are kept, or are there to be kept now."""
        if self.best is None and self.history and self.step == 0:
            self.keep_best()
        return self.best is not None or not self.history

    def counters(self) -> dict[str, Any]:
        """The part that goes into a header as JSON."""
        plain = ("epoch", "step", "steps_total", "loss_sum", "seconds")
        return {
            **{name: getattr(self, name) for name in plain},
            "history": [dataclasses.asdict(row) for row in self.history],
            "result": dataclasses.asdict(self.result) if self.result else None,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The part that goes into a file as tensors; none of them is there twice."""
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
        """Take over what `counters` and `tensors` gave.

        Raises:
            ModelError: they belong to another network.
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
        """Lay out the optimizer's tensors as their parameters are, which fused optimizers rely on."""
        for parameter, slots in self.optimizer.state.items():
            for name, value in slots.items():
                if value.shape == parameter.shape:
                    slots[name] = torch.empty_like(parameter).copy_(value)


def model_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a state's tensors those of the model: the best epoch's, else the average's, else the network's."""
    for group in ("best", "average", "network"):
        if found := _group(tensors, group):
            return found
    return {}


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    start = group + "."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _slots(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _group(tensors, "optimizer").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = tensor
    return slots
