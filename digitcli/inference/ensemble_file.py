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
    header = Header(
        architecture=ENSEMBLE.name,
        arguments={"members": [dataclasses.asdict(member) for member in members]},
        recipe=_common([member.recipe for member in members]),
        seed=seed,
        dataset=_common_dataset([member.dataset for member in members]),
        teacher=_common([member.teacher for member in members]),
        start=_common_start([member.start for member in members]),
        metrics=dict(metrics or {}),
        temperature=temperature,
        versions=library_versions(),
    )
    write_checkpoint(path, header, tensors)


def _common(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the entry that all members have; empty if they differ."""
    first, *others = entries
    return first if all(other == first for other in others) else {}


def _common_start(starts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the entries of all members say alike, if they started from the same model."""
    first, *others = starts
    same = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    return same if "sha256" in same else {}


def _common_dataset(datasets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the names of all datasets, and the other entries that are the same for all of them."""
    first, *others = datasets
    same = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    names = [str(dataset["name"]) for dataset in datasets if "name" in dataset]
    return {**same, "name": " + ".join(dict.fromkeys(names))} if names else same
