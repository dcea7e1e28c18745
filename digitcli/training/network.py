"""The network of a run before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.compression import Change
from digitcli.architectures.model_surgery import freeze, initialize, set_stochastic_depth
from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import TORCHVISION, accepts_argument, create_model
from digitcli.errors import UsageError
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import load_network
from digitcli.training.optimization import SMALLEST_SIDE, is_large


def check_batch_size(arch: str, network: nn.Module, batch_size: int, processes: int = 1) -> None:
    """Check that a batch has equal shares for the processes, and two examples or more for batch norm.

    Raises:
        UsageError: the batch has no equal shares, or too few examples for batch norm.
    """
    if batch_size % processes:
        cause = f"A batch of {batch_size} has no equal shares for {processes} processes."
        raise UsageError(cause, f"Choose a --batch-size that is a multiple of {processes}.")
    # Torchvision's networks may shrink an image to one pixel, where BatchNorm2d has only the batch, too.
    over_batch = _BatchNorm if arch.startswith(TORCHVISION) else nn.BatchNorm1d
    if batch_size < 2 * processes and any(isinstance(layer, over_batch) for layer in network.modules()):
        cause = f"Architecture '{arch}' normalizes over the batch, and cannot with a batch of {batch_size}."
        raise UsageError(cause, f"Choose --batch-size {2 * processes} or more.")


def create_network(
    arch: str,
    recipe: Recipe,
    pretrained: bool = False,
    start: ResolvedModel | None = None,
    compression: Sequence[Change] = (),
) -> nn.Module:
    """Build the network of a run before its first step, with the global random generator.

    It has the weights of the model `start`, if there is one, and the changes by which that was compressed.

    Raises:
        UsageError: the network cannot be built or trained by this recipe.
        ModelError, EnvironmentFault: see `create_model` and `load_network`.
    """
    arguments = architecture_arguments(recipe, compression)
    if pretrained:
        arguments["pretrained"] = True
    if start is not None and accepts_argument(arch, "alphabet"):
        arguments["alphabet"] = start.header.alphabet
    network = create_model(arch, **arguments)
    initialize(network, recipe.initialization)
    if start is not None:
        network.load_state_dict(load_network(start).state_dict())
    set_stochastic_depth(network, recipe.stochastic_depth or 0.0)
    freeze(network, recipe.freeze)
    check_batch_size(arch, network, recipe.batch_size)
    if recipe.optimizer == "muon" and not any(map(is_large, network.parameters())):
        cause = f"Muon is for matrices of {SMALLEST_SIDE} rows and columns or more; '{arch}' has none."
        raise UsageError(cause, "Choose another --optimizer.")
    return network


def architecture_arguments(recipe: Recipe, compression: Sequence[Change] = ()) -> dict[str, Any]:
    """Return the arguments that a recipe and the compression of its start model pass to the architecture."""
    arguments: dict[str, Any] = {} if recipe.dropout is None else {"dropout": recipe.dropout}
    if recipe.normalization not in (None, "batch"):
        arguments["normalization"] = recipe.normalization
    if compression:
        arguments["compression"] = list(compression)
    return arguments


def count_parameters(network: nn.Module) -> int:
    """Return the number of all parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_trained_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are not frozen."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
