"""Convolutional networks that make the most of few parameters."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import Normalize, convolution

CLASSES = 10
SLOPE = 0.2  # of the activation below zero: no map of so few may die


def tiny(width: int = 16) -> nn.Module:
    """Fewer than ten thousand parameters: five small convolutions and a mean over places.

    Lin, Chen & Yan, "Network in network", 2014, for the mean in place of hidden layers, which is where most
    parameters of other networks are.
    """
    return nn.Sequential(
        Normalize(),
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


def micro() -> nn.Module:
    """Fewer than a thousand parameters: one convolution, four depthwise separable ones, a mean over places.

    Chollet, "Xception: deep learning with depthwise separable convolutions", 2017, for the parting of places
    and maps. Behind the first convolution nothing is padded, so that the maps shrink by themselves.
    """
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, 7, 3, padding=1, bias=False),  # N, 7, 28, 28
        nn.BatchNorm2d(7),
        nn.LeakyReLU(SLOPE),
        nn.MaxPool2d(2),  # N, 7, 14, 14
        *_separable(7, 10),  # N, 10, 12, 12
        *_separable(10, 10),
        *_separable(10, 10),
        *_separable(10, 10),  # N, 10, 6, 6
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, CLASSES),
    )


def _separable(channels_in: int, channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_in, 3, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(SLOPE),
    ]
