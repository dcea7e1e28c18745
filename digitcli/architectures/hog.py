"""Features made by hand, for contrast: nothing is learnt but a linear layer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE_PX, CLASSES = 28, 10
ORIENTATIONS, CELL_PX, BLOCK = 9, 4, 2


def hog() -> nn.Module:
    """Histograms of oriented gradients, and a linear layer.

    Dalal & Triggs, "Histograms of oriented gradients for human detection", 2005: nine orientations in cells
    of pixels, blocks of 2x2 cells, clipped and normalized. Here the cells have 4x4 pixels in place of 8x8, a
    pixel votes in its own cell only and with the same weight everywhere in a block, and the classifier is
    softmax regression.
    """
    blocks = SIDE_PX // CELL_PX - BLOCK + 1
    return nn.Sequential(
        Gradients(),  # N, 9, 7, 7
        Blocks(),  # N, 36, 6, 6
        nn.Flatten(),
        nn.Linear(ORIENTATIONS * BLOCK**2 * blocks**2, CLASSES),
    )


class Gradients(nn.Module):
    """Images (N, 1, 28, 28) to the gradient in each cell by its direction, (N, 9, 7, 7)."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        size = (across.square() + down.square() + 1e-12).sqrt()
        turn = torch.atan2(down, across) / math.pi * ORIENTATIONS  # a line has no head: half a turn is none
        centres = torch.arange(ORIENTATIONS, device=images.device).view(1, -1, 1, 1)
        away = torch.remainder(turn - centres, ORIENTATIONS)
        away = torch.minimum(away, ORIENTATIONS - away)
        shares = (1 - away).clamp(min=0)  # between the two nearest orientations
        return F.avg_pool2d(size * shares, CELL_PX)


class Blocks(nn.Module):
    """Cells (N, 9, 7, 7) to blocks of 2x2 of them, (N, 36, 6, 6), normalized to length 1, clipped, and again.

    A block without any gradient has length 1 too, and is the same everywhere: it says that nothing is there.
    """

    def forward(self, cells: Tensor) -> Tensor:  # noqa: D102
        height, width = (size - BLOCK + 1 for size in cells.shape[-2:])
        corners = [
            cells[..., row : row + height, column : column + width]
            for row in range(BLOCK)
            for column in range(BLOCK)
        ]
        blocks = F.normalize(torch.cat(corners, dim=1), dim=1, eps=1e-3)
        return F.normalize(blocks.clamp(max=0.2), dim=1, eps=1e-3)
