"""Networks of depthwise separable convolutions."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import Normalize

CLASSES = 10


def mobilenet(width: int = 32) -> nn.Module:
    """Depthwise separable convolutions: each map is filtered by itself, then maps are mixed pixel by pixel.

    Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications",
    2017. Sized for 28x28: seven blocks, the stem and two of them of stride 2.
    """
    steps = [(width, 2 * width, 1), (2 * width, 2 * width, 1), (2 * width, 4 * width, 2)]
    steps += [(4 * width, 4 * width, 1), (4 * width, 4 * width, 1), (4 * width, 8 * width, 2)]
    steps += [(8 * width, 8 * width, 1)]
    blocks = [_separable(channels_in, channels, stride) for channels_in, channels, stride in steps]
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),  # N, width, 14, 14
        nn.BatchNorm2d(width),
        nn.ReLU(),
        *blocks,  # N, 8 width, 4, 4
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, CLASSES),
    )


def _separable(channels_in: int, channels: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
