"""Layers that several families of architectures use."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MNIST_MEAN = 0.1307  # mean of the training pixels of MNIST, from 0 to 1
MNIST_DEVIATION = 0.3081  # their standard deviation
LEAST_INK = 1e-6  # sum of ink; a blank image has no slope
# Least variance of the rows of the ink, in squares of half of the height: that of one pixel. A horizontal
# stroke has no slope.
LEAST_VARIANCE = 1 / 14**2
LEAST_CONTRAST_VARIANCE = 1e-8  # squares of ink; even paper has a local deviation of 0
CONTRAST_PX = 3.0  # pixels; standard deviation of the Gaussian window of local contrast; chosen by hand


class Normalize(nn.Module):
    """Normalization of ink in [0, 1] to mean 0 and standard deviation 1 over MNIST's training pixels."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return (images - MNIST_MEAN) / MNIST_DEVIATION


class Deslant(nn.Module):
    """Shear of each image about its centre of ink until its strokes stand upright; it has no parameters.

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998, section
    III-A, deslant digits so: the slope is the covariance of the columns and rows of the ink, divided by the
    variance of the rows.
    """

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(images.device.type, enabled=False):
            ink = images.float()  # N, 1, H, W
            rows = torch.linspace(-1, 1, ink.shape[-2], device=ink.device)[:, None]
            columns = torch.linspace(-1, 1, ink.shape[-1], device=ink.device)
            total = ink.sum(dim=(1, 2, 3)).clamp_min(LEAST_INK)

            def mean(values: Tensor) -> Tensor:
                return (ink * values).sum(dim=(1, 2, 3)) / total  # N

            middle = mean(rows)
            covariance = mean(rows * columns) - middle * mean(columns)
            slope = covariance / (mean(rows.square()) - middle.square()).clamp_min(LEAST_VARIANCE)
            zero, one = torch.zeros_like(slope), torch.ones_like(slope)
            shear = torch.stack([one, slope, -slope * middle, zero, one, zero], dim=1)
            places = functional.affine_grid(shear.view(-1, 2, 3), list(ink.shape), align_corners=True)
            return functional.grid_sample(ink, places, align_corners=True)


class LocalContrast(nn.Module):
    """Local contrast normalization: subtract the local mean and divide by the local standard deviation.

    The result does not depend on the grey levels of ink and paper. Jarrett, Kavukcuoglu, Ranzato & LeCun,
    "What is the best multi-stage architecture for object recognition?", 2009: the divisor is at least the
    mean of the local standard deviations of the image, so that noise on empty paper is not amplified.
    """

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(images.device.type, enabled=False):
            contrast = images - _local_mean(images)
            deviation = _local_mean(contrast.square()).clamp_min(LEAST_CONTRAST_VARIANCE).sqrt()
            output: Tensor = contrast / deviation.maximum(deviation.mean(dim=(2, 3), keepdim=True))
        return output


def _local_mean(images: Tensor) -> Tensor:
    """Return the mean around each pixel, weighted by a Gaussian; pixels beyond the edge do not count."""
    height, width = images.shape[-2:]
    return window_weights(height, images) @ images @ window_weights(width, images).T


def window_weights(size: int, like: Tensor) -> Tensor:
    """Return the weights (size, size) of all pixels of a row in the local mean around each of them.

    They are of the type of the tensor `like`, on its device.
    """
    positions = torch.arange(size, device=like.device, dtype=like.dtype)
    weights = torch.exp(-(((positions[:, None] - positions) / CONTRAST_PX) ** 2) / 2)
    return weights / weights.sum(dim=1, keepdim=True)


def convolution(
    channels_in: int, channels: int, stride: int = 1, kernel_px: int = 3, padding_px: int | None = None
) -> list[nn.Module]:
    """Return a convolution, batch normalization and ReLU; the default padding keeps the size of the maps."""
    padding = kernel_px // 2 if padding_px is None else padding_px
    return [
        nn.Conv2d(channels_in, channels, kernel_px, stride, padding, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]


class DropPath(nn.Module):
    """A switch that sets a residual branch to zero for some inputs during training.

    `model_surgery.set_stochastic_depth` sets the probability.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probability = 0.0

    def forward(self, branch: Tensor) -> Tensor:  # noqa: D102
        if not self.training or self.probability == 0:
            return branch
        chance = torch.rand(len(branch), *(1,) * (branch.ndim - 1), device=branch.device)
        return branch * ((chance >= self.probability) / (1 - self.probability)).to(branch.dtype)


class Residual(nn.Module):
    """A residual branch: the output of a body is added to its input (He et al., 2016)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.drop = DropPath()

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        output: Tensor = images + self.drop(self.body(images))
        return output
