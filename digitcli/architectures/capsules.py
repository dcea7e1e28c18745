"""Capsule networks: vectors in place of units, whose lengths say what is there and whose directions how."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from digitcli.architectures.layers import Normalize

CLASSES = 10
LEAST, MOST = 1e-4, 1 - 1e-4  # lengths, where the logit is finite


def capsnet(width: int = 64, kinds: int = 16) -> nn.Module:
    """Capsules of 8 numbers vote for ten of 16, by three rounds of routing by agreement.

    Sabour, Frosst & Hinton, "Dynamic routing between capsules", 2017. Smaller here: strides and 5x5 kernels
    in place of 9x9 ones, `kinds` of capsules at 5x5 places, no reconstruction. A logit is that of the length
    of its capsule, so that the margin loss sees the length; what is learnt is learnt through the last round.
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
    """Vectors (..., D) shrunk to lengths below 1, their directions kept."""
    squared = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * (squared / (1 + squared) / (squared + 1e-8).sqrt())


class Capsules(nn.Module):
    """Maps (N, 8 kinds, H, W) to squashed capsules (N, kinds * H * W, 8)."""

    def __init__(self, kinds: int, places: int) -> None:
        super().__init__()
        self.shape = kinds, 8, places

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        vectors = maps.reshape(len(maps), *self.shape).transpose(2, 3)  # N, kinds, places, 8
        return squash(vectors.flatten(1, 2))


class Routing(nn.Module):
    """Each capsule predicts that of every digit; what agrees with the others counts more, round by round."""

    def __init__(self, capsules: int, size_in: int, size: int, rounds: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(0.1 * torch.randn(capsules, size_in, CLASSES * size))
        self.rounds = rounds

    def forward(self, capsules: Tensor) -> Tensor:  # noqa: D102
        votes = torch.einsum("nci,cio->nco", capsules, self.weights)
        votes = votes.unflatten(2, (CLASSES, -1))  # N, capsules, 10, size
        agreement = votes.new_zeros(votes.shape[:3])
        fixed = votes.detach()  # only the last round is learnt through
        for _ in range(self.rounds - 1):
            digits = self._digits(agreement, fixed)
            agreement = agreement + torch.einsum("ncdk,ndk->ncd", fixed, digits)
        return self._digits(agreement, votes)

    def _digits(self, agreement: Tensor, votes: Tensor) -> Tensor:
        return squash(torch.einsum("ncd,ncdk->ndk", agreement.softmax(dim=2), votes))


class Lengths(nn.Module):
    """The logits of the lengths of capsules (N, 10, D)."""

    def forward(self, capsules: Tensor) -> Tensor:  # noqa: D102
        # In bfloat16 the longest would be of length 1, the logit of which is infinite.
        with torch.autocast(capsules.device.type, enabled=False):
            lengths = (capsules.float().square().sum(dim=-1) + 1e-8).sqrt()
            return lengths.clamp(LEAST, MOST).logit()
