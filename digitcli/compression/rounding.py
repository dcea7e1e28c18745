"""Rounding of weights to integers such that the errors of the weights of a layer make up for each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from digitcli.architectures.compression import largest_integer

POSITIONS = 4096  # of the inputs of a layer in each batch; of eight batches, more than a layer has inputs
MOST_INPUTS = 4096  # of a layer; the products of all pairs of more would take gigabytes
DAMPING = 0.01  # of the mean square of the inputs, as published; without it, equal inputs have no inverse


@torch.no_grad()
def input_products(
    network: nn.Module, layers: Mapping[str, Any], run: Callable[[nn.Module], object]
) -> dict[str, Tensor]:
    """Return, for each layer, the sums of the products of all pairs of its inputs (groups, I, I).

    Layers with more than `MOST_INPUTS` inputs, and those that are not called, are left out.

    run: runs the network on training examples.
    """
    products: dict[str, Tensor] = {}

    def observed(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = _inputs_of_weights(layer, inputs[0].float())  # G, I, N
            sums = values @ values.transpose(1, 2)
            products[name] = products[name] + sums if name in products else sums

        return record

    handles = [
        layer.register_forward_pre_hook(observed(name))
        for name, layer in layers.items()
        if layer.weight[0].numel() <= MOST_INPUTS
    ]
    run(network.eval())
    for handle in handles:
        handle.remove()
    return products


def _inputs_of_weights(layer: Any, inputs: Tensor) -> Tensor:
    """Return what the weights of each output are multiplied with, at up to `POSITIONS` places (G, I, N)."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, layer.in_features)[:POSITIONS].T[None]
    places = max(1, inputs[0, 0].numel() // (layer.stride[0] * layer.stride[1]))
    some = inputs[: max(1, POSITIONS // places)]
    padded = functional.pad(some, layer._reversed_padding_repeated_twice)  # also where padding is "same"
    patches = functional.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    columns = patches.transpose(0, 1).flatten(1)  # C * height * width, N
    return columns.view(layer.groups, -1, columns.shape[1])


@torch.no_grad()
def round_weights(weight: Tensor, scale: Tensor, bits: int, products: Tensor) -> Tensor:
    """Return weights (O, ...) rounded to integers times their scales (O,), so that the outputs change little.

    One weight of each output is rounded after the other, and the weights that follow make up for its error as
    far as their inputs go with its own (Frantar et al., "GPTQ: accurate post-training quantization for
    generative pre-trained transformers", 2023).

    products: the sums of the products of all pairs of inputs (groups, I, I), see `input_products`.
    """
    groups, count, _ = products.shape
    rest = weight.reshape(groups, -1, count).clone()  # G, O / G, I
    steps = scale.view(groups, -1)
    factor = _inverse_factor(products)
    limit = largest_integer(bits)
    for index in range(count):
        value = rest[:, :, index]
        rounded = (value / steps).round().clamp(-limit, limit) * steps
        error = (value - rounded) / factor[:, index, index, None]
        rest[:, :, index + 1 :] -= error[..., None] * factor[:, None, index, index + 1 :]
        rest[:, :, index] = rounded
    return rest.view(weight.shape)


def _inverse_factor(products: Tensor) -> Tensor:
    """Return the upper Cholesky factor of the inverse of damped products (G, I, I)."""
    mean = products.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-8)
    damped = products + DAMPING * mean[:, None, None] * torch.eye(products.shape[1], device=products.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
