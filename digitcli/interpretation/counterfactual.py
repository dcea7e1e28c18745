"""Images that a network reads as a digit: close to another image, or as sure as can be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.errors import UsageError

# Ink and paper are this far from 1 and 0, so that their logits are finite.
EDGE = 0.02
# Standard deviation in pixels by which a change is smoothed: about half the width of a stroke of MNIST.
SMOOTHING_PX = 1.0
# Steps of the optimization, its rate, and the price of a pixel of ink in logits.
STEPS, RATE, PRICE = 250, 0.5, 0.02
# Lead in logits that the other digit shall have, and that it must have, so that grey levels keep it.
LEAD, LEAST_LEAD = 2.0, 0.1
# Steps and rate of the optimization of an input, and the largest shift of it in each step.
OPTIMAL_STEPS, OPTIMAL_RATE, LARGEST_SHIFT_PX = 150, 0.2, 2
SIDE_PX = 28
# Largest change of a pixel by noise, from the smallest to the largest that is tried; steps of the search.
NOISE_LIMITS = tuple(0.3 * 1.15**-power for power in range(24, -1, -1))
NOISE_STEPS = 40


def counterfactual(network: nn.Module, image: Tensor, digit: int) -> Tensor:
    """Return an image (1, 1, 28, 28) with little ink added or erased, which is read as `digit`.

    Wachter, Mittelstadt & Russell, "Counterfactual explanations without opening the black box", 2017. So
    that the change looks drawn, it moves the edges of the ink: a smooth function is added to the logits of
    the ink, as in level-set methods (Osher & Sethian 1988).

    Raises:
        UsageError: no such image was found.
    """
    kernel = _gaussian(SMOOTHING_PX).to(image)
    level = torch.log((image + EDGE) / (1 - image + EDGE))
    change = torch.zeros_like(image, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=RATE)
    best, least = None, float("inf")
    for _ in range(STEPS):
        smooth = F.conv2d(change, kernel, padding=kernel.shape[-1] // 2)
        changed = (image + (level + smooth).sigmoid() - level.sigmoid()).clamp(0, 1)
        lead = _lead(network(changed), digit)
        ink = (changed - image).abs().sum()
        if lead >= LEAST_LEAD and ink < least:
            best, least = changed.detach(), float(ink.detach())
        (change.grad,) = torch.autograd.grad(F.relu(LEAD - lead).sum() + PRICE * ink, change)
        optimizer.step()
    if best is None:
        raise UsageError(
            f"No small change was found after which this digit is read as {digit}.", "Try another digit."
        )
    return best


def adversarial(network: nn.Module, image: Tensor, digit: int) -> Tensor:
    """Return an image (1, 1, 28, 28) with the faintest noise that was found to make it read as `digit`.

    Projected gradient descent: Madry et al., "Towards deep learning models resistant to adversarial attacks",
    2018. No pixel changes by more than a limit, which grows until the network is deceived.

    Raises:
        UsageError: no such noise was found.
    """
    for limit in NOISE_LIMITS:
        changed = image.clone()
        for _ in range(NOISE_STEPS):
            changed.requires_grad_()
            lead = _lead(network(changed), digit)
            if lead >= LEAST_LEAD:
                return changed.detach()
            (gradient,) = torch.autograd.grad(lead.sum(), changed)
            step = changed.detach() + 2.5 * limit / NOISE_STEPS * gradient.sign()
            changed = torch.clamp(step, image - limit, image + limit).clamp(0, 1)
    raise UsageError(f"No noise was found that makes this digit read as {digit}.", "Try another digit.")


def optimal_input(network: nn.Module, digit: int, ink: float, seed: int = 0) -> Tensor:
    """Return an image (1, 1, 28, 28) for which a network is as sure as can be of a digit.

    It starts from even grey and has about `ink` pixels of ink. It is smooth, and shifted at random in every
    step, so that it is not noise. Erhan, Bengio, Courville & Vincent, "Visualizing higher-layer features of a
    deep network", 2009.
    """
    parameter = next(network.parameters())
    kernel = _gaussian(SMOOTHING_PX).to(parameter)
    level = torch.logit(torch.full((1, 1, SIDE_PX, SIDE_PX), ink / SIDE_PX**2)).to(parameter)
    change = torch.zeros_like(level, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=OPTIMAL_RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(OPTIMAL_STEPS):
        image = (level + F.conv2d(change, kernel, padding=kernel.shape[-1] // 2)).sigmoid()
        shift = torch.randint(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + 1, (2,), generator=generator).tolist()
        lead = _lead(network(image.roll(shift, (2, 3))), digit)
        price = (image.sum() - ink).abs() + (image * (1 - image)).sum()
        (change.grad,) = torch.autograd.grad(PRICE * price - lead.sum(), change)
        optimizer.step()
    return image.detach()


def _lead(logits: Tensor, digit: int) -> Tensor:
    """Return the lead (N,) of a digit over the likeliest other one, in logits (N, 10)."""
    others = torch.cat([logits[:, :digit], logits[:, digit + 1 :]], dim=1)
    return logits[:, digit] - others.amax(dim=1)


def _gaussian(deviation_px: float) -> Tensor:
    """Return a kernel (1, 1, K, K) that adds up to 1."""
    reach = round(3 * deviation_px)
    places = torch.arange(-reach, reach + 1)
    row = torch.exp(-(places**2) / (2 * deviation_px**2))
    kernel = row[:, None] * row
    return (kernel / kernel.sum())[None, None]
