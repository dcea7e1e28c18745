"""Residual networks."""

from __future__ import annotations

from torch import Tensor, nn

from digitcli.architectures.layers import Normalise

CLASSES = 10


def resnet(width: int = 32, blocks: int = 1) -> nn.Module:
    """Three stages of residual blocks at 14x14, 7x7 and 4x4, each twice as wide as the one before.

    He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2016. Sized for 28x28: a 5x5 stem
    of stride 2 in place of the 7x7 one and its pooling.
    """
    layers: list[nn.Module] = [
        Normalise(),
        nn.Conv2d(1, width, 5, stride=2, padding=2, bias=False),  # N, width, 14, 14
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    for stage in range(3):
        channels = width * 2**stage
        for block in range(blocks):
            first = stage > 0 and block == 0
            layers.append(ResidualBlock(channels // 2 if first else channels, channels, 2 if first else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, CLASSES))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        output: Tensor = self.activation(self.body(images) + self.shortcut(images))
        return output
