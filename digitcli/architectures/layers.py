"""Layers that the families share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MNIST_MEAN, MNIST_DEVIATION = 0.1307, 0.3081
AROUND_PX = 3.0  # the deviation of the Gaussian that weighs what is around a pixel


class Normalize(nn.Module):
    """Shift and scale ink in [0, 1] to mean 0 and deviation 1 over MNIST's training pixels."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return (images - MNIST_MEAN) / MNIST_DEVIATION


class LocalContrast(nn.Module):
    """What each pixel differs from those around it, by how much these differ: one grey is as good as another.

    Jarrett, Kavukcuoglu, Ranzato & LeCun, "What is the best multi-stage architecture for object
    recognition?", 2009: the deviation around a pixel counts as no less than its mean over the image.
    """

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(images.device.type, enabled=False):
            contrast = images - _mean_around(images)
            deviation = _mean_around(contrast.square()).clamp_min(1e-8).sqrt()
            output: Tensor = contrast / deviation.maximum(deviation.mean(dim=(2, 3), keepdim=True))
        return output


def _mean_around(images: Tensor) -> Tensor:
    """The mean of the pixels around each one, weighed by a Gaussian; beyond the edge there are none."""
    height, width = images.shape[-2:]
    return _weights_around(height, images) @ images @ _weights_around(width, images).T


def _weights_around(size: int, like: Tensor) -> Tensor:
    places = torch.arange(size, device=like.device, dtype=like.dtype)
    weights = torch.exp(-(((places[:, None] - places) / AROUND_PX) ** 2) / 2)
    return weights / weights.sum(dim=1, keepdim=True)


def convolution(
    channels_in: int, channels: int, stride: int = 1, kernel_px: int = 3, padding_px: int | None = None
) -> list[nn.Module]:
    """A convolution, batch normalization and ReLU; without a padding that which keeps the size."""
    padding = kernel_px // 2 if padding_px is None else padding_px
    return [
        nn.Conv2d(channels_in, channels, kernel_px, stride, padding, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]


class DropPath(nn.Module):
    """In training it makes all that is computed for some of the inputs zero, see `switches.drop_branches`."""

    def __init__(self) -> None:
        super().__init__()
        self.probability = 0.0

    def forward(self, computed: Tensor) -> Tensor:  # noqa: D102
        if not self.training or self.probability == 0:
            return computed
        kept = torch.rand(len(computed), *(1,) * (computed.ndim - 1), device=computed.device)
        return computed * ((kept >= self.probability) / (1 - self.probability)).to(computed.dtype)


class Residual(nn.Module):
    """What a body computes is added to its input (He et al., 2016)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.drop = DropPath()

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        output: Tensor = images + self.drop(self.body(images))
        return output
