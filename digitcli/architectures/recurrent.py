"""Recurrent networks, which read an image row by row."""

from __future__ import annotations

from torch import Tensor, nn

from digitcli.architectures.layers import Normalize

SIDE_PX, CLASSES = 28, 10


def lstm(dropout: float, hidden: int = 96) -> nn.Module:
    """The rows of the image as a sequence, read from the top and from the foot by two layers of LSTM cells.

    Hochreiter & Schmidhuber, "Long short-term memory", 1997, with the gates to forget of Gers, Schmidhuber &
    Cummins, "Learning to forget: continual prediction with LSTM", 2000; Graves & Schmidhuber, "Framewise
    phoneme classification with bidirectional LSTM and other neural network architectures", 2005.
    """
    return nn.Sequential(
        Normalize(), Rows(hidden, dropout), nn.Dropout(dropout), nn.Linear(2 * hidden, CLASSES)
    )


class Rows(nn.Module):
    """Images (N, 1, 28, 28) to the mean over the rows of what both directions remember, (N, 2 hidden)."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.cells = nn.LSTM(SIDE_PX, hidden, 2, batch_first=True, dropout=dropout, bidirectional=True)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        remembered, _ = self.cells(images.flatten(1, 2))  # N, 28, 2 hidden
        mean: Tensor = remembered.mean(dim=1)
        return mean
