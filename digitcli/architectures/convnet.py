"""Plain convolutional networks."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import LocalContrast, Normalize, convolution

CLASSES = 10


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
    nor a sigmoid, the image is padded with zeros, and a linear layer replaces the radial basis functions.
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
