"""Capsule networks: a vector's length says whether an object is there, its direction says how it looks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from digitcli.architectures.layers import Normalize

CLASSES = 10
MIN_LENGTH = 1e-4  # shorter capsules count as this long, so that the logit stays finite
MAX_LENGTH = 1 - 1e-4  # the same for longer capsules


def capsnet(width: int = 64, kinds: int = 16) -> nn.Module:
    """Build a capsule network: capsules of size 8 predict ten capsules of size 16 by routing by agreement.

    Sabour, Frosst & Hinton, "Dynamic routing between capsules", 2017. Differences: 5x5 kernels with
    strides in place of 9x9 kernels, `kinds` kinds of capsules at 5x5 positions, and no reconstruction of the
    image. A class's output is the logit of the length of its capsule, so that the sigmoid in the margin loss
    gives the length. Gradients flow through the last of the three routing rounds only.
    """
    return nn.Sequential(
        Normalize(),
        nn.Conv2d(1, width, 5, stride=2, padding=2),  # N, width, 14, 14
        nn.ReLU(),
        nn.Conv2d(width, kinds * 8, 5, stride=2),  # N, 8 kinds, 5, 5
        Capsules(kinds, 5 * 5),  # N, 25 kinds, 8
        Routing(kinds * 25, 8, 16, rounds=3),  # N, 10, 16
        Lengths(),
    )


def squash(vectors: Tensor) -> Tensor:
    """Shrink vectors (..., D) to lengths below 1 without changing their directions."""
    squared = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * (squared / (1 + squared) / (squared + 1e-8).sqrt())


class Capsules(nn.Module):
    """The reshaping of maps (N, 8 kinds, H, W) to squashed capsules (N, kinds * H * W, 8)."""

    def __init__(self, kinds: int, positions: int) -> None:
        super().__init__()
        self.shape = kinds, 8, positions

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        vectors = maps.reshape(len(maps), *self.shape).transpose(2, 3)  # N, kinds, positions, 8
        return squash(vectors.flatten(1, 2))


class Routing(nn.Module):
    """Routing by agreement: from capsules (N, C, D) to one capsule for each digit, (N, 10, size).

    Each input capsule predicts the capsule of every digit. A digit's capsule is the weighted sum of its
    predictions, and in each round the predictions that agree with that sum get more weight.
    """

    def __init__(self, capsules: int, size_in: int, size: int, rounds: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(0.1 * torch.randn(capsules, size_in, CLASSES * size))
        self.rounds = rounds

    def forward(self, capsules: Tensor) -> Tensor:  # noqa: D102
        votes = torch.einsum("nci,cio->nco", capsules, self.weights)
        votes = votes.unflatten(2, (CLASSES, -1))  # N, capsules, 10, size
        agreement = votes.new_zeros(votes.shape[:3])
        fixed = votes.detach()  # gradients flow through the last round only
        for _ in range(self.rounds - 1):
            digits = self._digits(agreement, fixed)
            agreement = agreement + torch.einsum("ncdk,ndk->ncd", fixed, digits)
        return self._digits(agreement, votes)

    def _digits(self, agreement: Tensor, votes: Tensor) -> Tensor:
        return squash(torch.einsum("ncd,ncdk->ndk", agreement.softmax(dim=2), votes))


class Lengths(nn.Module):
    """The logits (N, 10) of the lengths of capsules (N, 10, D)."""

    def forward(self, capsules: Tensor) -> Tensor:  # noqa: D102
        # bfloat16 would round the longest capsules to length 1, whose logit is infinite
        with torch.autocast(capsules.device.type, enabled=False):
            lengths = (capsules.float().square().sum(dim=-1) + 1e-8).sqrt()
            return lengths.clamp(MIN_LENGTH, MAX_LENGTH).logit()
