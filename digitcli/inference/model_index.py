"""What can be trained and what is shipped."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from digitcli.architectures.registry import architectures, create_model, find_architecture, is_architecture
from digitcli.errors import ModelError, did_you_mean
from digitcli.inference.checkpoint import Header, read_header, shipped_models

if TYPE_CHECKING:  # what loads torch waits until a name is known
    from torch import nn

    from digitcli.architectures.summary import Summary


@dataclass(frozen=True)
class ModelRow:
    """An architecture, with what is known of its shipped weights.

    `size_bytes` is the shipped file, or else what the parameters take as float32; `accuracy` is that of the
    shipped weights on the test set they were judged by, from 0 to 1. A plug-in that cannot be imported has
    no figures.
    """

    name: str
    family: str
    task: str
    paper: str
    parameters: int | None
    macs: int | None
    shipped: bool
    size_bytes: int | None
    accuracy: float | None


@dataclass(frozen=True)
class ModelDescription:
    """One architecture or model: what its docstring says, its layers, and its checkpoint's header if any."""

    name: str
    description: str
    summary: Summary
    header: Header | None


def list_models(shipped_only: bool = False) -> list[ModelRow]:
    """Every architecture and every shipped model.

    Raises:
        ModelError: shipped weights are damaged.
    """
    shipped = shipped_models()
    names = [*architectures(), *(name for name in shipped if name not in architectures())]
    return [_row(name) for name in names if name in shipped or not shipped_only]


def describe_model(name: str) -> ModelDescription:
    """The layers of an architecture, a shipped model, a checkpoint file or a run folder.

    Raises:
        ModelError: neither an architecture nor a model, or a damaged or foreign file.
    """
    network, header = open_or_create(name)
    from digitcli.architectures.summary import summarize

    architecture = find_architecture(header.architecture if header else name)
    description = architecture.load().__doc__ or ""
    with architecture.used():
        summary = summarize(network, architecture.task)
    return ModelDescription(name, description, summary, header)


def open_or_create(name: str) -> tuple[nn.Module, Header | None]:
    """The trained network of that name and its header; fresh weights for an architecture that ships none.

    Raises:
        ModelError: neither an architecture nor a model, or a damaged or foreign file.
    """
    known = {**architectures(), **shipped_models()}
    if is_architecture(name) and name not in shipped_models():
        return create_model(name), None
    if name in known or os.path.lexists(name):
        from digitcli.inference.torch_runtime import open_model

        return open_model(name)
    cause = f"There is no architecture, shipped model, checkpoint or run folder '{name}'."
    raise ModelError(cause, did_you_mean(name, known))


def _row(name: str) -> ModelRow:
    from digitcli.architectures.summary import summarize

    path = shipped_models().get(name)
    header = read_header(path) if path else None
    architecture = find_architecture(header.architecture if header else name)
    summary = None
    with contextlib.suppress(ModelError), architecture.used():  # a bad plug-in must not hide the others
        network = create_model(architecture.name, **(header.arguments if header else {}))
        summary = summarize(network, architecture.task)
    float32_bytes = 4 * summary.parameters if summary else None
    return ModelRow(
        name=name,
        family=architecture.family,
        task=architecture.task,
        paper=architecture.paper,
        parameters=summary.parameters if summary else None,
        macs=summary.macs if summary else None,
        shipped=path is not None,
        size_bytes=path.stat().st_size if path else float32_bytes,
        accuracy=header.metrics.get("test_accuracy") if header else None,
    )
