"""Plain convolutional networks."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import LocalContrast, Normalize, convolution

CLASSES = 10


def fast() -> nn.Module:
    """Made for the clock: four pixels become four maps of half the size, which are pooled to 7x7.

    The idea of Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024: a network and a recipe for
    the least time to an accuracy. Here for a CPU, where what counts is large maps and many operations.
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
    """Made for accuracy that lasts outside a dataset: local contrast, five convolutions, a hidden layer.

    Four pixels become four maps, as in `fast`, behind local contrast normalization (Jarrett et al., 2009);
    two convolutions and then three around a pooling (Simonyan & Zisserman, 2015), and a hidden layer that
    sees every place by itself, which what is no part of the digit disturbs less than a mean over places.
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
    """LeNet-1: two convolutions of few maps, each averaged down, and one linear layer.

    LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990. Here every map of the
    second convolution sees all four maps before it, and averaging has no weights of its own.
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
    """LeNet-5: three convolutions, two of them averaged down, and two fully connected layers.

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998.
    Here every map of the second convolution sees all six maps before it, averaging has neither weights of its
    own nor a sigmoid behind it, the frame around the image is zeros and not paper, and the output is linear
    where the paper has radial basis functions.
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
    """Two 5x5 convolutions with max-pooling, a hidden layer of 1,024 units and dropout.

    The layers of LeCun et al., 1998, with the ReLU, max-pooling and dropout of Krizhevsky, Sutskever &
    Hinton, "ImageNet classification with deep convolutional neural networks", 2012.
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
    """All-convolutional network: strides in place of pooling, and a mean in place of hidden layers.

    Springenberg, Dosovitskiy, Brox & Riedmiller, "Striving for simplicity: the all convolutional net", 2015.
    What differs here: batch normalization, fewer maps, and no dropout of pixels.
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
    """Pairs of 3x3 convolutions between poolings, twice as many maps each time.

    Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015. What
    differs here: batch normalization, and a mean over places in place of two hidden layers.
    """
    layers: list[nn.Module] = [Normalize()]
    channels = 1
    for stage in range(3):
        wider = width * 2**stage
        layers += [*convolution(channels, wider), *convolution(wider, wider)]
        layers += [nn.MaxPool2d(2, ceil_mode=True), nn.Dropout(dropout)]  # 14x14, 7x7, 4x4
        channels = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
