"""A network that reads a line of handwriting."""

from __future__ import annotations

from torch import Tensor, nn

from digitcli.architectures.layers import Residual
from digitcli.strip_format import ALPHABET, STRIP_PAPER

# Digits, marks, the space between two numbers, and a character that stands for all others.
STRIP_ALPHABET = ALPHABET


def reader(dropout: float, alphabet: str = "0123456789.,-=/") -> Reader:
    """Build a line reader: convolutions reduce a height of 40 pixels to one, then blocks mix along the line.

    Graves, Fernández, Gomez & Schmidhuber, "Connectionist temporal classification: labelling unsegmented
    sequence data with recurrent neural networks", 2006; Shi, Bai & Yao, "An end-to-end trainable neural
    network for image-based sequence recognition", 2015. What differs here: residual blocks (He et al., 2016)
    replace plain convolutions, and depthwise convolutions with pointwise layers (Liu et al., "A ConvNet for
    the 2020s", 2022) replace recurrent layers. A second head predicts the box of the character at each
    column.
    """
    return Reader(alphabet, dropout)


def strip_reader(dropout: float, alphabet: str = STRIP_ALPHABET) -> Reader:
    """Build a wider `reader` for strips: raw pixels of a line, in three channels, with their surroundings.

    See `reader` for Graves et al., 2006, and Shi, Bai & Yao, 2015. The channels are the mean, the darkest and
    the lightest value of each pixel, so that thin ink survives. Paper is 128, and ink is darker or lighter.
    """
    return Reader(alphabet, dropout, channels=3, width=256, mixers=4)


def picture_reader(dropout: float, alphabet: str = STRIP_ALPHABET) -> Reader:
    """Build a small `strip_reader` for whole pictures that hold one number, the first stage of a cascade.

    See `reader` for Graves et al., 2006, and Shi, Bai & Yao, 2015; Viola & Jones, "Rapid object detection
    using a boosted cascade of simple features", 2001, for cascades. Whatever is not one number is read as
    another character, and left to the networks that follow.
    """
    return Reader(alphabet, dropout, channels=3, stem=24, width=128, mixers=2)


class Reader(nn.Module):
    """A network from lines (N, C, 40, W) to logits (N, W / 4, A + 1); the last class is the blank of CTC.

    parallel: The heads, which are one stage (`stages_of`).
    """

    parallel = ("classes", "distances")

    def __init__(
        self,
        alphabet: str,
        dropout: float,
        channels: int = 1,
        stem: int = 32,
        width: int = 192,
        mixers: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.paper = 0.0 if channels == 1 else STRIP_PAPER / 255
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),  # N, 4 C, 20, W/2
            _convolution(4 * channels, stem, 3),
            nn.ReLU(),
            Residual(_two_convolutions(stem)),
            nn.ReLU(),
            _convolution(stem, 2 * stem, 3, stride=2),  # N, 2 S, 10, W/4
            nn.ReLU(),
            Residual(_two_convolutions(2 * stem)),
            nn.ReLU(),
            Residual(_two_convolutions(2 * stem)),
            nn.ReLU(),
            _convolution(2 * stem, 4 * stem, 3, stride=(2, 1)),  # N, 4 S, 5, W/4
            nn.ReLU(),
            Residual(_two_convolutions(4 * stem)),
            nn.ReLU(),
            nn.Conv2d(4 * stem, width, (5, 1), bias=False),  # N, width, 1, W/4
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            *(Residual(_mixer(width)) for _ in range(mixers)),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.classes = nn.Conv2d(width, len(alphabet) + 1, 1)
        self.distances = nn.Conv2d(width, 4, 1)

    def forward(self, lines: Tensor) -> Tensor:
        """Return logits (N, W / 4, A + 1)."""
        return _to_columns(self.classes(self.trunk(self._centred(lines))))

    def locate(self, lines: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and the box of the character at each column, (N, W / 4, 4).

        A box is the distance from the middle of the column to the left and to the right edge, then the first
        and the last row, all in units of 20 pixels.
        """
        features = self.trunk(self._centred(lines))
        return _to_columns(self.classes(features)), _to_columns(self.distances(features))

    def _centred(self, lines: Tensor) -> Tensor:
        """Return lines in which paper is 0."""
        return lines - self.paper if self.paper else lines


def _to_columns(maps: Tensor) -> Tensor:
    """Return maps (N, C, 1, T) as columns (N, T, C)."""
    return maps.squeeze(2).transpose(1, 2)


def _convolution(channels_in: int, channels: int, size: int, stride: int | tuple[int, int] = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(channels),
    )


def _two_convolutions(channels: int) -> nn.Module:
    return nn.Sequential(_convolution(channels, channels, 3), nn.ReLU(), _convolution(channels, channels, 3))


def _mixer(channels: int) -> nn.Module:
    """Return a depthwise convolution over nine columns, then layers that mix the maps of each column."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, (1, 9), padding=(0, 4), groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, 2 * channels, 1),
        nn.ReLU(),
        nn.Conv2d(2 * channels, channels, 1),
    )
