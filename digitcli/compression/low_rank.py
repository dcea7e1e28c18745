"""Low-rank factorization: a layer becomes two smaller ones whose product is nearest to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from digitcli.architectures.compression import Change, apply_changes
from digitcli.errors import UsageError


@torch.no_grad()
def factorize(network: nn.Module, share: float) -> list[Change]:
    """Replace layers in place by two each, with at most `share` of their weights.

    The singular value decomposition gives the nearest product (Eckart & Young, 1936). Denton et al.,
    "Exploiting linear structure within convolutional networks for efficient evaluation", 2014, factorize
    linear layers and convolutions: here the first has fewer maps, and a 1x1 convolution mixes them. A layer
    is left as it is if its rank would be less than 1 or not below that of the layer itself.

    Raises:
        UsageError: no layer can be factorized so.
    """
    factors: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {}
    layer: Any
    for name, layer in network.named_modules():
        if type(layer) not in (nn.Linear, nn.Conv2d) or not _is_plain(layer):
            continue
        matrix = layer.weight.flatten(1)  # outputs, inputs
        outputs, inputs = matrix.shape
        rank = int(share * outputs * inputs / (outputs + inputs))
        if 1 <= rank < min(outputs, inputs):
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            roots = values[:rank].sqrt()
            factors[name] = (roots[:, None] * right[:rank], left[:, :rank] * roots, layer.bias)
    if not factors:
        cause = f"No layer of this network can be replaced by two with {share:g} of its weights."
        raise UsageError(cause, "Give a larger share, or leave low_rank out.")
    change = {"change": "factorize", "ranks": {name: len(first) for name, (first, _, _) in factors.items()}}
    apply_changes(network, [change])
    for name, (first, second, bias) in factors.items():
        parts: Any = network.get_submodule(name)
        parts[0].weight.copy_(first.view_as(parts[0].weight))
        parts[1].weight.copy_(second.view_as(parts[1].weight))
        if bias is not None:
            parts[1].bias.copy_(bias)
    return [change]


def _is_plain(layer: Any) -> bool:
    """Return whether a layer is one matrix, and pads with zeros if it is a convolution."""
    return isinstance(layer, nn.Linear) or (layer.groups == 1 and layer.padding_mode == "zeros")
