"""From a model's name to logits: the one place that knows how a model is run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.checkpoint import Header, checkpoint_id, find_checkpoint, read_checkpoint
from digitcli.devices import agrees_with_cpu, choose_device, is_out_of_memory
from digitcli.errors import EnvironmentFault, ModelError, UsageError
from digitcli.registry import create_model, takes

BATCH_SIZE = 512
LINES_AT_ONCE = 32
WIDTH_STEP_PX = 32  # lines as wide but for less than this are answered together


class Classifier:
    """One or several trained models as a function of digits, for whoever need not know how they are run.

    `name` says which weights answer (`cnn@1a2b3c4d`), `headers` what their checkpoints say, `device` where
    they compute. After running out of memory `batch_size` is what did fit.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        headers: tuple[Header, ...],
        device: torch.device,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.name = name
        self.headers = headers
        self.device = device
        self.batch_size = batch_size
        self._network = network
        self._temperature = headers[0].temperature if len(headers) == 1 else 1.0  # `Average` knows its own

    def logits(
        self, images: npt.NDArray[np.uint8], on_progress: Callable[[int], None] = lambda done: None
    ) -> npt.NDArray[np.float32]:
        """Logits (N, 10) of images (N, 28, 28), uint8 with ink 255, divided by the model's temperature.

        Of several models it is the logarithm of the mean of their calibrated probabilities. `on_progress` is
        told the number of images done, batch by batch. Where memory does not suffice, the batch is halved
        for good.

        Raises:
            ModelError: the weights are such that the logits are no finite numbers.
        """
        parts: list[npt.NDArray[np.float32]] = []
        done = 0
        while done < len(images):
            batch = images[done : done + self.batch_size]
            try:
                parts.append((infer(self._network, batch, len(batch)) / self._temperature).numpy())
            except (RuntimeError, MemoryError) as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size = max(1, min(self.batch_size, len(batch)) // 2)
                continue
            if not np.isfinite(parts[-1]).all():
                raise ModelError(f"{self.name} answers with what is no number.", "Fetch or train it again.")
            done += len(batch)
            on_progress(done)
        return np.concatenate(parts) if parts else np.zeros((0, 10), np.float32)

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (N, 10) of images (N, 28, 28), uint8 with ink 255: the softmax of the logits."""
        logits = self.logits(images)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: npt.NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True)
        return probabilities


@dataclass(frozen=True)
class LineAnswer:
    """Of a line of T columns the logits (T, A + 1) and the `distances` (T, 4), see `Reader.locate`, where the
    network tells them.
    """

    logits: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32] | None = None


class LineModel:
    """A trained line model as a function of lines; its fields are those of `Classifier`."""

    def __init__(
        self,
        network: nn.Module,
        name: str,
        header: Header,
        device: torch.device,
        batch_size: int = LINES_AT_ONCE,
    ) -> None:
        self.name = name
        self.header = header
        self.device = device
        self.batch_size = batch_size
        self._network = network

    def answers(self, lines: Sequence[npt.NDArray[np.uint8]]) -> list[LineAnswer]:
        """What it answers to lines (40, W), uint8 with ink 255; `Header.temperature` is not applied yet.

        Where memory does not suffice, the batch is halved for good.

        Raises:
            ModelError: the weights are such that the logits are no finite numbers.
        """
        while True:
            try:
                found = infer_lines(self._network, lines, self.batch_size)
            except (RuntimeError, MemoryError) as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size = max(1, self.batch_size // 2)
                continue
            numbers = [part for answer in found for part in (answer.logits, answer.distances)]
            if not all(np.isfinite(part).all() for part in numbers if part is not None):
                raise ModelError(f"{self.name} answers with what is no number.", "Fetch or train it again.")
            return found


def load_line_model(name: str, device: str = "auto", batch_size: int = LINES_AT_ONCE) -> LineModel:
    """The line model of that name on a device (`auto` takes the fastest).

    Raises:
        UsageError: not the name of a device.
        ModelError: no such model, a damaged or foreign file, or a model that reads single digits.
        EnvironmentFault: the device is not there or computes wrongly.
    """
    chosen = choose_device(device)
    network, header = open_model(name)
    if header.task != "line":
        raise ModelError(f"{name} reads single digits, not lines.", "Name a model of the task line.")
    placed = place_network(network, chosen, header.task)
    return LineModel(placed, checkpoint_id(name), header, chosen, batch_size)


def load_classifier(*names: str, device: str = "auto", batch_size: int = BATCH_SIZE) -> Classifier:
    """The digit models of those names, averaged, on a device (`auto` takes the fastest).

    A name is a shipped name (`cnn`), a checkpoint file or a run folder.

    Raises:
        UsageError: no name, a batch below 1, or not the name of a device.
        ModelError: no such model, a damaged or foreign file, or a model that does not read single digits.
        EnvironmentFault: the device is not there or computes wrongly.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}.", "It must be at least 1.")
    chosen = choose_device(device)
    members = _open_all(names)
    if members[0][1].task != "digit":
        raise ModelError(f"{names[0]} reads lines, not single digits.", "Name a model of the task digit.")
    network = place_network(_averaged(members), chosen)
    name = "+".join(checkpoint_id(name) for name in names)
    return Classifier(network, name, tuple(header for _, header in members), chosen, batch_size)


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
    return place_network(_averaged(_open_all(names)), chosen)


def _open_all(names: tuple[str, ...]) -> list[tuple[nn.Module, Header]]:
    if not names:
        raise UsageError("No model is named.", "Name one, e.g. cnn.")
    members = [open_model(name) for name in names]
    if len({header.task for _, header in members}) > 1:
        raise ModelError("Models of different tasks cannot be averaged.", "Name models of one task.")
    return members


def _averaged(members: list[tuple[nn.Module, Header]]) -> nn.Module:
    return members[0][0] if len(members) == 1 else Average(members)


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


@torch.inference_mode()
def infer(network: nn.Module, images: Tensor | npt.NDArray[np.uint8], batch_size: int = BATCH_SIZE) -> Tensor:
    """The logits (N, 10), float32 on the CPU, of images (N, 28, 28), uint8 with ink 255.

    The network computes where its weights are, in evaluation mode, and is left as it was.
    """
    if not isinstance(images, Tensor):
        images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    parameter = next(network.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    was_training = network.training
    network.eval()
    try:
        logits = [network(as_input(batch.to(device))).float().cpu() for batch in images.split(batch_size)]
    finally:
        network.train(was_training)
    return torch.cat(logits)  # N, 10


@torch.inference_mode()
def infer_lines(
    network: nn.Module, lines: Sequence[npt.NDArray[np.uint8]], batch_size: int = LINES_AT_ONCE
) -> list[LineAnswer]:
    """What a line network answers to lines (40, W), uint8 with ink 255, each of its own width.

    Lines are padded to a width that depends on their own alone, so that company changes no answer.
    """
    device = next(network.parameters()).device
    answers: list[LineAnswer | None] = [None] * len(lines)
    of_width: dict[int, list[int]] = {}
    for index, line in enumerate(lines):
        of_width.setdefault(-(-line.shape[1] // WIDTH_STEP_PX) * WIDTH_STEP_PX, []).append(index)
    was_training = network.training
    network.eval()
    try:
        for width, members in of_width.items():
            for start in range(0, len(members), batch_size):
                part = members[start : start + batch_size]
                images = np.zeros((len(part), lines[part[0]].shape[0], width), np.uint8)
                for image, index in zip(images, part, strict=True):
                    image[:, : lines[index].shape[1]] = lines[index]
                logits, distances = _columns(network, as_input(torch.from_numpy(images).to(device)))
                for row, index in enumerate(part):
                    columns = -(-lines[index].shape[1] * logits.shape[1] // width)
                    places = None if distances is None else distances[row, :columns]
                    answers[index] = LineAnswer(logits[row, :columns], places)
    finally:
        network.train(was_training)
    return [answer for answer in answers if answer is not None]


def _columns(
    network: nn.Module, images: Tensor
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Logits (N, T, A + 1) of lines (N, 1, H, W), and distances (N, T, 4) from a network that tells them."""
    if not hasattr(network, "locate"):
        return network(images).float().cpu().numpy(), None
    logits, distances = network.locate(images)  # type: ignore[operator]
    return logits.float().cpu().numpy(), distances.float().cpu().numpy()


def as_input(images: Tensor) -> Tensor:
    """Images (N, 28, 28), uint8, as a network takes them: (N, 1, 28, 28), float32 in [0, 1]."""
    return images.unsqueeze(1).float().div_(255).contiguous(memory_format=torch.channels_last)
