"""What can be trained and what is shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from digitcli.architectures.summary import Summary, summarise
from digitcli.checkpoint import Header, read_header, shipped_models
from digitcli.errors import ModelError, did_you_mean
from digitcli.inference import open_model
from digitcli.registry import architectures, create_model, find_architecture


@dataclass(frozen=True)
class ModelRow:
    """An architecture, with what is known of its shipped weights.

    `size_bytes` is the shipped file, or else what the parameters take as float32; `accuracy` is that of the
    shipped weights on the test set they were judged by, from 0 to 1.
    """

    name: str
    family: str
    task: str
    paper: str
    parameters: int
    macs: int
    shipped: bool
    size_bytes: int
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
        ModelError: shipped weights are damaged, or a plug-in cannot be imported.
    """
    shipped = shipped_models()
    names = [*architectures(), *(name for name in shipped if name not in architectures())]
    return [_row(name) for name in names if name in shipped or not shipped_only]


def describe_model(name: str) -> ModelDescription:
    """The layers of an architecture, a shipped model, a checkpoint file or a run folder.

    Raises:
        ModelError: neither an architecture nor a model, or a damaged or foreign file.
    """
    known = {**architectures(), **shipped_models()}
    if name not in known and not Path(name).exists():
        raise ModelError(
            f"There is no architecture, shipped model, checkpoint or run folder '{name}'.",
            did_you_mean(name, known),
        )
    if name in architectures() and name not in shipped_models():
        network, header = create_model(name), None
    else:
        network, header = open_model(name)
    architecture = find_architecture(header.architecture if header else name)
    description = architecture.load().__doc__ or ""
    return ModelDescription(name, description, summarise(network, architecture.task), header)


def _row(name: str) -> ModelRow:
    path = shipped_models().get(name)
    header = read_header(path) if path else None
    architecture = find_architecture(header.architecture if header else name)
    summary = summarise(
        create_model(architecture.name, **(header.arguments if header else {})), architecture.task
    )
    return ModelRow(
        name=name,
        family=architecture.family,
        task=architecture.task,
        paper=architecture.paper,
        parameters=summary.parameters,
        macs=summary.macs,
        shipped=path is not None,
        size_bytes=path.stat().st_size if path else 4 * summary.parameters,
        accuracy=header.metrics.get("test_accuracy") if header else None,
    )
