"""What the layers of a network answer to an image, and which training digits the last one sees as similar."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import digitcli
from digitcli.architectures.averaging import Ensemble
from digitcli.atomic_write import write_whole
from digitcli.data.dataset import split
from digitcli.data.loading import cache_folder
from digitcli.data.mnist import load_mnist
from digitcli.errors import OutputError, UsageError
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import as_input, device_of
from digitcli.interpretation.explanation import Layer, Method, Neighbour

# Layers of transformers whose outputs (N, H, W, C) are no maps, and layers whose outputs are always maps. All
# others keep the order of the layer before them.
CHANNELS_LAST = (nn.Linear, nn.LayerNorm)
CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
# Least height and width of a map that shows where something is.
LEAST_SIDE = 2
# Why there may be no feature maps.
NO_MAPS = "No layer of this network answers with pictures, so it has no feature maps."
# Training digits that are searched: the first of the training part. Digits that a network sees together.
SEARCHED, BATCH_SIZE = 2_000, 512
NEIGHBOURS = 3


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


class NeighbourSearch:
    """A search of the digits of MNIST's training part by the inputs of the last layer of a network.

    What a model sees of the first 2,000 is stored in the cache folder.
    Caruana et al., "Case-based explanation of non-case-based learning methods", 1999.
    """

    def __init__(self, network: nn.Module, model: ResolvedModel) -> None:
        self._network = network
        self._digits = self._training_digits(f"{model.id.rpartition('@')[2]}-{digitcli.__version__}.npz")
        seen = self._digits["features"]
        self._scale = float(np.linalg.norm(seen - np.roll(seen, 1, axis=0), axis=1).mean())

    def nearest(self, image: npt.NDArray[np.uint8], count: int = NEIGHBOURS) -> tuple[Neighbour, ...]:
        """Return the nearest digits of an image, uint8 (28, 28), the nearest first."""
        digits = self._digits
        distances = np.linalg.norm(digits["features"] - self._features(image[None]), axis=1)
        return tuple(
            Neighbour(
                int(digits["numbers"][index]),
                int(digits["labels"][index]),
                float(distances[index]) / self._scale,
                digits["images"][index],
            )
            for index in np.argsort(distances, kind="stable")[:count]
        )

    def _training_digits(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return images, labels, their numbers among the 60,000 published digits, and features (N, F)."""
        path = cache_folder() / "features" / name
        with (
            contextlib.suppress(OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile),
            np.load(path) as stored,
        ):
            if stored["features"].shape[0] == SEARCHED:
                return dict(stored)
        parts = split(load_mnist())
        digits, numbers = parts.train.take(np.arange(SEARCHED)), parts.train_indices[:SEARCHED]
        seen: dict[str, npt.NDArray[Any]] = {
            "images": digits.images, "labels": digits.labels, "numbers": numbers,
            "features": self._features(digits.images),
        }  # fmt: skip
        content = io.BytesIO()
        np.savez(content, **seen)  # type: ignore[arg-type]
        with contextlib.suppress(OSError, OutputError):  # it only saves time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content.getvalue())
        return seen

    def _features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the inputs of the last layer, float32 (N, F)."""
        device = device_of(self._network)
        batches: tuple[Tensor, ...] = torch.from_numpy(images.copy()).split(BATCH_SIZE)
        seen = [features(self._network, as_input(batch.to(device))).float().cpu() for batch in batches]
        return np.asarray(torch.cat(seen).numpy())
