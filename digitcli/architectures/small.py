"""Convolutional networks that make the most of few parameters."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import Normalise, convolution

CLASSES = 10


def tiny(width: int = 16) -> nn.Module:
    """Fewer than ten thousand parameters: five small convolutions and a mean over places.

    Lin, Chen & Yan, "Network in network", 2014, for the mean in place of hidden layers, which is where most
    parameters of other networks are.
    """
    return nn.Sequential(
        Normalise(),
        *convolution(1, width, stride=2, kernel_px=5),  # N, width, 14, 14
        *convolution(width, width),
        *convolution(width, width),
        nn.MaxPool2d(2),  # N, width, 7, 7
        *convolution(width, width),
        *convolution(width, width, padding_px=0),  # N, width, 5, 5
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )
