"""Plain convolutional networks."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import Normalise

CLASSES = 10


def fast() -> nn.Module:
    """Made for the clock: four pixels become four maps of half the size, which are pooled to 7x7.

    The idea of Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024: a network and a recipe for
    the least time to an accuracy. Here for a CPU, where what counts is large maps and many operations.
    """
    return nn.Sequential(
        Normalise(),
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


def lenet5() -> nn.Module:
    """LeNet-5: three convolutions, two of them averaged down, and two fully connected layers.

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998.
    Here every map of the second convolution sees all six maps before it, averaging has no weights of its
    own, and the output is linear where the paper has radial basis functions.
    """
    return nn.Sequential(
        Normalise(),
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
    """Two 5x5 convolutions with max-pooling, a hidden layer of 1,024 units and dropout.

    The layers of LeCun et al., 1998, with the ReLU, max-pooling and dropout of Krizhevsky, Sutskever &
    Hinton, "ImageNet classification with deep convolutional neural networks", 2012.
    """
    return nn.Sequential(
        Normalise(),
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
