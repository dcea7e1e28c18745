"""Folding: a batch normalization after a layer becomes part of that layer's weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from digitcli.architectures.compression import Change, apply_changes
from digitcli.errors import UsageError


class _LayerTracer(fx.Tracer):
    """A tracer that does not look into layers without parts, whose code may depend on values."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(True for _ in m.children())


@torch.no_grad()
def fold(network: nn.Module) -> list[Change]:
    """Fold each batch normalization into the convolution or linear layer before it, in place.

    In evaluation mode both are linear, so that the network computes the same with fewer operations.

    Returns: the change, or nothing if there is no such normalization.

    Raises:
        UsageError: the layers of the network do not follow each other in a fixed way.
    """
    pairs = _foldable(network)
    if not pairs:
        return []
    weights = {}
    for normalization, name in pairs.items():
        layer: Any = network.get_submodule(name)
        norm: Any = network.get_submodule(normalization)
        fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
        weights[name] = fuse(
            layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    change = {"change": "fold", "layers": pairs}
    apply_changes(network, [change])
    for name, (weight, bias) in weights.items():
        layer = network.get_submodule(name)
        layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return [change]


def _foldable(network: nn.Module) -> dict[str, str]:
    """Return each normalization that is the only one to use the output of a layer, with that layer."""
    if not any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        return {}
    try:
        graph = _LayerTracer().trace(network)
    except Exception as error:  # tracing runs the code of the network with values that can fail anywhere
        cause = "The normalization of this network cannot be folded: its layers have no fixed order."
        raise UsageError(cause, "Leave fold and int8 out.") from error
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    pairs = {}
    for node in graph.nodes:
        if node.op != "call_module" or calls[node.target] > 1 or not node.args:
            continue
        norm: Any = network.get_submodule(node.target)
        before = node.args[0]
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or before.op != "call_module":
            continue
        layer = network.get_submodule(before.target)
        if isinstance(layer, nn.Conv2d | nn.Linear) and calls[before.target] == len(before.users) == 1:
            pairs[str(node.target)] = str(before.target)
    return pairs
