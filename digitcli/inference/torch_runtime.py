"""Run networks with PyTorch: load their weights, place them on a device, compute their outputs.

`write_ensemble` writes several models of single digits as one: a checkpoint of the architecture `ensemble`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.architectures.averaging import Ensemble
from digitcli.architectures.compression import unpack, with_plain_weights
from digitcli.architectures.registry import ENSEMBLE, accepts_argument, create_model
from digitcli.errors import EnvironmentFault, ModelError, UsageError
from digitcli.inference.checkpoint import (
    REPLACE_REMEDY,
    Header,
    library_versions,
    read_checkpoint,
    write_checkpoint,
)
from digitcli.inference.devices import agrees_with_cpu, choose_device
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, check_task, resolve_models
from digitcli.inference.runtime import DIGIT_BATCH_SIZE, LineOutput, run_lines


class TorchRuntime:
    """A `Runtime` that computes a PyTorch network on the device of its weights, or on another."""

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device | None = None) -> None:
        self.network = network
        self._device = device_of(network) if device is None else device
        self.device = str(self._device)

    @torch.inference_mode()
    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute the outputs in evaluation mode, and restore the mode of the network afterwards."""
        batch = as_input(torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self._device))
        with evaluation_mode(self.network):
            outputs = self.network.locate(batch) if hasattr(self.network, "locate") else self.network(batch)  # type: ignore[operator]
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(part.float().cpu().numpy() for part in parts)


@torch.inference_mode()
def infer(
    network: nn.Module, images: npt.NDArray[np.uint8] | Tensor, batch_size: int = DIGIT_BATCH_SIZE
) -> Tensor:
    """Return the logits (N, 10), float32 on the CPU, of a network for images (N, 28, 28), uint8 with ink 255.

    The network computes in evaluation mode, where its weights are, and is left in the mode that it had.
    """
    if not isinstance(images, Tensor):
        images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    device = device_of(network)
    with evaluation_mode(network):
        logits = [network(as_input(batch.to(device))).float().cpu() for batch in images.split(batch_size)]
    return torch.cat(logits)  # N, 10


def infer_lines(network: nn.Module, line_crops: Sequence[npt.NDArray[np.uint8]]) -> list[LineOutput]:
    """Return the outputs of a network for line crops (40, W), uint8 with ink 255, see `infer`."""
    return run_lines(TorchRuntime(network), line_crops)


def load_model(*models: ModelLike, device: str | torch.device = "cpu") -> nn.Module:
    """Return a trained network in evaluation mode; several networks of single digits are averaged.

    A model is a shipped name (`cnn`), a checkpoint file or a run folder. A network of the task `digit` maps
    images (N, 1, 28, 28), float32 in [0, 1] with ink 1, to logits (N, 10).

    Raises:
        UsageError: no model is named, or there is no such kind of device.
        ModelError: there is no such model, its file is damaged or was not written by digitcli, or line models
            were to be averaged.
        EnvironmentFault: this machine does not have the device, or the device computes wrongly.
    """
    chosen = choose_device(str(device))
    if not models:
        raise UsageError("No model is named.", "Name one, e.g. cnn.")
    resolved = resolve_models(models)
    tasks = {model.header.task for model in resolved}
    if len(resolved) > 1 and tasks != {"digit"}:
        raise ModelError("Only models of single digits can be averaged.", "Name one line model alone.")
    networks = [open_network(model) for model in resolved]
    temperatures = [model.header.temperature for model in resolved]
    network = networks[0] if len(networks) == 1 else Ensemble(networks, temperatures)
    return place_network(network, chosen, tasks.pop())


def open_torch_runtime(model: ResolvedModel, device: str) -> TorchRuntime:
    """Load a model onto a device, of which `auto` is the fastest, or raise as `load_model` does."""
    chosen = choose_device(device)
    return TorchRuntime(place_network(open_network(model), chosen, model.header.task), chosen)


def open_network(model: ResolvedModel) -> nn.Module:
    """Rebuild a trained network on the CPU, in evaluation mode and with plain weights.

    Raises:
        ModelError: the checkpoint is damaged or does not fit its architecture.
    """
    return with_plain_weights(load_network(model))


def load_network(model: ResolvedModel) -> nn.Module:
    """Rebuild a trained network on the CPU, in evaluation mode; quantized weights know their scales.

    Raises:
        ModelError: the checkpoint is damaged or does not fit its architecture.
    """
    header, tensors = read_checkpoint(model.path, model.sha256)
    try:
        arguments = dict(header.arguments)
        if accepts_argument(header.architecture, "alphabet"):
            arguments["alphabet"] = header.alphabet
        tensors = _checked_tensors(header.architecture, arguments, tensors)
        network = create_model(header.architecture, **arguments)
        network.load_state_dict(tensors)
    except UsageError as error:
        cause = f"{model.path} needs an architecture that is not installed: {error.cause}"
        raise ModelError(cause, error.remedy) from error
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        cause = f"{model.path} does not fit its architecture '{header.architecture}': {error}"
        raise ModelError(cause, REPLACE_REMEDY) from error
    return network.eval()


def _checked_tensors(
    architecture: str, arguments: dict[str, Any], tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a file unpacked, after comparing their shapes with those of the network.

    No memory is taken for our own networks before that.

    Raises:
        ValueError: a shape differs, or a tensor is missing.
    """
    try:
        with torch.device("meta"):
            expected = create_model(architecture, **arguments).state_dict()
    except ModelError:  # some networks of other packages, e.g. RegNet, need values, which meta tensors lack
        expected = create_model(architecture, **arguments).state_dict()
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    tensors = unpack(arguments.get("compression", ()), tensors, shapes)
    wrong = sorted(expected.keys() ^ tensors.keys())
    wrong += [
        name
        for name in expected.keys() & tensors.keys()
        if expected[name].shape != tensors[name].shape
        or expected[name].is_floating_point() != tensors[name].is_floating_point()
    ]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors are missing, unknown or of another shape, e.g. {wrong[0]}.")
    return tensors


def place_network(network: nn.Module, device: torch.device, task: str = "digit") -> nn.Module:
    """Move a network to a device, in evaluation mode and in the memory format that computes fastest.

    Raises:
        EnvironmentFault: the device computes wrongly.
    """
    if device.type == "mps" and not agrees_with_cpu(network, device, task):
        raise EnvironmentFault("MPS computes other logits than the CPU on this machine.", "Use the CPU.")
    cast("Any", network).to(memory_format=torch.channels_last)  # some versions of PyTorch lack its type
    return network.to(device).eval()


@contextlib.contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and restore the mode that it had at the end."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the weights of a network; the CPU for a network without weights."""
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def as_input(images: Tensor) -> Tensor:
    """Convert images (N, H, W) or (N, C, H, W), uint8, into the input of a network, float32 in [0, 1]."""
    images = images.unsqueeze(1) if images.ndim == 3 else images
    return images.float().div_(255).contiguous(memory_format=torch.channels_last)


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
