"""The classifiers of torchvision by their names there, for example `torchvision/resnet18`."""

from __future__ import annotations

import contextlib
import importlib
import io
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.architectures.layers import Normalize
from digitcli.errors import ModelError, UsageError, did_you_mean

CLASSES = 10
TIMEOUT_SECONDS = 30.0  # for a host that does not answer
SIDES_PX = (32, 64, 96, 224)  # pixels; images are enlarged to the first side that a network accepts


def find_builder(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds torchvision's classifier of a name.

    Raises:
        UsageError: there is no such classifier; the remedy suggests the nearest names.
    """
    known = _models().list_models(module=_models())
    if name not in known:
        raise UsageError(f"torchvision has no classifier named '{name}'.", did_you_mean(name, known))

    def build(pretrained: bool = False) -> nn.Module:
        return build_classifier(name, pretrained)

    build.__doc__ = f"Build torchvision's {name} for one channel and ten classes."
    return build


def build_classifier(name: str, pretrained: bool = False) -> nn.Module:
    """Build a classifier of torchvision for one channel and ten classes, with fresh or ImageNet weights.

    The weights of the first convolution are summed over the three colours, and the last layer is a new one.
    Images are enlarged to the first of `SIDES_PX` that the network accepts.

    Raises:
        ModelError: there are no pretrained weights, or the download failed.
    """
    side_px = _accepted_side_px(_untrained(name).to("meta"))
    network = _pretrained(name) if pretrained else _untrained(name)
    return nn.Sequential(Normalize(), Enlarge(side_px), _with_ten_classes(_with_one_channel(network)).train())


def _models() -> Any:
    """Import torchvision's models only now: no other architecture needs torchvision."""
    return importlib.import_module("torchvision.models")


class Enlarge(nn.Module):
    """The enlargement of images (N, 1, H, W) to (N, 1, side_px, side_px)."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.side_px = side_px

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.interpolate(images, (self.side_px, self.side_px), mode="bilinear")


def _untrained(name: str) -> nn.Module:
    """Return a network with fresh weights, without the auxiliary classifiers that some have for training."""
    has_auxiliary = name in ("googlenet", "inception_v3")
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if has_auxiliary else {}
    network: nn.Module = _models().get_model(name, weights=None, **options)
    return network


def _pretrained(name: str) -> nn.Module:
    """Return a network with ImageNet weights, which are downloaded unless they are in the cache.

    A pickled file may hold any code. So the file is first loaded as tensors only, which fails for anything
    else; then torchvision loads it, which renames the tensors of some networks.
    """
    weights = _models().get_model_weights(name).DEFAULT
    default_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
            network: nn.Module = _models().get_model(name, weights=weights, progress=False)
    except Exception as error:  # the network, the cache and the file raise exceptions of many kinds
        raise ModelError(
            f"The pretrained weights of {name} cannot be loaded: {str(error).splitlines()[0]}.",
            f"Download {weights.url} into {torch.hub.get_dir()}/checkpoints, or leave --pretrained out.",
        ) from error
    finally:
        socket.setdefaulttimeout(default_timeout)
    for auxiliary in ("aux_logits", "aux1", "aux2", "AuxLogits"):
        if hasattr(network, auxiliary):
            setattr(network, auxiliary, None)
    return network


def _accepted_side_px(network: nn.Module) -> int:
    """Return the first side of `SIDES_PX` that a network on the meta device accepts."""
    for side_px in SIDES_PX[:-1]:
        # Networks refuse small images by various exceptions.
        with contextlib.suppress(Exception), torch.no_grad():
            network.eval()(torch.empty(1, 3, side_px, side_px, device="meta"))
            return side_px
    return SIDES_PX[-1]


def _with_one_channel(network: nn.Module) -> nn.Module:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            layer.in_channels = 1
            layer.weight = nn.Parameter(layer.weight.detach().sum(dim=1, keepdim=True))
            break
    if hasattr(network, "transform_input"):
        setattr(network, "transform_input", False)  # noqa: B010  # it rescales three colours
    return network


def _with_ten_classes(network: nn.Module) -> nn.Module:
    *_, (path, last) = (
        (path, layer)
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == 1000
    )
    head: nn.Module = (
        nn.Linear(last.in_features, CLASSES)
        if isinstance(last, nn.Linear)
        else nn.Conv2d(last.in_channels, CLASSES, 1)
    )
    network.set_submodule(path, head)
    return network
