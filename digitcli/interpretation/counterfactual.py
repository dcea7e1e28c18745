"""Images that a network reads as a digit: close to another image, or as sure as can be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Ink and paper are this far from 1 and 0, so that their logits are finite.
EDGE = 0.02
# Standard deviation in pixels by which a change is smoothed: about half the width of a stroke of MNIST.
SMOOTHING_PX = 1.0
# Steps of the optimization, its rate, and the prices of a pixel of ink in logits: a lower one where the one
# before finds no change.
STEPS, RATE, PRICES = 250, 0.5, (0.02, 0.002)
# Margin in logits by which the other digit shall win.
MARGIN = 0.3
# Steps and rate of the optimization of an input, the pixels of ink that doubling its margin is worth, and its
# largest shift in each step.
OPTIMAL_STEPS, OPTIMAL_RATE, OPTIMAL_GAIN, LARGEST_SHIFT_PX = 150, 0.2, 100.0, 2
# Largest change of a pixel by noise, from the smallest to the largest that is tried; steps of the search.
NOISE_LIMITS = tuple(0.3 * 1.15**-power for power in range(24, -1, -1))
NOISE_STEPS = 40


def counterfactual(network: nn.Module, image: Tensor, digit: int) -> Tensor | None:
    """Return an image (1, 1, 28, 28) with little ink added or erased, which is read as `digit`; None if none
    was found.

    Wachter, Mittelstadt & Russell, "Counterfactual explanations without opening the black box", 2017. So
    that the change looks drawn, it moves the edges of the ink: a smooth function is added to the logits of
    the ink, as in level-set methods (Osher & Sethian 1988).
    """
    for price in PRICES:
        changed = _redrawn(network, image, digit, price)
        if changed is not None:
            return changed
    return None


def _redrawn(network: nn.Module, image: Tensor, digit: int, price: float) -> Tensor | None:
    kernel = _gaussian(SMOOTHING_PX).to(image)
    level = torch.log((image + EDGE) / (1 - image + EDGE))
    change = torch.zeros_like(image, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=RATE)
    best, least = None, float("inf")
    for _ in range(STEPS):
        smooth = F.conv2d(change, kernel, padding=kernel.shape[-1] // 2)
        changed = (image + (level + smooth).sigmoid() - level.sigmoid()).clamp(0, 1)
        margin = _margin(network(changed), digit)
        ink = (changed - image).abs().sum()
        if ink < least and _wins(network, changed, digit):
            best, least = _grey_levels(changed), float(ink.detach())
        (change.grad,) = torch.autograd.grad(F.relu(MARGIN - margin).sum() + price * ink, change)
        optimizer.step()
    return best


def adversarial(network: nn.Module, image: Tensor, digit: int) -> Tensor | None:
    """Return an image (1, 1, 28, 28) with the faintest noise that was found to make it read as `digit`; None
    if none was found.

    Projected gradient descent: Madry et al., "Towards deep learning models resistant to adversarial attacks",
    2018. No pixel changes by more than a limit, which grows until the network is deceived.
    """
    for limit in NOISE_LIMITS:
        changed = image.clone()
        for _ in range(NOISE_STEPS):
            changed.requires_grad_()
            (gradient,) = torch.autograd.grad(_margin(network(changed), digit).sum(), changed)
            step = changed.detach() + 2.5 * limit / NOISE_STEPS * gradient.sign()
            changed = torch.clamp(step, image - limit, image + limit).clamp(0, 1)
            if _wins(network, changed, digit):
                return _grey_levels(changed)
    return None


def optimal_input(network: nn.Module, mean: Tensor, digit: int, seed: int = 0) -> Tensor:
    """Return an image (1, 1, 28, 28) that raises the margin of a digit (activation maximization).

    It starts from even grey with the ink of `mean` (1, 1, 28, 28). It is smooth, black and white rather than
    grey, and shifted at random in every step, so that it is not noise. Erhan, Bengio, Courville & Vincent,
    "Visualizing higher-layer features of a deep network", 2009.
    """
    ink = mean.sum()
    kernel = _gaussian(SMOOTHING_PX).to(mean)
    level = torch.logit(mean.mean().expand(mean.shape))
    change = torch.zeros_like(level, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=OPTIMAL_RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(OPTIMAL_STEPS):
        image = (level + F.conv2d(change, kernel, padding=kernel.shape[-1] // 2)).sigmoid()
        shift = torch.randint(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + 1, (2,), generator=generator).tolist()
        margin = _margin(network(image.roll(shift, (2, 3))), digit).sum()
        gain = OPTIMAL_GAIN * margin / margin.detach().abs().clamp(min=1)  # whatever the size of the logits
        price = (image.sum() - ink).abs() + (image * (1 - image)).sum()
        (change.grad,) = torch.autograd.grad(price - gain, change)
        optimizer.step()
    return image.detach()


@torch.no_grad()
def _wins(network: nn.Module, image: Tensor, digit: int) -> bool:
    """Tell whether an image is read as a digit when it is stored."""
    return bool(_margin(network(_grey_levels(image)), digit) > 0)


def _grey_levels(image: Tensor) -> Tensor:
    """Return an image as it is stored, with 256 levels."""
    return (255 * image.detach()).round() / 255


def _margin(logits: Tensor, digit: int) -> Tensor:
    """Return the margin (N,) of a digit over the likeliest other one, in logits (N, 10)."""
    others = torch.cat([logits[:, :digit], logits[:, digit + 1 :]], dim=1)
    return logits[:, digit] - others.amax(dim=1)


def _gaussian(deviation_px: float) -> Tensor:
    """Return a kernel (1, 1, K, K) that adds up to 1."""
    reach = round(3 * deviation_px)
    places = torch.arange(-reach, reach + 1)
    row = torch.exp(-(places**2) / (2 * deviation_px**2))
    kernel = row[:, None] * row
    return (kernel / kernel.sum())[None, None]
