"""Trained networks as PyTorch runs them: opened, averaged, placed on a device, called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.architectures.registry import create_model, takes
from digitcli.errors import EnvironmentFault, ModelError, UsageError
from digitcli.inference.checkpoint import Header, find_checkpoint, read_checkpoint
from digitcli.inference.devices import agrees_with_cpu, choose_device

BATCH_SIZE = 512


class TorchRuntime:
    """A network on a device, see `inference.Runtime`."""

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device | None = None) -> None:
        """Without a device the network stays where it is."""
        self.network = network
        self._device = device_of(network) if device is None else device
        self.device = str(self._device)

    @torch.inference_mode()
    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """The network computes in evaluation mode, and is left as it was."""
        batch = as_input(torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self._device))
        with evaluating(self.network):
            outputs = self.network.locate(batch) if hasattr(self.network, "locate") else self.network(batch)  # type: ignore[operator]
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(part.float().cpu().numpy() for part in parts)


def open_runtime(name: str, device: str) -> tuple[TorchRuntime, Header]:
    """The model of that name on a device (`auto` takes the fastest), and what its checkpoint says of it.

    Raises:
        The errors of `load_model`.
    """
    chosen = choose_device(device)
    network, header = open_model(name)
    return TorchRuntime(place_network(network, chosen, header.task), chosen), header


def load_model(*names: str, device: str | torch.device = "cpu") -> nn.Module:
    """The trained network of that name, in evaluation mode; several names are averaged.

    A name is a shipped name (`cnn`), a checkpoint file or a run folder. The network takes images
    (N, 1, 28, 28), float32 in [0, 1] with ink 1, and gives logits (N, 10): those of training, or for several
    names the logarithm of the mean of their calibrated probabilities.

    Raises:
        UsageError: no name, or not the name of a device.
        ModelError: no such model, a damaged or foreign file, or models of different tasks.
        EnvironmentFault: the device is not there or computes wrongly.
    """
    chosen = choose_device(str(device))
    if not names:
        raise UsageError("No model is named.", "Name one, e.g. cnn.")
    members = [open_model(name) for name in names]
    if len({header.task for _, header in members}) > 1:
        raise ModelError("Models of different tasks cannot be averaged.", "Name models of one task.")
    return place_network(members[0][0] if len(members) == 1 else Average(members), chosen)


def place_network(network: nn.Module, device: torch.device, task: str = "digit") -> nn.Module:
    """The same network on a device, in evaluation mode, its weights in the order that computes fastest.

    Raises:
        EnvironmentFault: the device computes wrongly.
    """
    if device.type == "mps" and not agrees_with_cpu(network, device, task):
        raise EnvironmentFault("MPS computes other logits than the CPU on this machine.", "Take the CPU.")
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device).eval()


def open_model(name: str) -> tuple[nn.Module, Header]:
    """One trained network, on the CPU and in evaluation mode, and what its checkpoint says of it.

    Raises:
        ModelError: no such model, or a damaged or foreign file.
    """
    path = find_checkpoint(name)
    header, tensors = read_checkpoint(path)
    try:
        arguments = dict(header.arguments)
        if takes(header.architecture, "alphabet"):
            arguments["alphabet"] = header.alphabet
        _check_shapes(header.architecture, arguments, tensors)
        network = create_model(header.architecture, **arguments)
        network.load_state_dict(tensors)
    except UsageError as error:
        cause = f"{path} needs an architecture that is not here: {error.cause}"
        raise ModelError(cause, error.remedy) from error
    except (RuntimeError, TypeError, ValueError) as error:
        cause = f"{path} does not fit its architecture '{header.architecture}': {error}"
        raise ModelError(cause, "Fetch or train it again.") from error
    return network.eval(), header


def _check_shapes(architecture: str, arguments: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Compare the shapes of a network with those of a file before any memory is taken for them.

    Raises:
        ValueError: they differ.
    """
    with contextlib.suppress(NotImplementedError), torch.device("meta"):
        expected = create_model(architecture, **arguments).state_dict()
        wrong = sorted(expected.keys() ^ tensors.keys())
        wrong += [
            name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape
        ]
        if wrong:
            raise ValueError(
                f"{len(wrong)} tensors are missing, foreign or of another shape, such as {wrong[0]}."
            )


class Average(nn.Module):
    """Several networks as one: the logarithm of the mean of their calibrated probabilities."""

    def __init__(self, members: list[tuple[nn.Module, Header]]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(network for network, _ in members)
        self.temperatures = [header.temperature for _, header in members]

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        members = zip(self.networks, self.temperatures, strict=True)
        log_probabilities = torch.stack(
            [(network(images) / temperature).log_softmax(dim=-1) for network, temperature in members]
        )
        return log_probabilities.logsumexp(dim=0) - torch.tensor(float(len(self.networks))).log()


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within it a network is in evaluation mode; afterwards it is as it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


@torch.inference_mode()
def infer(network: nn.Module, images: Tensor | npt.NDArray[np.uint8], batch_size: int = BATCH_SIZE) -> Tensor:
    """The logits (N, 10), float32 on the CPU, of images (N, 28, 28), uint8 with ink 255.

    The network computes where its weights are, in evaluation mode, and is left as it was.
    """
    if not isinstance(images, Tensor):
        images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    device = device_of(network)
    with evaluating(network):
        logits = [network(as_input(batch.to(device))).float().cpu() for batch in images.split(batch_size)]
    return torch.cat(logits)  # N, 10


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are; the CPU for a network without any."""
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def as_input(images: Tensor) -> Tensor:
    """Images (N, 28, 28), uint8, as a network takes them: (N, 1, 28, 28), float32 in [0, 1]."""
    return images.unsqueeze(1).float().div_(255).contiguous(memory_format=torch.channels_last)
