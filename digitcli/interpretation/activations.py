"""What the layers of a network answer to an image, and what the units of its first layer look for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.averaging import Ensemble
from digitcli.errors import UsageError
from digitcli.interpretation.explanation import Layer, Method

# Layers of transformers whose outputs (N, H, W, C) are no maps, and layers whose outputs are always maps. All
# others keep the order of the layer before them.
CHANNELS_LAST = (nn.Linear, nn.LayerNorm)
CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
# Least height and width of a map that shows where something is.
LEAST_SIDE = 2
# Why there may be no feature maps.
NO_MAPS = "No layer of this network answers with pictures, so it has no feature maps."


@contextlib.contextmanager
def hooks(*handles: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    """Remove hooks at the end."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def activations(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the output of every layer for images (N, C, H, W), by its name, in the order of computation."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output.clone()  # a layer that works in place would overwrite it

        return hook

    layers = [(name, layer) for name, layer in network.named_modules() if name]
    with hooks(*(layer.register_forward_hook(keep(name)) for name, layer in layers)):
        network(images)
    return outputs


def feature_maps(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the outputs of layers that are maps (N, C, H, W) with a height and a width, see `activations`.

    A layer that only rescales the pixels, as normalization of the input does, has none.
    """
    maps: dict[str, Tensor] = {}
    is_channels_last = False
    for name, output in activations(network, images).items():
        if output.dim() != 4 or len(output) != len(images):
            continue
        is_channels_last = _is_channels_last(network.get_submodule(name), is_channels_last)
        is_map = min(output.shape[2:]) >= LEAST_SIDE and output.shape != images.shape
        if is_map and not is_channels_last:
            maps[name] = output
    return maps


def _is_channels_last(layer: nn.Module, before: bool) -> bool:
    """Return whether the output of a layer is (N, H, W, C) and not (N, C, H, W).

    before: whether that of the layer before it is.
    """
    if type(layer).__name__ == "Permute":  # of torchvision, whose import takes as long as an explanation
        return [*getattr(layer, "dims", ())][-1:] == [1]
    if type(layer) in CHANNELS_LAST:  # LayerNorm2d, which is derived from LayerNorm, keeps the order
        return True
    return before and not isinstance(layer, CHANNELS_FIRST)


def filters(network: nn.Module, side_px: int = 28) -> dict[str, Tensor]:
    """Return the weights (N, H, W) of the first layer by its name: what each of its units looks for.

    Those of a fully connected layer that sees all pixels are as large as the image. An ensemble has a first
    layer for each of its members.

    Raises:
        UsageError: the first layer has no weights that are pictures.
    """
    if isinstance(network, Ensemble):
        return {
            f"members.{number}.{name}": weights
            for number, member in enumerate(network.members)
            for name, weights in filters(member, side_px).items()
        }
    factor = 1
    for name, layer in network.named_modules():
        weights = getattr(layer, "weight", None)
        if isinstance(layer, nn.PixelUnshuffle):
            factor *= layer.downscale_factor
        if isinstance(layer, nn.Conv2d) and weights is not None:
            return {name: F.pixel_shuffle(weights.detach(), factor).mean(dim=1)}  # the mean of three colours
        if isinstance(layer, nn.Linear) and layer.in_features == side_px**2:
            return {name: layer.weight.detach().unflatten(1, (side_px, side_px))}
        if weights is not None or list(layer.parameters(recurse=False)):
            break
    raise UsageError(
        "The weights of the first layer of this network are no pictures.", "Choose another method."
    )


@torch.no_grad()
def features(network: nn.Module, images: Tensor) -> Tensor:
    """Return the input of the last layer with weights, (N, F), where similar digits are close together.

    That of an ensemble is the inputs of all members side by side, each scaled to length 1.
    """
    if isinstance(network, Ensemble):
        seen = [F.normalize(features(member, images)) for member in network.members]
        return torch.cat(seen, dim=1)
    latest = [images]

    def keep(layer: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            latest[0] = inputs[0]

    layers = [layer for layer in network.modules() if next(layer.parameters(recurse=False), None) is not None]
    with hooks(*(layer.register_forward_pre_hook(keep) for layer in layers)):
        network(images)
    return latest[0].flatten(1)


def layers_of(network: nn.Module, image: Tensor, methods: Sequence[Method]) -> tuple[Layer, ...]:
    """Return the filters of the first layer, and the feature maps of all layers without parts.

    image: one image (1, C, H, W).
    """
    layers = []
    if "filters" in methods:
        for name, weights in filters(network).items():
            layers.append(Layer(name, "filters", weights.float().cpu().numpy()))
    if "feature-maps" in methods:
        for name, output in feature_maps(network, image).items():
            layer = network.get_submodule(name)
            if not list(layer.children()):
                layers.append(Layer(name, type(layer).__name__, output[0].float().cpu().numpy()))
    return tuple(layers)
