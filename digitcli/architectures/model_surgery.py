"""Model surgery: the changes that a recipe makes to a network of any architecture after it is built.

A recipe can replace batch normalization, initialize the weights by another method, set stochastic depth, and
freeze stages: a stage is a layer with weights or a block of layers, for example a residual block, together
with the normalization that follows it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.convnet import Routing
from digitcli.architectures.layers import DropPath
from digitcli.architectures.patches import QueryKeyValue
from digitcli.architectures.recipe import Initialization, Normalization
from digitcli.errors import UsageError, counted

GROUP_CHANNELS = 8  # channels; the largest group of group normalization
LSTM_GATES = 4  # matrices that PyTorch stacks in each weight of an LSTM
ATTENTION_PARTS = 3  # matrices that are stacked in the input weights of attention: query, key and value

INITIALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "glorot": nn.init.xavier_uniform_,
    "he": lambda weights: nn.init.kaiming_normal_(weights, nonlinearity="relu"),
    "lecun": lambda weights: nn.init.kaiming_normal_(weights, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
}


class ScaleAndShift(nn.Module):
    """The learned weight and bias of each channel, without the normalization before them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        shape = (-1, *(1,) * (maps.ndim - 2))
        return maps * self.weight.view(shape) + self.bias.view(shape)


def replace_normalization(network: nn.Module, kind: Normalization) -> None:
    """Replace every batch normalization of a network by another kind of normalization.

    Ba, Kiros & Hinton, "Layer normalization", 2016; Ulyanov, Vedaldi & Lempitsky, "Instance normalization:
    the missing ingredient for fast stylization", 2016; Wu & He, "Group normalization", 2018. Difference: a
    group has at most eight channels.

    Raises:
        UsageError: instance normalization would remove all information from a layer of this network.
    """
    if kind == "batch":
        return
    if kind == "instance":
        _check_instance_normalization(network)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, _normalization(layer.num_features, kind))


def _check_instance_normalization(network: nn.Module) -> None:
    """Check that each normalized map has several pixels, and that more than the mean of a map is used."""
    leaves = [layer for layer in network.modules() if not list(layer.children())]
    for layer, following in itertools.pairwise(leaves):
        if isinstance(layer, nn.BatchNorm1d):
            cause = "needs maps, but this architecture also normalizes vectors."
        elif isinstance(layer, nn.BatchNorm2d) and isinstance(following, nn.AdaptiveAvgPool2d):
            cause = "gives all maps the same mean, but a layer here uses only their mean."
        else:
            continue
        raise UsageError(f"Instance normalization {cause}", "Use --normalization group or layer.")


def _normalization(channels: int, kind: Normalization) -> nn.Module:
    if kind == "none":
        return ScaleAndShift(channels)
    if kind == "instance":
        return nn.GroupNorm(channels, channels)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    least = math.ceil(channels / GROUP_CHANNELS)
    return nn.GroupNorm(next(n for n in range(least, channels + 1) if channels % n == 0), channels)


@torch.no_grad()
def initialize(network: nn.Module, kind: Initialization) -> None:
    """Initialize the weights of convolutions, linear layers, attention, LSTM cells and capsule routing.

    Matrices that are stored together are initialized one by one: the groups of a convolution, the gates of an
    LSTM cell, and query, key and value. Biases become 0. Other parameters, for example position embeddings,
    stay as they are, and `default` leaves all parameters as the architecture initialized them.

    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010; He et
    al., "Delving deep into rectifiers", 2015; LeCun et al., "Efficient backprop", 1998; Saxe, McClelland &
    Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear networks", 2014.
    """
    if kind == "default":
        return
    for layer in network.modules():
        for matrix in _weight_matrices(layer):
            INITIALIZERS[kind](matrix)
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.LSTM | nn.MultiheadAttention):
            for name, bias in layer.named_parameters(recurse=False):
                if "bias" in name:
                    nn.init.zeros_(bias)


def _weight_matrices(layer: nn.Module) -> Iterator[Tensor]:
    """Yield views of the weights of one layer, a matrix or a kernel each."""
    if isinstance(layer, QueryKeyValue):
        yield from layer.weight.chunk(ATTENTION_PARTS)
    elif isinstance(layer, nn.Linear):
        yield layer.weight
    elif isinstance(layer, nn.Conv2d):
        yield from layer.weight.chunk(layer.groups)
    elif isinstance(layer, nn.LSTM):
        for name, weights in layer.named_parameters():
            if name.startswith("weight"):
                yield from weights.chunk(LSTM_GATES)
    elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
        yield from layer.in_proj_weight.chunk(ATTENTION_PARTS)
    elif isinstance(layer, Routing):
        yield from (matrix.T for matrix in layer.weights)


def set_stochastic_depth(network: nn.Module, probability: float) -> None:
    """Set the probability with which training skips the last residual branch; it falls linearly to the first.

    Huang et al., "Deep networks with stochastic depth", 2016.
    """
    drops = [layer for layer in network.modules() if isinstance(layer, DropPath)]
    for number, layer in enumerate(drops, start=1):
        layer.probability = probability * number / len(drops)


NORMALIZATIONS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, ScaleAndShift)
CONTAINERS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True)
class Stage:
    """A stage of a network: its layers and blocks with weights, by their names, and all their weights."""

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
