"""Layers that the families share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MNIST_MEAN, MNIST_DEVIATION = 0.1307, 0.3081


class Normalise(nn.Module):
    """Shift and scale ink in [0, 1] to mean 0 and deviation 1 over MNIST's training pixels."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return (images - MNIST_MEAN) / MNIST_DEVIATION


def convolution(
    channels_in: int, channels: int, stride: int = 1, kernel_px: int = 3, padding_px: int | None = None
) -> list[nn.Module]:
    """A convolution, batch normalisation and ReLU; without a padding that which keeps the size."""
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
