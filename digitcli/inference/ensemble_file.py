"""Write several models of single digits as one model: a checkpoint of the architecture `ensemble`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitcli.architectures.registry import ENSEMBLE
from digitcli.inference.checkpoint import Header, library_versions, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, check_task
from digitcli.inference.torch_runtime import load_network

if TYPE_CHECKING:
    from torch import Tensor


def write_ensemble(
    path: Path,
    models: Sequence[ResolvedModel],
    *,
    temperature: float = 1.0,
    metrics: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> None:
    """Write a checkpoint that answers with the mean of the calibrated probabilities of several models.

    It holds the weights of all models, in the number format that their files have; integers become floats.

    temperature: the divisor that calibrates the logarithm of the mean.
    metrics, seed: entries of the header.

    Raises:
        ModelError: a file is damaged, or a model does not classify single digits.
        OutputError: the file cannot be written; a file that was there before is unchanged.
    """
    tensors: dict[str, Tensor] = {}
    check_task(models, "digit")
    for number, model in enumerate(models):
        _, weights = read_checkpoint(model.path, model.sha256)
        if model.header.weight_bits:  # integers of a member would not be unpacked
            weights = load_network(model).state_dict()
        tensors |= {f"members.{number}.{name}": tensor for name, tensor in weights.items()}
    members = [model.header for model in models]
    start = _shared([member.start for member in members])
    dataset = _shared([member.dataset for member in members])
    if names := [str(member.dataset["name"]) for member in members if "name" in member.dataset]:
        dataset["name"] = " + ".join(dict.fromkeys(names))
    header = Header(
        architecture=ENSEMBLE.name,
        arguments={"members": [dataclasses.asdict(member) for member in members]},
        recipe=_common([member.recipe for member in members]),
        seed=seed,
        dataset=dataset,
        teacher=_common([member.teacher for member in members]),
        start=start if "sha256" in start else {},
        metrics=dict(metrics or {}),
        temperature=temperature,
        versions=library_versions(),
    )
    write_checkpoint(path, header, tensors)


def _common(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the entry that all members have; empty if they differ."""
    first, *others = entries
    return first if all(other == first for other in others) else {}


def _shared(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the names and values that are the same in the entries of all members."""
    first, *others = entries
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
