"""Baselines: hand-crafted features with a linear classifier, perceptrons, and a recurrent network."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.layers import Normalize

SIDE_PX = 28
CLASSES = 10
ORIENTATIONS = 9  # bins of a histogram of gradients over half a turn
CELL_PX = 4  # side of the square cell of a histogram
BLOCK = 2  # cells; side of the square block that is normalized


def softmax() -> nn.Module:
    """Build softmax regression: one linear layer.

    Bridle, "Probabilistic interpretation of feedforward classification network outputs, with
    relationships to statistical pattern recognition", 1990.
    """
    return nn.Sequential(Normalize(), nn.Flatten(), nn.Linear(SIDE_PX**2, CLASSES))


def sigmoid_mlp(hidden: int = 100) -> nn.Module:
    """Build the classic network: a hidden layer of sigmoid units, trained by SGD with the squared error.

    Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986. The sigmoid
    of the output is part of the loss, because `forward` returns logits in every architecture.
    """
    return nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE_PX**2, hidden), nn.Sigmoid(), nn.Linear(hidden, CLASSES)
    )


def mlp(dropout: float, hidden: int = 512, depth: int = 2) -> nn.Module:
    """Build a multilayer perceptron: linear layer, batch normalization, ReLU and dropout, `depth` times.

    Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015; Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.
    """
    layers: list[nn.Module] = [Normalize(), nn.Flatten()]
    width = SIDE_PX**2
    for _ in range(depth):
        layers += [
            nn.Linear(width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        ]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def lstm(dropout: float, hidden: int = 96) -> nn.Module:
    """Build two layers of bidirectional LSTM cells, which read the rows of the image downwards and upwards.

    Hochreiter & Schmidhuber, "Long short-term memory", 1997, with the forget gates of Gers, Schmidhuber &
    Cummins, "Learning to forget: continual prediction with LSTM", 2000; Graves & Schmidhuber, "Framewise
    phoneme classification with bidirectional LSTM and other neural network architectures", 2005.
    """
    return nn.Sequential(
        Normalize(), Rows(hidden, dropout), nn.Dropout(dropout), nn.Linear(2 * hidden, CLASSES)
    )


class Rows(nn.Module):
    """The mean over all rows of the LSTM's hidden states, from (N, 1, 28, 28) to (N, 2 hidden)."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.cells = nn.LSTM(SIDE_PX, hidden, 2, batch_first=True, dropout=dropout, bidirectional=True)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        states, _ = self.cells(images.flatten(1, 2))  # N, 28, 2 hidden
        mean: Tensor = states.mean(dim=1)
        return mean


def hog() -> nn.Module:
    """Build a linear classifier of histograms of oriented gradients.

    Dalal & Triggs, "Histograms of oriented gradients for human detection", 2005: nine orientations in cells
    of pixels, and blocks of 2x2 cells that are normalized and clipped. Differences: cells have 4x4
    pixels in place of 8x8, a pixel counts in its own cell only and with the same weight everywhere in a
    block, and the classifier is softmax regression in place of a support vector machine.
    """
    blocks = SIDE_PX // CELL_PX - BLOCK + 1
    return nn.Sequential(
        Gradients(),  # N, 9, 7, 7
        Blocks(),  # N, 36, 6, 6
        nn.Flatten(),
        nn.Linear(ORIENTATIONS * BLOCK**2 * blocks**2, CLASSES),
    )


class Gradients(nn.Module):
    """Histograms of gradients by orientation in each cell, from (N, 1, 28, 28) to (N, 9, 7, 7)."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        size = (across.square() + down.square() + 1e-12).sqrt()
        turn = torch.atan2(down, across) / math.pi * ORIENTATIONS  # opposite directions count as one
        centres = torch.arange(ORIENTATIONS, device=images.device).view(1, -1, 1, 1)
        distance = torch.remainder(turn - centres, ORIENTATIONS)
        distance = torch.minimum(distance, ORIENTATIONS - distance)
        shares = (1 - distance).clamp(min=0)  # each gradient counts in the two nearest orientations
        return F.avg_pool2d(size * shares, CELL_PX)


class Blocks(nn.Module):
    """Overlapping blocks of 2x2 cells, (N, 9, 7, 7) to (N, 36, 6, 6): normalized, clipped, normalized."""

    def forward(self, cells: Tensor) -> Tensor:  # noqa: D102
        height, width = (size - BLOCK + 1 for size in cells.shape[-2:])
        corners = [
            cells[..., row : row + height, column : column + width]
            for row in range(BLOCK)
            for column in range(BLOCK)
        ]
        blocks = F.normalize(torch.cat(corners, dim=1), dim=1, eps=1e-3)
        return F.normalize(blocks.clamp(max=0.2), dim=1, eps=1e-3)
