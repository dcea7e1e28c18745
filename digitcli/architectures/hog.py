"""Hand-crafted features with a linear classifier, as a baseline for networks that learn their features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE_PX = 28  # pixels
CLASSES = 10
ORIENTATIONS = 9  # bins of a histogram over half a turn
CELL_PX = 4  # pixels; side of the square cell of a histogram
BLOCK = 2  # cells; side of the square block that is normalized


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
