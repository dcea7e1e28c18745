"""Structured pruning: whole channels are removed, so that a network becomes faster, not only sparser."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.architectures.compression import SIZES, Change
from digitcli.errors import UsageError
from digitcli.export.network import AllOutputs
from digitcli.optional_packages import import_packages

LARGEST_SHARE = 0.95  # of the channels of one layer; a layer without channels would end the network
# Raises an EnvironmentFault if the library of the pruning is not installed.
check_installed = partial(import_packages, "The step prune", "compress", "torch_pruning")


def prune(
    network: nn.Module, example: Tensor, loss_of: Callable[[nn.Module], Tensor], share: float
) -> list[Change]:
    """Remove the share of all channels that changes the loss least, in place.

    The importance of a channel is the first-order estimate of the change of the loss without it (Molchanov
    et al., "Importance estimation for neural network pruning", 2019), summed over all layers that depend on
    it (Fang et al., "DepGraph: towards any structural pruning", 2023).

    example: an input of the network.
    loss_of: returns the loss of the network on training examples, whose gradient is computed.

    Raises:
        EnvironmentFault: torch-pruning is not installed.
        UsageError: this network cannot be pruned.
    """
    check_installed()
    import torch_pruning

    before, whole = _sizes(network), AllOutputs(network).eval()
    shapes = [output.shape for output in whole(example)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of weights outside of layers, which it leaves alone
            pruner = torch_pruning.pruner.BasePruner(
                whole,
                example,
                importance=torch_pruning.importance.GroupTaylorImportance(),
                global_pruning=True,
                pruning_ratio=share,
                max_pruning_ratio=LARGEST_SHARE,
                ignored_layers=_output_layers(network, example),
            )
            loss_of(network).backward()
            for weight in network.parameters():  # those on which the loss does not depend matter to nothing
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            pruner.step()
            with torch.no_grad():
                if [output.shape for output in whole(example)] != shapes:
                    raise ValueError("its outputs would change")
    except (IndexError, TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        cause = f"Channels of this network cannot be removed: {error}"
        raise UsageError(cause, "Leave prune out, or compress another architecture.") from error
    network.zero_grad(set_to_none=True)
    change = _difference(before, _sizes(network))
    if not change["shapes"]:
        raise UsageError("No channel of this network can be removed.", "Leave prune out.")
    return [change]


def _output_layers(network: nn.Module, example: Tensor) -> list[nn.Module]:
    """Return the layers that give the outputs of the network: its heads, or the last layer that is called."""
    if heads := getattr(network, "parallel", ()):
        return [network.get_submodule(name) for name in heads]
    called: list[nn.Module] = []
    handles = [
        layer.register_forward_hook(lambda layer, inputs, output: called.append(layer))
        for layer in network.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    with torch.no_grad():
        network(example)
    for handle in handles:
        handle.remove()
    return called[-1:]


def _sizes(network: nn.Module) -> tuple[dict[str, dict[str, Any]], dict[str, list[int]]]:
    attributes = {
        name: {key: getattr(layer, key) for key in SIZES if hasattr(layer, key)}
        for name, layer in network.named_modules()
    }
    return attributes, {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def _difference(before: Any, after: Any) -> Change:
    """Return the change that gives a network the sizes it has after the pruning."""
    (old_attributes, old_shapes), (attributes, shapes) = before, after
    changed = {
        name: {key: value for key, value in values.items() if value != old_attributes[name][key]}
        for name, values in attributes.items()
    }
    return {
        "change": "resize",
        "attributes": {name: values for name, values in changed.items() if values},
        "shapes": {name: shape for name, shape in shapes.items() if shape != old_shapes[name]},
    }
