"""Recurrent networks, which read an image as a sequence of rows."""

from __future__ import annotations

from torch import Tensor, nn

from digitcli.architectures.layers import Normalize

SIDE_PX = 28  # pixels
CLASSES = 10


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
