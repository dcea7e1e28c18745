"""Networks that cut an image into patches and process all patches in the same way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from digitcli.architectures.layers import Normalize, Residual

SIDE_PX = 28  # pixels
CLASSES = 10


def convmixer(width: int = 64, depth: int = 6, patch_px: int = 4, kernel_px: int = 5) -> nn.Module:
    """Build ConvMixer: depthwise convolutions mix positions and 1x1 convolutions mix maps, at one resolution.

    Trockman & Kolter, "Patches are all you need?", 2022.
    """
    blocks = [
        nn.Sequential(
            Residual(_activated(nn.Conv2d(width, width, kernel_px, groups=width, padding="same"))),
            _activated(nn.Conv2d(width, width, 1)),
        )
        for _ in range(depth)
    ]
    return nn.Sequential(
        Normalize(),
        _activated(nn.Conv2d(1, width, patch_px, stride=patch_px)),  # N, width, 7, 7
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )


def vit(dropout: float, width: int = 64, depth: int = 4, heads: int = 4, patch_px: int = 4) -> nn.Module:
    """Build a vision transformer: each patch attends to all patches.

    Dosovitskiy et al., "An image is worth 16x16 words", 2021. Differences: the mean over all patches
    replaces the class token (Beyer, Zhai & Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022),
    the hidden layers of the blocks are twice as wide as the tokens instead of four times, and there is no
    dropout before the first block.
    """
    blocks = [
        nn.Sequential(
            Residual(
                nn.Sequential(
                    nn.LayerNorm(width),
                    QueryKeyValue(width, 3 * width),
                    Attention(heads),
                    nn.Linear(width, width),
                    nn.Dropout(dropout),
                )
            ),
            Residual(nn.Sequential(nn.LayerNorm(width), _perceptron(width, 2 * width, dropout))),
        )
        for _ in range(depth)
    ]
    return nn.Sequential(
        Normalize(),
        Patches(width, patch_px),  # N, P, width
        PositionEmbedding((SIDE_PX // patch_px) ** 2, width),
        *blocks,
        nn.LayerNorm(width),
        MeanOfPatches(),
        nn.Linear(width, CLASSES),
    )


def mixer(dropout: float, width: int = 64, depth: int = 4, patch_px: int = 4) -> nn.Module:
    """Build MLP-Mixer: one perceptron mixes the patches and another mixes the features of each, in turn.

    Tolstikhin et al., "MLP-Mixer: an all-MLP architecture for vision", 2021.
    """
    patches = (SIDE_PX // patch_px) ** 2
    blocks = [
        nn.Sequential(
            Residual(
                nn.Sequential(nn.LayerNorm(width), AcrossPatches(_perceptron(patches, 2 * patches, dropout)))
            ),
            Residual(nn.Sequential(nn.LayerNorm(width), _perceptron(width, 4 * width, dropout))),
        )
        for _ in range(depth)
    ]
    return nn.Sequential(
        Normalize(),
        Patches(width, patch_px),  # N, P, width
        *blocks,
        nn.LayerNorm(width),
        MeanOfPatches(),
        nn.Linear(width, CLASSES),
    )


class Patches(nn.Module):
    """The embedding of patches: from images (N, 1, H, W) to features (N, P, width), row by row."""

    def __init__(self, width: int, side_px: int) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(1, width, side_px, stride=side_px)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        features: Tensor = self.embedding(images)
        return features.flatten(2).transpose(1, 2)


class PositionEmbedding(nn.Module):
    """A learned vector for each position, which is added to its patch."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(0.02 * torch.randn(patches, width))

    def forward(self, patches: Tensor) -> Tensor:  # noqa: D102
        return patches + self.embedding


class QueryKeyValue(nn.Linear):
    """The query, key and value of each patch, side by side: from (N, P, width) to (N, P, 3 width)."""


class Attention(nn.Module):
    """Scaled dot-product attention, from queries, keys and values (N, P, 3 width) to patches (N, P, width).

    Vaswani et al., "Attention is all you need", 2017: each of several heads works on its own features.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, patches: Tensor) -> Tensor:  # noqa: D102
        _, _, values = self._split(patches)
        # with PyTorch's scaled_dot_product_attention a step in bfloat16 on a CPU takes 2.7 times as long
        attended: Tensor = self.weights(patches) @ values
        return attended.transpose(1, 2).flatten(2)

    def weights(self, patches: Tensor) -> Tensor:
        """Return how much each patch attends to each, (N, heads, P, P); a row adds up to 1."""
        queries, keys, _ = self._split(patches)
        agreement: Tensor = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-2, -1)
        return agreement.softmax(dim=-1)

    def _split(self, patches: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values, each (N, heads, P, width / heads)."""
        queries, keys, values = patches.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return queries, keys, values


class AcrossPatches(nn.Module):
    """A body that is applied to (N, P, width) along the patches, for each feature separately."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, patches: Tensor) -> Tensor:  # noqa: D102
        mixed: Tensor = self.body(patches.transpose(1, 2))
        return mixed.transpose(1, 2)


class MeanOfPatches(nn.Module):
    """The mean over the patches: from (N, P, width) to (N, width)."""

    def forward(self, patches: Tensor) -> Tensor:  # noqa: D102
        return patches.mean(dim=1)


def _activated(convolution: nn.Conv2d) -> nn.Module:
    return nn.Sequential(convolution, nn.GELU(), nn.BatchNorm2d(convolution.out_channels))


def _perceptron(width: int, hidden: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
        nn.Dropout(dropout),
    )
