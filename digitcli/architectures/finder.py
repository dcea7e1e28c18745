"""A network that finds the lines of numbers on a page."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.layers import Residual

CHANNELS_IN = 4  # see `imaging.network_inputs`
MAPS = 6  # number, other writing, height, offset, slope, small writing


def finder(widths: Sequence[int] = (16, 32, 64, 96, 128), pyramid: int = 32) -> Finder:
    """Build a page finder: an encoder of residual blocks and a feature pyramid, with maps at stride 4.

    Ronneberger, Fischer & Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015; Lin
    et al., "Feature pyramid networks for object detection", 2017. The network learns shrunk text regions as
    in Liao et al., "Real-time scene text detection with differentiable binarization", 2020, and where a finer
    scale has to be searched as in Najibi, Singh & Davis, "AutoFocus: efficient multi-scale inference", 2019.
    """
    return Finder(widths, pyramid)


class Finder(nn.Module):
    """A network from pages (N, 4, H, W), H and W multiples of 32, to maps (N, 6, H / 4, W / 4)."""

    def __init__(self, widths: Sequence[int], pyramid: int) -> None:
        super().__init__()
        self.stem = _convolution(CHANNELS_IN, widths[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _convolution(before, after, stride=2),
                *(_block(after) for _ in range(1 if number < 2 else 2)),
            )
            for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(_convolution(pyramid, pyramid) for _ in widths[2:])
        self.head = nn.Sequential(_convolution(pyramid, pyramid), nn.Conv2d(pyramid, MAPS, 1))

    def forward(self, pages: Tensor) -> Tensor:
        """Return maps: the logits of number and of other writing, log2 of the height, the offset, the slope,
        and the logit of writing that is too small to be found at this scale.
        """
        features, levels = self.stem(pages), []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            features = stage(features)
            levels.append(lateral(features))
        top = levels.pop()
        for smooth in self.smooth:
            top = smooth(levels.pop() + F.interpolate(top, scale_factor=2.0, mode="nearest"))
        maps: Tensor = self.head(top)
        return maps


def _convolution(channels_in: int, channels: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def _block(channels: int) -> nn.Module:
    second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
    return nn.Sequential(Residual(nn.Sequential(_convolution(channels, channels), second)), nn.ReLU())
