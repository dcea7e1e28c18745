"""Change a network to make it smaller: fold normalization, remove channels, round weights and inputs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from digitcli.architectures.compression import (
    BITS,
    SCALE_STEPS,
    SIZES,
    UINT8_MAX,
    WEIGHT,
    Change,
    apply_changes,
    largest_integer,
    quantized_layers,
)
from digitcli.architectures.summary import AllOutputs
from digitcli.errors import UsageError, import_packages

Run = Callable[[nn.Module], object]  # runs a network on training examples
LARGEST_SHARE = 0.95  # of the channels of one layer; a layer without channels would end the network
# The number of scales among which that with the least squared error is chosen, from the one that reaches the
# largest weight of a channel down to 0.3 of it. The largest outliers of a channel cost the others precision.
TRIED_SCALES = 15
LEAST_RANGE = 1e-6  # of an input that is always zero, so that its scale is not
QUANTIZED = (nn.Conv2d, nn.Linear)
POSITIONS = 4096  # of the inputs of a layer in each batch; of eight batches, more than a layer has inputs
MOST_INPUTS = 4096  # of a layer; the products of all pairs of more would take gigabytes
DAMPING = 0.01  # of the mean square of the inputs, as published; without it, equal inputs have no inverse
# Raises an EnvironmentFault if the library of the pruning is not installed.
check_pruning = partial(import_packages, "The step prune", "compress", "torch_pruning")


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
    folded = {}
    for normalization, name in pairs.items():
        layer, norm = (network.get_submodule(each) for each in (name, normalization))
        folded[name] = _folded_weights(layer, norm)
    change = {"change": "fold", "layers": pairs}
    apply_changes(network, [change])
    for name, (weight, bias) in folded.items():
        layer = network.get_submodule(name)
        layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return [change]


def _folded_weights(layer: Any, norm: Any) -> tuple[Tensor, Tensor]:
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    return fuse(layer.weight, layer.bias, *statistics)


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
        if isinstance(layer, QUANTIZED) and calls[before.target] == len(before.users) == 1:
            pairs[str(node.target)] = str(before.target)
    return pairs


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
    check_pruning()
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
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, QUANTIZED)}
    called: list[str] = []
    with torch.no_grad(), _observing(layers, lambda name, inputs: called.append(name)):
        network(example)
    return [layers[name] for name in called[-1:]]


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


@contextmanager
def _observing(layers: Mapping[str, nn.Module], observe: Callable[[str, Tensor], object]) -> Iterator[None]:
    """Call a function with the name and the input of each layer that is called."""

    def hook(name: str) -> Any:
        def call(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            observe(name, inputs[0])

        return call

    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def quantize_weights(network: nn.Module, bits: int, run: Run | None = None) -> list[Change]:
    """Quantize the weights of convolutions and linear layers in place, with a scale per output channel.

    The scales of 4-bit integers are rounded. With 8 bits they are a small part of the file, and the largest
    weight of a channel is exact (Krishnamoorthi, "Quantizing deep convolutional networks for efficient
    inference", 2018, section 3.1.1).

    run: with it, the errors of the weights of a layer make up for each other. Without it, each weight becomes
        the nearest integer.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, QUANTIZED)}
    weights = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    products = input_products(network, layers, run) if run else {}
    rounded = bits < BITS[0]
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
def quantize_inputs(network: nn.Module, run: Run) -> list[Change]:
    """Quantize the inputs of convolutions and linear layers in place.

    The range of an input is that of its least and largest values on training examples, together with zero,
    which is then exact.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def observe(name: str, inputs: Tensor) -> None:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(low, float(inputs.min())), max(high, float(inputs.max()))

    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, QUANTIZED)}
    with _observing(layers, observe):
        run(network.eval())
    chosen = {}
    for name, (low, high) in ranges.items():
        scale = max(high - low, LEAST_RANGE) / UINT8_MAX
        chosen[name] = [scale, round(-low / scale)]
    change = {"change": "quantize_inputs", "ranges": chosen}
    apply_changes(network, [change])
    return [change]


@torch.no_grad()
def input_products(network: nn.Module, layers: Mapping[str, Any], run: Run) -> dict[str, Tensor]:
    """Return, for each layer, the sums of the products of all pairs of its inputs (groups, I, I).

    Layers with more than `MOST_INPUTS` inputs, and those that are not called, are left out.
    """
    products: dict[str, Tensor] = {}

    def observe(name: str, inputs: Tensor) -> None:
        values = _inputs_of_weights(layers[name], inputs.float())  # G, I, N
        sums = values @ values.transpose(1, 2)
        products[name] = products[name] + sums if name in products else sums

    few = {name: layer for name, layer in layers.items() if layer.weight[0].numel() <= MOST_INPUTS}
    with _observing(few, observe):
        run(network.eval())
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
