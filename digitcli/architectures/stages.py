"""The stages of a network, which can be frozen and have their own learning rates.

A stage is a layer with weights or a block of layers, for example a residual block, together with the
normalization that follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.model_surgery import ScaleAndShift
from digitcli.errors import UsageError, counted

NORMALIZATIONS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, ScaleAndShift)
CONTAINERS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True)
class Stage:
    """A stage of a network.

    layers: Its layers and blocks with weights, by their names in the network.
    parameters: The weights of all of them.
    """

    layers: Mapping[str, nn.Module]
    parameters: tuple[nn.Parameter, ...]


def stages_of(network: nn.Module) -> tuple[Stage, ...]:
    """Return the stages of a network from the input to the output; each parameter belongs to one of them.

    The stages are the children of the network in their order. In a network that is not an `nn.Sequential`,
    children that are one are opened. Children that a network names in `parallel`, which have the same input,
    are one stage. Parameters outside of all children, for example position embeddings, belong to the first.
    """
    groups: list[dict[str, nn.Module]] = []
    parallel: tuple[str, ...] = getattr(network, "parallel", ())
    for name, layer in list(_layers(network)) or [("", network)]:
        follows = isinstance(layer, NORMALIZATIONS) or name in parallel[1:]
        if groups and follows:
            groups[-1][name] = layer
        else:
            groups.append({name: layer})
    owner: dict[nn.Parameter, int] = {}
    for number, group in enumerate(groups):
        for layer in group.values():
            for parameter in layer.parameters():
                owner.setdefault(parameter, number)
    return tuple(
        Stage(group, tuple(each for each in network.parameters() if owner.get(each, 0) == number))
        for number, group in enumerate(groups)
    )


def _layers(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the children that have weights, with their names in the whole network."""
    children = [(f"{prefix}{name}", child) for name, child in network.named_children() if child.state_dict()]
    if len(children) == 1 and any(children[0][1].children()):  # a wrapper around the network itself
        yield from _layers(children[0][1], f"{children[0][0]}.")
        return
    for name, child in children:
        if isinstance(child, CONTAINERS) and not isinstance(network, nn.Sequential):
            yield from (
                (f"{name}.{part}", layer) for part, layer in child.named_children() if layer.state_dict()
            )
        else:
            yield name, child


def freeze(network: nn.Module, count: int) -> None:
    """Exclude the first `count` stages of a network from training; a negative `count` leaves the last ones.

    Raises:
        UsageError: there are not so many stages that one would be left to train.
    """
    if count == 0:
        return
    stages = stages_of(network)
    if abs(count) >= len(stages):
        number = counted(len(stages), "stage")
        cause = f"--freeze is {count}, but the network has {number}, of which one or more must be trained."
        remedy = "Leave --freeze out." if len(stages) == 1 else f"Give a number up to {len(stages) - 1}."
        raise UsageError(cause, remedy)
    for stage in stages[:count]:
        for parameter in stage.parameters:
            parameter.requires_grad_(False)


def set_training_mode(network: nn.Module) -> None:
    """Put a network into training mode, but normalize frozen stages by the statistics that they have.

    Frozen layers then compute as in evaluation mode, except dropout and stochastic depth, which have no
    weights and go on.
    """
    network.train()
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and layer.weight is not None and not layer.weight.requires_grad:
            layer.eval()
