"""Convolutional networks: plain ones, some with few parameters or few multiplications, and capsules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from digitcli.architectures.layers import Deslant, LocalContrast, Normalize, convolution

CLASSES = 10
MIN_LENGTH = 1e-4  # shorter capsules count as this long, so that the logit stays finite
MAX_LENGTH = 1 - 1e-4  # the same for longer capsules
SLOPE = 0.2  # of LeakyReLU below zero; with so few maps, one that is always zero would be a large loss


def fast() -> nn.Module:
    """Build a network that trains in seconds on a CPU: four pixels become four maps, which are pooled to 7x7.

    Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, designs a network and its recipe for the
    shortest time to an accuracy. Difference: it is designed for a CPU, on which large maps and many
    operations cost the most time.
    """
    return nn.Sequential(
        Normalize(),
        nn.PixelUnshuffle(2),  # N, 4, 14, 14
        nn.Conv2d(4, 16, 3, padding=1),  # N, 16, 14, 14
        nn.MaxPool2d(2),  # N, 16, 7, 7
        nn.ReLU(),
        nn.Conv2d(16, 32, 3),  # N, 32, 5, 5
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 5 * 32, 128, bias=False),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )


def robust(dropout: float, width: int = 64) -> nn.Module:
    """Build a network for digits from other sources than its dataset: local contrast and five convolutions.

    Local contrast normalization (Jarrett et al., 2009) comes first. Two 3x3 convolutions, a pooling and three
    3x3 convolutions follow (Simonyan & Zisserman, 2015). A hidden layer with weights for every position
    follows: marks beside the digit disturb it less than they disturb a mean over all positions.
    """
    return nn.Sequential(
        LocalContrast(),
        nn.PixelUnshuffle(2),  # N, 4, 14, 14
        *convolution(4, width),
        *convolution(width, width),
        nn.MaxPool2d(2),  # N, width, 7, 7
        nn.Dropout(dropout / 2),
        *convolution(width, 2 * width),
        *convolution(2 * width, 2 * width),
        *convolution(2 * width, 2 * width, padding_px=0),  # N, 2 width, 5, 5
        nn.Flatten(),
        nn.Linear(5 * 5 * 2 * width, 128, bias=False),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, CLASSES),
    )


def lenet1() -> nn.Module:
    """Build LeNet-1: two convolutions with average pooling, and one linear layer.

    LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990. Differences:
    every map of the second convolution sees all four maps before it, and pooling has no weights.
    """
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, 4, 5),  # N, 4, 24, 24
        nn.Tanh(),
        nn.AvgPool2d(2),  # N, 4, 12, 12
        nn.Conv2d(4, 12, 5),  # N, 12, 8, 8
        nn.Tanh(),
        nn.AvgPool2d(2),  # N, 12, 4, 4
        nn.Flatten(),
        nn.Linear(4 * 4 * 12, CLASSES),
    )


def lenet5() -> nn.Module:
    """Build LeNet-5: three convolutions, two of them with average pooling, and two fully connected layers.

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998.
    Differences: every map of the second convolution sees all six maps before it, pooling has neither weights
    nor a sigmoid, images are padded with the mean grey, and a linear layer replaces radial basis functions.
    """
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, 6, 5, padding=2),  # N, 6, 28, 28
        nn.Tanh(),
        nn.AvgPool2d(2),  # N, 6, 14, 14
        nn.Conv2d(6, 16, 5),  # N, 16, 10, 10
        nn.Tanh(),
        nn.AvgPool2d(2),  # N, 16, 5, 5
        nn.Conv2d(16, 120, 5),  # N, 120, 1, 1
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, CLASSES),
    )


def cnn(dropout: float) -> nn.Module:
    """Build two 5x5 convolutions with max pooling, a hidden layer of 1,024 units and dropout.

    The layers follow LeCun et al., 1998; ReLU, max pooling and dropout follow Krizhevsky, Sutskever & Hinton,
    "ImageNet classification with deep convolutional neural networks", 2012.
    """
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, 32, 5, padding=2),  # N, 32, 28, 28
        nn.ReLU(),
        nn.MaxPool2d(2),  # N, 32, 14, 14
        nn.Conv2d(32, 64, 5, padding=2),  # N, 64, 14, 14
        nn.ReLU(),
        nn.MaxPool2d(2),  # N, 64, 7, 7
        nn.Flatten(),
        nn.Linear(7 * 7 * 64, 1024),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(1024, CLASSES),
    )


def allconv(dropout: float, width: int = 32) -> nn.Module:
    """Build an all-convolutional network: strides replace pooling, and a mean replaces hidden layers.

    Springenberg, Dosovitskiy, Brox & Riedmiller, "Striving for simplicity: the all convolutional net", 2015.
    Differences: batch normalization, fewer maps, and no dropout on the input.
    """
    return nn.Sequential(
        Normalize(),
        *convolution(1, width),  # N, width, 28, 28
        *convolution(width, width),
        *convolution(width, width, stride=2),  # N, width, 14, 14
        nn.Dropout(dropout),
        *convolution(width, 2 * width),
        *convolution(2 * width, 2 * width),
        *convolution(2 * width, 2 * width, stride=2),  # N, 2 width, 7, 7
        nn.Dropout(dropout),
        *convolution(2 * width, 2 * width),
        *convolution(2 * width, 2 * width, kernel_px=1),
        nn.Conv2d(2 * width, CLASSES, 1),  # N, 10, 7, 7
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def vgg(dropout: float, width: int = 32) -> nn.Module:
    """Build pairs of 3x3 convolutions between max poolings, with twice as many maps after each pooling.

    Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015.
    Differences: batch normalization, and a mean over positions replaces two hidden layers.
    """
    layers: list[nn.Module] = [Normalize()]
    channels = 1
    for stage in range(3):
        wider = width * 2**stage
        layers += [*convolution(channels, wider), *convolution(wider, wider)]
        layers += [nn.MaxPool2d(2, ceil_mode=True), nn.Dropout(dropout)]  # 14x14, 7x7, 4x4
        channels = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


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
        *convolution(1, width, stride=2),  # N, width, 14, 14
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
        *(layer for _ in range(5) for layer in _separable_layers(width, width)),  # N, width, 4, 4
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
        *convolution(channels_in, channels, kernel_px=1),
    )


def _separable_layers(channels_in: int, channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_in, 3, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(SLOPE),
    ]


def capsnet(width: int = 64, kinds: int = 16) -> nn.Module:
    """Build a capsule network: capsules of size 8 predict ten capsules of size 16 by routing by agreement.

    Sabour, Frosst & Hinton, "Dynamic routing between capsules", 2017. Differences: 5x5 kernels with
    strides in place of 9x9 kernels, `kinds` kinds of capsules at 5x5 positions, and no reconstruction of the
    image. A class's output is the logit of the length of its capsule, so that the sigmoid in the margin loss
    gives the length. Gradients flow through the last of the three routing rounds only.
    """
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, width, 5, stride=2, padding=2),  # N, width, 14, 14
        nn.ReLU(),
        nn.Conv2d(width, kinds * 8, 5, stride=2),  # N, 8 kinds, 5, 5
        Capsules(kinds, 5 * 5),  # N, 25 kinds, 8
        Routing(kinds * 25, 8, 16, rounds=3),  # N, 10, 16
        Lengths(),
    )


def squash(vectors: Tensor) -> Tensor:
    """Shrink vectors (..., D) to lengths below 1 without changing their directions."""
    squared = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * (squared / (1 + squared) / (squared + 1e-8).sqrt())


class Capsules(nn.Module):
    """The reshaping of maps (N, 8 kinds, H, W) to squashed capsules (N, kinds * H * W, 8)."""

    def __init__(self, kinds: int, positions: int) -> None:
        super().__init__()
        self.shape = kinds, 8, positions

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        vectors = maps.reshape(len(maps), *self.shape).transpose(2, 3)  # N, kinds, positions, 8
        return squash(vectors.flatten(1, 2))


class Routing(nn.Module):
    """Routing by agreement: from capsules (N, C, D) to one capsule for each digit, (N, 10, size).

    Each input capsule predicts the capsule of every digit. A digit's capsule is the weighted sum of its
    predictions, and in each round the predictions that agree with that sum get more weight.
    """

    def __init__(self, capsules: int, size_in: int, size: int, rounds: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(0.1 * torch.randn(capsules, size_in, CLASSES * size))
        self.rounds = rounds

    def forward(self, capsules: Tensor) -> Tensor:  # noqa: D102
        votes = torch.einsum("nci,cio->nco", capsules, self.weights)
        votes = votes.unflatten(2, (CLASSES, -1))  # N, capsules, 10, size
        agreement = votes.new_zeros(votes.shape[:3])
        fixed = votes.detach()  # gradients flow through the last round only
        for _ in range(self.rounds - 1):
            digits = self._digits(agreement, fixed)
            agreement = agreement + torch.einsum("ncdk,ndk->ncd", fixed, digits)
        return self._digits(agreement, votes)

    def _digits(self, agreement: Tensor, votes: Tensor) -> Tensor:
        return squash(torch.einsum("ncd,ncdk->ndk", agreement.softmax(dim=2), votes))


class Lengths(nn.Module):
    """The logits (N, 10) of the lengths of capsules (N, 10, D)."""

    def forward(self, capsules: Tensor) -> Tensor:  # noqa: D102
        # bfloat16 would round the longest capsules to length 1, whose logit is infinite
        with torch.autocast(capsules.device.type, enabled=False):
            lengths = (capsules.float().square().sum(dim=-1) + 1e-8).sqrt()
            return lengths.clamp(MIN_LENGTH, MAX_LENGTH).logit()
