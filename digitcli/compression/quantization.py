"""Quantization: weights become integers, and with calibration also the inputs of layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from digitcli.architectures.compression import (
    UINT8_MAX,
    Change,
    apply_changes,
    largest_integer,
    quantized_layers,
)

# The shares of the largest weight of a channel among which the scale with the least squared error is chosen.
# The largest outliers of a channel cost the other weights precision.
CLIPPING = tuple(share / 100 for share in range(30, 101, 5))
LEAST_RANGE = 1e-6  # of an input that is always zero, so that its scale is not
QUANTIZED = (nn.Conv2d, nn.Linear)


@torch.no_grad()
def quantize_weights(network: nn.Module, bits: int) -> list[Change]:
    """Quantize the weights of convolutions and linear layers in place, with a scale per output channel."""
    weights = {
        name: layer.weight.detach().clone()
        for name, layer in network.named_modules()
        if isinstance(layer, QUANTIZED)
    }
    change = {"change": "quantize_weights", "bits": dict.fromkeys(weights, bits)}
    apply_changes(network, [change])
    for name, (_, quantizer) in quantized_layers(network).items():
        quantizer.log_scale.copy_(_best_scale(weights[name], bits).log2())
    return [change]


def _best_scale(weight: Tensor, bits: int) -> Tensor:
    """Return the scale of each output channel for which the rounded weights have the least squared error."""
    limit = largest_integer(bits)
    rows = weight.flatten(1)
    largest = rows.abs().amax(dim=1).clamp_min(1e-8)
    scales = torch.stack([share * largest / limit for share in CLIPPING])  # S, C
    steps = (rows / scales[..., None]).round().clamp(-limit, limit)
    errors = (steps * scales[..., None] - rows).square().sum(dim=-1)  # S, C
    return scales.gather(0, errors.argmin(dim=0, keepdim=True))[0]


@torch.no_grad()
def quantize_inputs(network: nn.Module, run: Callable[[nn.Module], object]) -> list[Change]:
    """Quantize the inputs of convolutions and linear layers in place.

    run: runs the network on training examples. The range of an input is that of its least and largest values
        on them, together with zero, which is then exact.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def observed(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))

        return record

    handles = [
        layer.register_forward_pre_hook(observed(name))
        for name, layer in network.named_modules()
        if isinstance(layer, QUANTIZED)
    ]
    run(network.eval())
    for handle in handles:
        handle.remove()
    chosen = {}
    for name, (low, high) in ranges.items():
        scale = max(high - low, LEAST_RANGE) / UINT8_MAX
        chosen[name] = [scale, round(-low / scale)]
    change = {"change": "quantize_inputs", "ranges": chosen}
    apply_changes(network, [change])
    return [change]
