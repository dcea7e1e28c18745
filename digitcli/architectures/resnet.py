"""Residual networks."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor, nn

from digitcli.architectures.layers import DropPath, Normalize, convolution

CLASSES = 10
REDUCTION = 8  # maps for each hidden unit of a gate; the paper has 16 for much wider networks

Block = Callable[[int, int, int], nn.Module]  # from input maps, output maps and a stride


def resnet(width: int = 32, blocks: int = 1) -> nn.Module:
    """Build a residual network: three stages at 14x14, 7x7 and 4x4, with twice as many maps each time.

    He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2016. Differences: a 5x5 stem
    of stride 2 replaces the 7x7 stem and its pooling, for images of 28x28.
    """
    return _three_stages(width, blocks, ResidualBlock)


def resnet14(width: int = 32) -> nn.Module:
    """Build `resnet` with two blocks in each stage: fourteen layers instead of eight (He et al., 2016)."""
    return _three_stages(width, 2, ResidualBlock)


def squeeze_excite(width: int = 32, blocks: int = 1) -> nn.Module:
    """Build `resnet` with gates: each block scales each of its maps by a factor computed from their means.

    Hu, Shen & Sun, "Squeeze-and-excitation networks", 2018.
    """
    return _three_stages(width, blocks, functools.partial(ResidualBlock, gated=True))


def wide_resnet(dropout: float, width: int = 48, blocks: int = 1) -> nn.Module:
    """Build a wide residual network: few blocks that normalize before they convolve, with dropout inside.

    Zagoruyko & Komodakis, "Wide residual networks", 2016.
    """
    stages = _stages(width, blocks, functools.partial(WideBlock, dropout=dropout))
    last = [nn.BatchNorm2d(4 * width), nn.ReLU()]  # the blocks end without them
    return nn.Sequential(Normalize(), _stem(width), *stages, *last, *_head(4 * width))


def _three_stages(width: int, blocks: int, block: Block) -> nn.Module:
    stem = [Normalize(), _stem(width), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stem, *_stages(width, blocks, block), *_head(4 * width))


def _stem(width: int) -> nn.Module:
    return nn.Conv2d(1, width, 5, stride=2, padding=2, bias=False)  # N, width, 14, 14


def _stages(width: int, blocks: int, block: Block) -> list[nn.Module]:
    layers = []
    for stage in range(3):
        channels = width * 2**stage
        for number in range(blocks):
            first = stage > 0 and number == 0
            layers.append(block(channels // 2 if first else channels, channels, 2 if first else 1))
    return layers


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int, gated: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(channels_in, channels, stride),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            *([Gate(channels)] if gated else []),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.activation, self.drop = nn.ReLU(), DropPath()

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        output: Tensor = self.activation(self.drop(self.body(images)) + self.shortcut(images))
        return output


class Gate(nn.Module):
    """A squeeze-and-excitation gate: scale each map (N, C, H, W) by a factor from 0 to 1 from all means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // REDUCTION, 1),
            nn.ReLU(),
            nn.Conv2d(channels // REDUCTION, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        scaled: Tensor = maps * self.weights(maps)
        return scaled


class WideBlock(nn.Module):
    """A pre-activation block: normalization, ReLU and convolution, twice, and nothing after the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU())
        self.body = nn.Sequential(
            *convolution(channels_in, channels, stride),
            nn.Dropout(dropout),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        same = stride == 1 and channels_in == channels
        self.shortcut = None if same else nn.Conv2d(channels_in, channels, 1, stride, bias=False)
        self.drop = DropPath()

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        activated = self.before(images)
        shortcut = images if self.shortcut is None else self.shortcut(activated)
        output: Tensor = shortcut + self.drop(self.body(activated))
        return output
