"""The start model of a run: its data, and what is checked before the first step.

A run may take a share of each batch from the original data, those that the start model was trained on, and
measures on their test part what it has forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from digitcli.architectures.registry import find_architecture
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import UsageError
from digitcli.evaluation.metrics import accuracy
from digitcli.events import Notice, OnEvent
from digitcli.inference.checkpoint import has_learned_more, recipes_of
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import infer
from digitcli.training.configuration import TrainConfig
from digitcli.training.digit_task import DigitTask
from digitcli.training.task import TrainingTask

LEAST_VALIDATION_SIZE = 10  # of which a model that reads 70 % reads every one with a probability of 0.03 only


class OriginalDigits:
    """Single digits that the start model was trained on; `train` are those for training."""

    def __init__(self, name: str) -> None:
        dataset = load_dataset(name)
        self.name, self.digest = dataset.name, dataset.digest
        splits = split(dataset)
        self.train, self._test = splits.train, splits.test
        self.test_size = len(splits.test)

    def test_accuracy(self, network: nn.Module) -> float:
        """Return the accuracy on the test digits."""
        return accuracy(infer(network, self._test.images), torch.from_numpy(self._test.labels))


def load_original(config: TrainConfig) -> OriginalDigits | None:
    """Load the original data of a run; None if it has none, or if its architecture composes scenes."""
    if config.original is None or find_architecture(config.arch).task != "digit":
        return None
    return OriginalDigits(config.original)


def describe_start(start: ResolvedModel) -> dict[str, Any]:
    """Return what the checkpoint of a model says about the one that it was made from."""
    return {
        "model": start.id,
        "sha256": start.sha256,
        "temperature": start.header.temperature,
        "recipes": list(recipes_of(start.header)),
        "digest": start.header.dataset.get("digest"),
        "knows_digits": not has_learned_more(start.header),
    }


def least_temperature(start: Mapping[str, Any], task: TrainingTask) -> float:
    """Return the temperature for the case that all validation examples are read correctly.

    Nothing but the start model then tells how sure a network is that was trained with this loss. With few
    validation examples it may be right by chance, and the temperature is 1 as in other runs.
    """
    is_known = task.sizes["validation"] >= LEAST_VALIDATION_SIZE
    return float(start.get("temperature", 1.0)) if is_known else 1.0


def check_start_model(
    start: ResolvedModel,
    task: TrainingTask,
    original: OriginalDigits | None,
    rehearse: float,
    on_event: OnEvent,
) -> None:
    """Check that a start model and the original data fit the new data, and report what falsifies the result.

    Raises:
        UsageError: the model reads other characters, or the original data are the new data.
    """
    header = start.header
    if isinstance(task, DigitTask) and (note := task.describe_overlap("the start model", [start])):
        on_event(Notice(note))
    alphabet = task.header.get("alphabet", header.alphabet)
    if alphabet != header.alphabet:
        cause = f"{start.name} reads the characters {header.alphabet}, but '{task.name}' has {alphabet}."
        raise UsageError(cause, "Start from a model that reads the same characters, or leave --from out.")
    if original is None:
        if task.unit == "digit" and header.dataset.get("digest") != task.digest:
            cause = f"It is not known where the data are on which {start.name} was trained"
            on_event(Notice(f"{cause}, so forgetting is not measured."))
    elif rehearse and original.digest == task.digest:
        cause = f"'{task.name}' has the same digits as '{original.name}', on which {start.name} was trained."
        raise UsageError(cause, "Leave --rehearse out.")
    elif original.digest != header.dataset.get("digest"):
        cause = f"The original data '{original.name}' are not those that {start.name} was trained on"
        on_event(Notice(f"{cause}; they are used all the same."))
