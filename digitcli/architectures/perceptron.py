"""Fully connected networks: from one linear layer to a modern multilayer perceptron."""

from __future__ import annotations

from torch import nn

from digitcli.architectures.layers import Normalize

PIXELS = 28 * 28
CLASSES = 10


def softmax() -> nn.Module:
    """Build softmax regression: one linear layer.

    Bridle, "Probabilistic interpretation of feedforward classification network outputs, with
    relationships to statistical pattern recognition", 1990.
    """
    return nn.Sequential(Normalize(), nn.Flatten(), nn.Linear(PIXELS, CLASSES))


def sigmoid_mlp(hidden: int = 100) -> nn.Module:
    """Build the classic network: a hidden layer of sigmoid units, trained by SGD with the squared error.

    Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986. The sigmoid
    of the output is part of the loss, because `forward` returns logits in every architecture.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, hidden), nn.Sigmoid(), nn.Linear(hidden, CLASSES))


def mlp(dropout: float, hidden: int = 512, depth: int = 2) -> nn.Module:
    """Build a multilayer perceptron: linear layer, batch normalization, ReLU and dropout, `depth` times.

    Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015; Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.
    """
    layers: list[nn.Module] = [Normalize(), nn.Flatten()]
    width = PIXELS
    for _ in range(depth):
        layers += [
            nn.Linear(width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        ]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))
