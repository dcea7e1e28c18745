"""The start model of a run: what is checked before the first step, and the comparison with it at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from digitcli.errors import ModelError, UsageError
from digitcli.events import Notice, OnEvent
from digitcli.inference.checkpoint import has_learned_more, recipes_of
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import open_network, place_network
from digitcli.training.digit_task import DigitTask
from digitcli.training.original import OriginalData, OriginalDigits
from digitcli.training.run_folder import Saved
from digitcli.training.task import TrainingTask

# The number of validation examples of which a model that reads 70 % of all examples reads every one with a
# probability of 0.03 only.
LEAST_VALIDATION_SIZE = 10


def describe_start_model(start: ResolvedModel | None, saved: Saved | None) -> dict[str, Any]:
    """Return what a checkpoint says about the start model; a resumed run keeps what it said before."""
    if saved is not None:
        return saved[0].start
    return {} if start is None else describe_start(start)


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
    original: OriginalData | None,
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
            on_event(Notice(f"{cause}, so forgetting is not measured; --original names them."))
        return
    if rehearse and original.digest == task.digest:
        raise UsageError("--original and --data hold the same digits.", "Name other data for one of them.")
    if isinstance(original, OriginalDigits) and original.digest != header.dataset.get("digest"):
        cause = f"The original data '{original.name}' are not those that {start.name} was trained on"
        on_event(Notice(f"{cause}; they are used all the same."))


def compare_with_start(
    start: Mapping[str, Any],
    name: str,
    network: nn.Module,
    task: TrainingTask,
    original: OriginalData | None,
    device: torch.device,
    on_event: OnEvent,
    known: Mapping[str, float],
) -> dict[str, Any]:
    """Return the fields of a `TrainResult` that compare a trained network with its start model.

    The start model is tested only now, after all choices. If its file is no longer there, or holds another
    model, the accuracies before the training are None.

    start: What the checkpoint says about the start model.
    name: The name of the start model.
    known: The accuracies before the training, if they were measured already; otherwise empty.
    """
    fields: dict[str, Any] = {"start": start.get("model")}
    if original is not None:
        fields |= {
            "original": original.name,
            "original_accuracy": original.test_accuracy(network),
            "original_test_size": original.test_size,
        }
    if known:
        return {**fields, **known}
    try:
        model = resolve_model(name)
        before = place_network(open_network(model), device, model.header.task)
    except ModelError as error:
        on_event(Notice(f"The accuracy before the training is not reported: {error.cause}"))
        return fields
    if model.sha256 != start.get("sha256"):
        on_event(Notice(f"The accuracy before the training is not reported: {name} is another model now."))
        return fields
    fields["test_accuracy_before"] = task.test(before).test_accuracy
    if original is not None:
        fields["original_accuracy_before"] = original.test_accuracy(before)
    return fields
