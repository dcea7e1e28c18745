"""Networks that find the lines of numbers on a page, read a line, and tell which digits form a number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from digitcli.architectures.layers import Residual, convolution
from digitcli.gap_format import PATCH_PX, PLACE_STEPS, VALUES
from digitcli.strip_format import ALPHABET, STRIP_PAPER

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
        self.stem = _activated(CHANNELS_IN, widths[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _activated(before, after, stride=2), *(_block(after) for _ in range(1 if number < 2 else 2))
            )
            for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(_activated(pyramid, pyramid) for _ in widths[2:])
        self.head = nn.Sequential(_activated(pyramid, pyramid), nn.Conv2d(pyramid, MAPS, 1))

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
            top = smooth(levels.pop() + interpolate(top, scale_factor=2.0, mode="nearest"))
        maps: Tensor = self.head(top)
        return maps


def _activated(channels_in: int, channels: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(*convolution(channels_in, channels, stride))


def _block(channels: int) -> nn.Module:
    second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
    return nn.Sequential(Residual(nn.Sequential(_activated(channels, channels), second)), nn.ReLU())


def reader(dropout: float, alphabet: str = ALPHABET) -> Reader:
    """Build a reader of strips: convolutions reduce a height of 40 pixels to one, then blocks mix along it.

    Graves, Fernández, Gomez & Schmidhuber, "Connectionist temporal classification: labelling unsegmented
    sequence data with recurrent neural networks", 2006; Shi, Bai & Yao, "An end-to-end trainable neural
    network for image-based sequence recognition", 2015. What differs here: residual blocks (He et al., 2016)
    replace plain convolutions, and depthwise convolutions with pointwise layers (Liu et al., "A ConvNet for
    the 2020s", 2022) replace recurrent layers. Other heads predict the box of the character at each
    column, and whether it is printed. A strip has the raw pixels of a line with their surroundings in three
    channels: the mean, the darkest and the lightest value of each pixel, so that thin ink survives.
    """
    return Reader(alphabet, dropout, stem=32, width=256, mixers=4, tells_print=True)


def glance(dropout: float, alphabet: str = ALPHABET) -> Reader:
    """Build a small `reader` for whole pictures that hold one number, the first stage of a cascade.

    See `reader` for Graves et al., 2006, and Shi, Bai & Yao, 2015; Viola & Jones, "Rapid object detection
    using a boosted cascade of simple features", 2001, for cascades. Whatever is not one number is read as
    another character, and left to the networks that follow.
    """
    return Reader(alphabet, dropout, stem=24, width=128, mixers=2)


class Reader(nn.Module):
    """A network from strips (N, 3, 40, W) to logits (N, W / 4, A + 1); the last class is the blank of CTC.

    Paper is 128 of 255, and ink is darker or lighter.

    parallel: The heads, which are one stage (`stages_of`).
    """

    channels = 3

    def __init__(
        self, alphabet: str, dropout: float, stem: int, width: int, mixers: int, tells_print: bool = False
    ) -> None:
        super().__init__()
        self.parallel = ("classes", "distances", *(("prints",) if tells_print else ()))
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),  # N, 12, 20, W/2
            _convolution(4 * self.channels, stem, 3),
            nn.ReLU(),
            Residual(_two_convolutions(stem)),
            nn.ReLU(),
            _convolution(stem, 2 * stem, 3, stride=2),  # N, 2 S, 10, W/4
            nn.ReLU(),
            Residual(_two_convolutions(2 * stem)),
            nn.ReLU(),
            Residual(_two_convolutions(2 * stem)),
            nn.ReLU(),
            _convolution(2 * stem, 4 * stem, 3, stride=(2, 1)),  # N, 4 S, 5, W/4
            nn.ReLU(),
            Residual(_two_convolutions(4 * stem)),
            nn.ReLU(),
            nn.Conv2d(4 * stem, width, (5, 1), bias=False),  # N, width, 1, W/4
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            *(Residual(_mixer(width)) for _ in range(mixers)),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.classes = nn.Conv2d(width, len(alphabet) + 1, 1)
        self.distances = nn.Conv2d(width, 4, 1)
        if tells_print:
            self.prints = nn.Conv2d(width, 1, 1)

    def forward(self, lines: Tensor) -> Tensor:
        """Return logits (N, W / 4, A + 1)."""
        return _to_columns(self.classes(self.trunk(lines - STRIP_PAPER / 255)))

    def locate(self, lines: Tensor) -> tuple[Tensor, ...]:
        """Return the logits, the box of the character at each column, and the logit that it is printed.

        A box (N, W / 4, 4) is the distance from the middle of the column to the left and to the right edge,
        then the first and the last row, all in units of 20 pixels. Print is (N, W / 4, 1), and missing where
        the network does not tell it.
        """
        features = self.trunk(lines - STRIP_PAPER / 255)
        return tuple(_to_columns(getattr(self, head)(features)) for head in self.parallel)


def _to_columns(maps: Tensor) -> Tensor:
    """Return maps (N, C, 1, T) as columns (N, T, C)."""
    return maps.squeeze(2).transpose(1, 2)


def _convolution(channels_in: int, channels: int, size: int, stride: int | tuple[int, int] = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(channels),
    )


def _two_convolutions(channels: int) -> nn.Module:
    return nn.Sequential(_convolution(channels, channels, 3), nn.ReLU(), _convolution(channels, channels, 3))


def _mixer(channels: int) -> nn.Module:
    """Return a depthwise convolution over nine columns, then layers that mix the maps of each column."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, (1, 9), padding=(0, 4), groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, 2 * channels, 1),
        nn.ReLU(),
        nn.Conv2d(2 * channels, channels, 1),
    )


def grouper(width: int = 64, heads: int = 4, layers: int = 3) -> Grouper:
    """Build a network that tells which gaps between the digits of a page separate numbers.

    A transformer over all gaps of a page (Vaswani et al., "Attention is all you need", 2017), whose attention
    has a bias by the places of two gaps (Liu et al., "Swin transformer", 2021). A token joins what is known
    of a gap and what surrounds it in the picture (Xu et al., "LayoutLMv2", 2021).
    """
    return Grouper(width, heads, layers)


class Grouper(nn.Module):
    """A network from the gaps of pages (N, 1, G, 2329), see `gap_format`, to logits (N, G)."""

    lows: Tensor
    ranges: Tensor

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        lows, highs = torch.tensor(list(VALUES.values())).T
        self.register_buffer("lows", lows, persistent=False)
        self.register_buffer("ranges", highs - lows, persistent=False)
        self.values = nn.Linear(len(VALUES), width)
        features = 32 * (PATCH_PX[0] // 8) * (PATCH_PX[1] // 8)
        self.patches = nn.Sequential(
            *_halved(2, 16), *_halved(16, 32), *_halved(32, 32), nn.Flatten(), nn.Linear(features, width)
        )
        self.layers = nn.ModuleList(_Attention(width, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, gaps: Tensor) -> Tensor:
        """Return the logits that gaps separate numbers."""
        pages, _, count, columns = gaps.shape
        values, places, patches = gaps[:, 0].split([len(VALUES), 4, columns - len(VALUES) - 4], dim=-1)
        seen = self.patches(patches.reshape(-1, 2, *PATCH_PX) * 4 - 2)
        tokens = self.values(self.lows + self.ranges * values) + seen.view(pages, count, -1)
        whole, rest = (255 * places).view(pages, count, 2, 2).unbind(-1)
        middles = (256 * whole + rest) / PLACE_STEPS  # N, G, 2
        offsets = middles[:, :, None] - middles[:, None]
        far = offsets.abs()
        between = torch.cat([offsets.clamp(-10, 10) / 5, torch.log1p(far), torch.exp(-far)], dim=-1)
        for layer in self.layers:
            tokens = layer(tokens, between)
        logits: Tensor = self.head(tokens)
        return logits[..., 0]


class _Attention(nn.Module):
    """Attention between tokens (N, G, C) with a bias by what lies between two (N, G, G, 6), then a layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.bias = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, heads))
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, between: Tensor) -> Tensor:
        """Return the tokens after a layer."""
        pages, count, width = tokens.shape
        projected = self.project(self.norm(tokens)).view(pages, count, 3, self.heads, width // self.heads)
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        bias = self.bias(between).permute(0, 3, 1, 2)
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        tokens = tokens + self.join(mixed.transpose(1, 2).reshape(pages, count, width))
        added: Tensor = tokens + self.mix(tokens)
        return added


def _halved(channels_in: int, channels: int) -> tuple[nn.Module, ...]:
    return (nn.Conv2d(channels_in, channels, 3, stride=2, padding=1), nn.GroupNorm(4, channels), nn.ReLU())
