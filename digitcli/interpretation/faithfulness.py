"""Test attributions: do they depend on the network, and do the pixels that they name matter?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from digitcli.interpretation.attribution import Score

# Shares of the pixels that are deleted or inserted one after the other.
STEPS = 28


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation (N,) of two attributions (N, ...); that of a constant one is 0."""
    ranks = [_ranks(attribution.flatten(1)) for attribution in (first, second)]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    norms = centred[0].norm(dim=1) * centred[1].norm(dim=1)
    correlation: Tensor = (centred[0] * centred[1]).sum(dim=1) / norms.clamp(min=1e-12)
    return correlation


def _ranks(values: Tensor) -> Tensor:
    """Return the ranks of values (N, P) in each row; equal values share their mean rank."""
    ordered, _ = values.sort(dim=1)
    ordered, values = ordered.contiguous(), values.contiguous()
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above - 1).to(torch.float64) / 2


def randomized(network: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield copies of a network in which more and more layers have fresh weights, from the last to the first.

    Each comes with the name of the layer that was drawn anew last. An attribution that hardly changes does
    not explain the network. Adebayo et al., "Sanity checks for saliency maps", 2018.
    """
    changed = copy.deepcopy(network)
    layers = [
        (name, layer)
        for name, layer in changed.named_modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]
    generator = torch.Generator().manual_seed(seed)
    for name, layer in reversed(layers):
        for parameter in layer.parameters(recurse=False):
            # a random order keeps the size of the weights, so that no layer dies
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.data = parameter.data.flatten()[order].view_as(parameter)
        yield name, copy.deepcopy(changed)


@torch.no_grad()
def deletion(probability: Score, images: Tensor, attributions: Tensor, paper: float = 0.0) -> Tensor:
    """Return the probability (N, STEPS + 1) of the answer while the most important pixels become paper.

    The attributions are as the images, or (N, 1, H, W) for all channels of a pixel. The sooner it falls, the
    better. Petsiuk, Das & Saenko, "RISE: randomized input sampling for explanation of black-box models",
    2018.
    """
    return _curve(probability, images, attributions, lambda image, mask: torch.where(mask, paper, image))


@torch.no_grad()
def insertion(probability: Score, images: Tensor, attributions: Tensor, paper: float = 0.0) -> Tensor:
    """Return the probability (N, STEPS + 1) while the most important pixels appear on empty paper.

    The sooner it rises, the better, see `deletion`.
    """
    return _curve(probability, images, attributions, lambda image, mask: torch.where(mask, image, paper))


@torch.no_grad()
def inversion(probability: Score, images: Tensor, attributions: Tensor) -> Tensor:
    """Return the probability (N, STEPS + 1) while the most important pixels are inverted.

    Deletion looks at ink alone. Here paper counts as well, where ink would change the answer.
    """
    return _curve(probability, images, attributions, lambda image, mask: torch.where(mask, 1 - image, image))


def _curve(
    probability: Score,
    images: Tensor,
    attributions: Tensor,
    change: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    order = attributions.flatten(1).argsort(dim=1, descending=True, stable=True)
    place = order.argsort(dim=1).view_as(attributions)  # 0 for the most important pixel
    pixels = order.shape[1]
    counts = torch.linspace(0, pixels, STEPS + 1).round()
    return torch.stack([probability(change(images, place < count)) for count in counts], dim=1)
