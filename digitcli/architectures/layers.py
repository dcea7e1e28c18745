"""Layers that the families share."""

from __future__ import annotations

from torch import Tensor, nn

MNIST_MEAN, MNIST_DEVIATION = 0.1307, 0.3081


class Normalise(nn.Module):
    """Shift and scale ink in [0, 1] to mean 0 and deviation 1 over MNIST's training pixels."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return (images - MNIST_MEAN) / MNIST_DEVIATION


class Residual(nn.Module):
    """What a body computes is added to its input (He et al., 2016)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        output: Tensor = images + self.body(images)
        return output
