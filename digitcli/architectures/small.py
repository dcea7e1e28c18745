"""Convolutional networks that make the most of few parameters."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import Normalise

CLASSES = 10


def tiny(width: int = 16) -> nn.Module:
    """Fewer than ten thousand parameters: five small convolutions and a mean over places.

    Lin, Chen & Yan, "Network in network", 2014, for the mean in place of hidden layers, which is where most
    parameters of other networks are.
    """
    return nn.Sequential(
        Normalise(),
        *_convolution(1, width, 5, stride=2),  # N, width, 14, 14
        *_convolution(width, width, 3),
        *_convolution(width, width, 3),
        nn.MaxPool2d(2),  # N, width, 7, 7
        *_convolution(width, width, 3),
        nn.Conv2d(width, width, 3, bias=False),  # N, width, 5, 5
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )


def _convolution(channels_in: int, channels: int, kernel_px: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels, kernel_px, stride, padding=kernel_px // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]
