"""Convolutional networks with few parameters or few multiplications."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import Deslant, Normalize

CLASSES = 10
SLOPE = 0.2  # of LeakyReLU below zero; with so few maps, one that is always zero would be a large loss


def mobilenet(width: int = 32) -> nn.Module:
    """Build MobileNet: depthwise convolutions filter each map, then 1x1 convolutions mix the maps.

    Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications",
    2017. Differences: seven blocks, for images of 28x28; the stem and two blocks have stride 2.
    """
    steps = [(width, 2 * width, 1), (2 * width, 2 * width, 1), (2 * width, 4 * width, 2)]
    steps += [(4 * width, 4 * width, 1), (4 * width, 4 * width, 1), (4 * width, 8 * width, 2)]
    steps += [(8 * width, 8 * width, 1)]
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),  # N, width, 14, 14
        nn.BatchNorm2d(width),
        nn.ReLU(),
        *(_separable_block(channels_in, channels, stride) for channels_in, channels, stride in steps),
        nn.AdaptiveAvgPool2d(1),  # N, 8 width, 1, 1
        nn.Flatten(),
        nn.Linear(8 * width, CLASSES),
    )


def tiny(width: int = 37) -> nn.Module:
    """Build a network of fewer than 10,000 parameters: a convolution and five depthwise separable ones.

    Chollet, "Xception: deep learning with depthwise separable convolutions", 2017, separates the filtering
    of each map from the mixing of maps, which takes few parameters. Lin, Chen & Yan, "Network in network",
    2014, replace hidden layers by the mean over all positions. The digits are deslanted first, so that the
    filters need not know every slant.
    """
    return nn.Sequential(
        Deslant(),
        Normalize(),
        nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),  # N, width, 14, 14
        nn.BatchNorm2d(width),
        nn.LeakyReLU(SLOPE),
        *_separable_layers(width, width),  # N, width, 12, 12
        *_separable_layers(width, width),
        *_separable_layers(width, width),
        *_separable_layers(width, width),
        *_separable_layers(width, width),  # N, width, 4, 4
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )


def micro() -> nn.Module:
    """Build a network of fewer than 1,000 parameters: one convolution and four depthwise separable ones.

    Chollet, "Xception: deep learning with depthwise separable convolutions", 2017, separates the filtering
    of each map from the mixing of maps. Only the first convolution is padded; the others shrink the maps. The
    digits are deslanted first, as in `tiny`.
    """
    return nn.Sequential(
        Deslant(),
        Normalize(),
        nn.Conv2d(1, 7, 3, padding=1, bias=False),  # N, 7, 28, 28
        nn.BatchNorm2d(7),
        nn.LeakyReLU(SLOPE),
        nn.MaxPool2d(2),  # N, 7, 14, 14
        *_separable_layers(7, 10),  # N, 10, 12, 12
        *_separable_layers(10, 10),
        *_separable_layers(10, 10),
        *_separable_layers(10, 10),  # N, 10, 6, 6
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, CLASSES),
    )


def _separable_block(channels_in: int, channels: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def _separable_layers(channels_in: int, channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_in, 3, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(SLOPE),
    ]
