"""Attribution: which pixels of an image speak for or against the answer of a network.

A score is what is explained, for example the logit of a digit: a function from images (N, C, H, W) to (N,).
Each method maps images to attributions of the same shape. They are signed, except those of `saliency` and
`smoothgrad`: positive where the pixel raises the score.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.errors import UsageError

Score = Callable[[Tensor], Tensor]
Quadratures = Sequence[tuple[int, int]]

# Points of Gauss-Legendre quadrature along the path of integrated gradients, and the power by which they are
# denser at empty paper: as in captum, and then for networks that normalize contrast, whose score changes
# where the ink is still very pale.
QUADRATURES = ((50, 1), (500, 4), (2000, 4))
# Share of the score, and logits if that is more, that the shares may miss.
COMPLETENESS, LEAST_LOGITS = 0.01, 0.05
# Noisy copies of an image, and the standard deviation of the noise in units of ink: the values of the paper.
NOISY_COPIES, NOISE = 50, 0.15
# Side of the square that occlusion covers and the distance between squares, in pixels: about the width of a
# stroke of MNIST, of which each pixel is covered several times.
OCCLUSION_PX, OCCLUSION_STEP_PX = 4, 1
# Images of digits that a network sees together, and their pixels.
BATCH_SIZE = 512
BATCH_PIXELS = BATCH_SIZE * 28**2


@contextlib.contextmanager
def backward_pass(network: nn.Module) -> Iterator[None]:
    """Let gradients of a network in evaluation mode be computed: cuDNN refuses those of recurrent layers."""
    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in network.modules())
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not is_recurrent):
        yield


def digit_score(network: nn.Module, digits: Tensor) -> Score:
    """Return the score of a digit for each image, int64 (N,): its logit. The images may be repeated."""

    def score(images: Tensor) -> Tensor:
        logits: Tensor = network(images)  # N, 10
        chosen = digits.to(logits.device).repeat(len(logits) // len(digits))
        return logits.gather(1, chosen[:, None])[:, 0]

    return score


def gradients(score: Score, images: Tensor) -> Tensor:
    """Return the gradient of the score with respect to each pixel."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        (result,) = torch.autograd.grad(score(images).sum(), images)
    return result


def saliency(score: Score, images: Tensor) -> Tensor:
    """Return the size of the gradient: how much each pixel can change the score.

    Simonyan, Vedaldi & Zisserman, "Deep inside convolutional networks: visualising image classification
    models and saliency maps", 2014.
    """
    return gradients(score, images).abs()


def smoothgrad(score: Score, images: Tensor, seed: int = 0) -> Tensor:
    """Return the size of the mean gradient of noisy copies of each image.

    Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(images)
    for _ in range(NOISY_COPIES):
        noise = NOISE * torch.randn(images.shape, generator=generator)
        total += gradients(score, images + noise.to(images))
    return (total / NOISY_COPIES).abs()


class IncompleteError(UsageError):
    """Integrated gradients do not add up to what they explain."""


def integrated_gradients(
    score: Score, images: Tensor, paper: float = 0.0, quadratures: Quadratures | None = None
) -> Tensor:
    """Return each pixel's share of the difference between the score of the image and of empty paper.

    `paper` is the value of its pixels. The shares add up to that difference (completeness) within 1 %,
    or within 0.05 logits where that is more.
    Sundararajan, Taly & Yan, "Axiomatic attribution for deep networks", 2017. The integral is computed by
    Gauss-Legendre quadrature, the first of `quadratures` for which they do.

    Raises:
        IncompleteError: the shares do not add up, because gradients do not tell how the score of this network
            changes: it may see the same in pale and in dark ink, or hold back gradients.
    """
    with torch.no_grad():
        difference = score(images) - score(torch.full_like(images, paper))
    for points, power in quadratures or QUADRATURES:
        shares = (images - paper) * _mean_gradients(score, images, paper, points, power)
        missing = shares.sum(dim=(1, 2, 3)) - difference
        if (missing.abs() <= (COMPLETENESS * difference.abs()).clamp(min=LEAST_LOGITS)).all():
            return shares
    raise IncompleteError(
        "Integrated gradients of this network do not add up to its score.", "Choose the method occlusion."
    )


def _mean_gradients(score: Score, images: Tensor, paper: float, points: int, power: int) -> Tensor:
    """Return the mean gradient along the line from empty paper to each image."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    nodes = (nodes + 1) / 2
    weights = weights / 2 * power * nodes ** (power - 1)
    total = torch.zeros_like(images)
    for node, weight in zip(nodes**power, weights, strict=True):
        total += float(weight) * gradients(score, paper + float(node) * (images - paper))
    return total


@torch.no_grad()
def occlusion(
    score: Score,
    images: Tensor,
    side_px: int = OCCLUSION_PX,
    step_px: int = OCCLUSION_STEP_PX,
    paper: float = 0.0,
) -> Tensor:
    """Return by how much the score falls where a square of paper covers a pixel, the mean over the squares.

    Zeiler & Fergus, "Visualizing and understanding convolutional networks", 2014.
    """
    *_, height, width = images.shape
    corners = [
        (y, x)
        for y in range(0, height - side_px + step_px, step_px)
        for x in range(0, width - side_px + step_px, step_px)
    ]
    before = score(images)
    fall, covered = torch.zeros_like(images), images.new_zeros(1, 1, height, width)
    at_once = max(1, BATCH_PIXELS // (len(images) * height * width))
    for start in range(0, len(corners), at_once):
        squares = [np.s_[..., y : y + side_px, x : x + side_px] for y, x in corners[start : start + at_once]]
        copies = images.repeat(len(squares), 1, 1, 1).unflatten(0, (len(squares), len(images)))
        for copy, square in zip(copies, squares, strict=True):
            copy[square] = paper
        falls = before - score(copies.flatten(0, 1)).unflatten(0, (len(squares), len(images)))
        for square, values in zip(squares, falls, strict=True):
            fall[square] += values[:, None, None, None]
            covered[square] += 1
    return fall / covered
