"""Classifiers of torchvision by their names there: `resnet18`, `vit_b_16`, ..."""

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
PATIENCE_SECONDS = 30.0  # with a host that does not answer
SIDES_PX = (32, 64, 96, 224)  # that images are brought to: the smallest that a network can take


def builder_of(name: str) -> Callable[..., nn.Module]:
    """What builds torchvision's classifier of that name.

    Raises:
        UsageError: it has none; the remedy suggests the nearest.
    """
    known = _models().list_models(module=_models())
    if name not in known:
        raise UsageError(f"torchvision has no classifier named '{name}'.", did_you_mean(name, known))

    def build(pretrained: bool = False) -> nn.Module:
        return adapt(name, pretrained)

    build.__doc__ = f"torchvision's {name}, for one channel and ten classes."
    return build


def adapt(name: str, pretrained: bool = False) -> nn.Module:
    """A classifier of torchvision for one channel and ten classes, with fresh weights or those of ImageNet.

    The first convolution sums its weights over the colours it was learnt for; the last layer is a fresh one.
    Images are enlarged to the smallest of `SIDES_PX` that the network takes.

    Raises:
        ModelError: there are no pretrained weights, or they cannot be fetched.
    """
    side_px = _side_px(_plain(name).to("meta"))
    network = _pretrained(name) if pretrained else _plain(name)
    return nn.Sequential(Normalize(), Enlarge(side_px), _with_ten_classes(_with_one_channel(network)).train())


def _models() -> Any:
    return importlib.import_module("torchvision.models")  # has no annotations


class Enlarge(nn.Module):
    """Images (N, 1, H, W) to (N, 1, side, side)."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.side_px = side_px

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.interpolate(images, (self.side_px, self.side_px), mode="bilinear")


def _plain(name: str) -> nn.Module:
    """Without the branches that some have for training alone."""
    branched = name in ("googlenet", "inception_v3")
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if branched else {}
    network: nn.Module = _models().get_model(name, weights=None, **options)
    return network


def _pretrained(name: str) -> nn.Module:
    weights = _models().get_model_weights(name).DEFAULT
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_SECONDS)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            network: nn.Module = _models().get_model(name, weights=weights, progress=False)
    except Exception as error:  # whatever the network, the cache or the file raises
        raise ModelError(
            f"The pretrained weights of {name} cannot be had: {str(error).splitlines()[0]}.",
            f"Fetch {weights.url} into {torch.hub.get_dir()}/checkpoints, or leave --pretrained out.",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    for branch in ("aux_logits", "aux1", "aux2", "AuxLogits"):
        if hasattr(network, branch):
            setattr(network, branch, None)
    return network


def _side_px(network: nn.Module) -> int:
    """The smallest side of `SIDES_PX` that a network on the meta device takes."""
    for side_px in SIDES_PX[:-1]:
        with contextlib.suppress(Exception), torch.no_grad():  # each says in its own way that it cannot
            network.eval()(torch.empty(1, 3, side_px, side_px, device="meta"))
            return side_px
    return SIDES_PX[-1]


def _with_one_channel(network: nn.Module) -> nn.Module:
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            one = nn.Conv2d(
                1,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                layer.dilation,  # type: ignore[arg-type]
                bias=layer.bias is not None,
            )
            with torch.no_grad():
                one.weight.copy_(layer.weight.sum(dim=1, keepdim=True))
                if layer.bias is not None and one.bias is not None:
                    one.bias.copy_(layer.bias)
            network.set_submodule(path, one)
            break
    if hasattr(network, "transform_input"):
        setattr(network, "transform_input", False)  # noqa: B010  # between the means of colours
    return network


def _with_ten_classes(network: nn.Module) -> nn.Module:
    *_, (path, last) = (
        (path, layer)
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels) == 1000
    )
    if isinstance(last, nn.Linear):
        head: nn.Module = nn.Linear(last.in_features, CLASSES)
    else:
        head = nn.Conv2d(last.in_channels, CLASSES, 1)
    network.set_submodule(path, head)
    return network
