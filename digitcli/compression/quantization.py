"""Quantization: weights become integers, and with calibration also the inputs of layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from digitcli.architectures.compression import (
    MOST_BITS,
    SCALE_STEPS,
    UINT8_MAX,
    WEIGHT,
    Change,
    apply_changes,
    largest_integer,
    quantized_layers,
)
from digitcli.compression.rounding import input_products, round_weights

# The number of scales among which that with the least squared error is chosen, from the one that reaches the
# largest weight of a channel down to 0.3 of it. The largest outliers of a channel cost the others precision.
TRIED_SCALES = 15

LEAST_RANGE = 1e-6  # of an input that is always zero, so that its scale is not
QUANTIZED = (nn.Conv2d, nn.Linear)


@torch.no_grad()
def quantize_weights(
    network: nn.Module, bits: int, run: Callable[[nn.Module], object] | None = None
) -> list[Change]:
    """Quantize the weights of convolutions and linear layers in place, with a scale per output channel.

    The scales of integers of fewer than 8 bits are rounded. With 8 bits they are a small part of the file,
    and the largest weight of a channel is exact, so that other programs find the same integers.

    run: runs the network on training examples, so that the errors of the weights of a layer make up for each
        other. Without it, each weight becomes the nearest integer.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, QUANTIZED)}
    weights = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    products = input_products(network, layers, run) if run else {}
    rounded = bits < MOST_BITS
    change = {"change": "quantize_weights", "bits": dict.fromkeys(weights, bits), "rounded_scales": rounded}
    apply_changes(network, [change])
    for name, (layer, quantizer) in quantized_layers(network).items():
        quantizer.log_scale.copy_(_best_log_scale(weights[name], bits, rounded))
        if name in products:
            integers_times_scale = round_weights(weights[name], quantizer.scale, bits, products[name])
            layer.parametrizations[WEIGHT].original.copy_(integers_times_scale)
    return [change]


def _best_log_scale(weight: Tensor, bits: int, rounded: bool) -> Tensor:
    """Return the logarithm of the scale of each output channel with the least squared error."""
    limit = largest_integer(bits)
    rows = weight.flatten(1)
    largest = (rows.abs().amax(dim=1).clamp_min(1e-8) / limit).log2()
    lower = torch.arange(TRIED_SCALES, device=weight.device)[:, None]
    highest = (SCALE_STEPS * largest).ceil() / SCALE_STEPS if rounded else largest
    log_scales = highest - lower / SCALE_STEPS  # S, C
    scales = log_scales.exp2()[..., None]
    errors = ((rows / scales).round().clamp(-limit, limit) * scales - rows).square().sum(dim=-1)  # S, C
    return log_scales.gather(0, errors.argmin(dim=0, keepdim=True))[0]


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
