"""What a recipe changes in a network however it is built: normalization, initialization, stochastic depth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from digitcli.architectures.capsules import Routing
from digitcli.architectures.layers import DropPath
from digitcli.architectures.patches import QueriesKeysValues
from digitcli.config import Initialization, Normalization
from digitcli.errors import UsageError

GROUP_CHANNELS = 8  # normalized together, at most
GATES = 4  # of an LSTM cell, whose weights are stacked,
QUERY_KEY_VALUE = 3  # as those of an attention are

INITIALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "glorot": nn.init.xavier_uniform_,
    "he": lambda weights: nn.init.kaiming_normal_(weights, nonlinearity="relu"),
    "lecun": lambda weights: nn.init.kaiming_normal_(weights, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
}


class ScaleAndShift(nn.Module):
    """What is left of a normalization where nothing is normalized: a weight and a bias for each map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        shape = (-1, *(1,) * (maps.ndim - 2))
        return maps * self.weight.view(shape) + self.bias.view(shape)


def replace_normalization(network: nn.Module, kind: Normalization) -> None:
    """Put another normalization in place of each batch normalization of a network.

    Ba, Kiros & Hinton, "Layer normalization", 2016; Ulyanov, Vedaldi & Lempitsky, "Instance normalization:
    the missing ingredient for fast stylization", 2016; Wu & He, "Group normalization", 2018, here in groups
    of at most eight maps.

    Raises:
        UsageError: instances of it cannot be normalized: they are single numbers, or their mean, which would
            be the same for all, is what counts.
    """
    if kind == "batch":
        return
    if kind == "instance":
        _check_instances(network)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, _other_normalization(layer, kind))


def _check_instances(network: nn.Module) -> None:
    leaves = [layer for layer in network.modules() if not list(layer.children())]
    for layer, following in itertools.pairwise(leaves):
        if isinstance(layer, nn.BatchNorm1d):
            raise UsageError("Instances of vectors cannot be normalized.", "Take group or layer.")
        if isinstance(layer, nn.BatchNorm2d) and isinstance(following, nn.AdaptiveAvgPool2d):
            cause = "Normalized instances have the same mean, and a layer here sees nothing but their mean."
            raise UsageError(cause, "Take group or layer.")


def _other_normalization(layer: nn.BatchNorm1d | nn.BatchNorm2d, kind: Normalization) -> nn.Module:
    channels = layer.num_features
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
    """Draw the weights of all convolutions, linear layers, attentions, LSTM gates and routings anew.

    Each group of a convolution is drawn by itself, and so are gates, and queries, keys and values; biases
    become 0.
    `default` leaves the architecture's; so do parameters that belong to no such layer, as places of patches.

    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010; He et
    al., "Delving deep into rectifiers", 2015; LeCun et al., "Efficient backprop", 1998; Saxe, McClelland &
    Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear networks", 2014.
    """
    if kind == "default":
        return
    for layer in network.modules():
        for matrix in _matrices(layer):
            INITIALISERS[kind](matrix)
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.LSTM | nn.MultiheadAttention):
            for name, bias in layer.named_parameters(recurse=False):
                if "bias" in name:
                    nn.init.zeros_(bias)


def _matrices(layer: nn.Module) -> Iterator[Tensor]:
    """The parts of a layer's weights that are drawn each by itself."""
    if isinstance(layer, QueriesKeysValues):
        yield from layer.weight.chunk(QUERY_KEY_VALUE)
    elif isinstance(layer, nn.Linear):
        yield layer.weight
    elif isinstance(layer, nn.Conv2d):
        yield from layer.weight.chunk(layer.groups)
    elif isinstance(layer, nn.LSTM):
        for name, weights in layer.named_parameters():
            if name.startswith("weight"):
                yield from weights.chunk(GATES)
    elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
        yield from layer.in_proj_weight.chunk(QUERY_KEY_VALUE)
    elif isinstance(layer, Routing):
        yield from (matrix.T for matrix in layer.weights)


def drop_branches(network: nn.Module, probability: float) -> None:
    """Leave out the branches of residual blocks in training, the last with that probability, others less.

    Huang et al., "Deep networks with stochastic depth", 2016.
    """
    drops = [layer for layer in network.modules() if isinstance(layer, DropPath)]
    for number, layer in enumerate(drops, start=1):
        layer.probability = probability * number / len(drops)
