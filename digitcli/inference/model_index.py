"""List and describe the architectures and the shipped models."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.architectures.registry import architectures, create_model, find_architecture, is_architecture
from digitcli.errors import ModelError, did_you_mean
from digitcli.inference.checkpoint import Header, read_header
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models

if TYPE_CHECKING:  # importing these at run time would load torch
    from torch import nn

    from digitcli.architectures.summary import Summary


@dataclass(frozen=True)
class ModelRow:
    """An architecture, or a model that was shipped. A plug-in that cannot be imported has no figures.

    name, family, task, paper: as in the registry of architectures.
    parameters: the number of weights.
    macs: the multiplications for one image, or for one line of 200 x 40 pixels.
    shipped: whether weights come with the package.
    size_bytes: the size of the shipped file, or the size of the parameters as float32.
    accuracy: the accuracy of the shipped weights on their test set, from 0 to 1.
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
class MemberDescription:
    """A member of an ensemble; an accuracy is None if its checkpoint does not state it."""

    architecture: str
    seed: int | None
    parameters: int
    validation_accuracy: float | None
    test_accuracy: float | None


@dataclass(frozen=True)
class ModelDescription:
    """One architecture or model.

    description: the summary and the paper from the docstring of the architecture.
    summary: its layers.
    id: its short name and the start of its digest; None for an architecture without weights.
    header: the header of its checkpoint; None for an architecture without weights.
    members: the members of an ensemble; empty for another model.
    """

    name: str
    id: str | None
    description: str
    summary: Summary
    header: Header | None
    members: tuple[MemberDescription, ...] = ()


def list_models(shipped_only: bool = False) -> list[ModelRow]:
    """Return every architecture and every shipped model, or the shipped models only.

    Raises:
        ModelError: a shipped checkpoint is damaged.
    """
    shipped = shipped_models()
    names = [*architectures(), *(name for name in shipped if name not in architectures())]
    return [_row(name, shipped.get(name)) for name in names if name in shipped or not shipped_only]


def describe_model(name: str) -> ModelDescription:
    """Return the layers of an architecture, a shipped model, a checkpoint file or a run folder.

    Raises:
        ModelError: there is no such architecture or model, or its file is damaged.
    """
    network, model = open_or_create(name)
    from digitcli.architectures.averaging import Ensemble
    from digitcli.architectures.summary import summarize

    architecture = find_architecture(model.header.architecture if model else name)
    lines = (line.strip() for line in (architecture.load().__doc__ or "").strip().splitlines())
    # The first two paragraphs; what follows is for those who call the function.
    description = "\n\n".join("\n".join(lines).split("\n\n")[:2])
    with architecture.plugin_errors():
        summary = summarize(network, architecture.task)
    if model is None:
        return ModelDescription(name, None, description, summary, None)
    members: tuple[MemberDescription, ...] = ()
    if isinstance(network, Ensemble):
        members = tuple(
            MemberDescription(
                architecture=member["architecture"],
                seed=member.get("seed"),
                parameters=sum(weights.numel() for weights in part.parameters()),
                validation_accuracy=member.get("metrics", {}).get("validation_accuracy"),
                test_accuracy=member.get("metrics", {}).get("test_accuracy"),
            )
            for member, part in zip(model.header.arguments["members"], network.members, strict=True)
        )
    return ModelDescription(name, model.id, description, summary, model.header, members)


def open_or_create(name: str) -> tuple[nn.Module, ResolvedModel | None]:
    """Open a trained network, or create one with new weights for an architecture that is not shipped.

    Raises:
        ModelError: there is no such architecture or model, or its file is damaged.
    """
    shipped = shipped_models()
    if is_architecture(name) and name not in shipped:
        return create_model(name), None
    if name in shipped or os.path.lexists(name):
        from digitcli.inference.torch_runtime import open_network

        model = resolve_model(name)
        return open_network(model), model
    cause = f"There is no architecture, shipped model, checkpoint or run folder '{name}'."
    raise ModelError(cause, did_you_mean(name, {**architectures(), **shipped}))


def _row(name: str, path: Path | None) -> ModelRow:
    from digitcli.architectures.compression import with_plain_weights
    from digitcli.architectures.summary import summarize

    header = read_header(path) if path else None
    architecture = find_architecture(header.architecture if header else name)
    summary = None
    # A plug-in that fails must not hide the others.
    with contextlib.suppress(ModelError), architecture.plugin_errors():
        network = create_model(architecture.name, **(header.arguments if header else {}))
        summary = summarize(with_plain_weights(network), architecture.task)
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
