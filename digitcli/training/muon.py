"""An optimizer for large matrices and kernels: every step goes in all of their directions alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.errors import UsageError

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the polynomial that takes every singular value near 1
RMS = 0.2  # of a step at a learning rate of 1, about that of AdamW, so that one rate serves both
SMALLEST_SIDE = 32  # matrices with fewer rows or columns are left to AdamW


class Muon(torch.optim.AdamW):
    """Steps along orthogonal matrices where a group says `orthogonal`; other groups have AdamW.

    The matrices are computed in `dtype`.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, with the scale of Liu et
    al., "Muon is scalable for LLM training", 2025. A kernel (out, in, h, w) counts as a matrix (out, in * h
    * w). PyTorch's own Muon takes no kernels. Unlike there, a matrix of places (`vit`) counts too.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        dtype: torch.dtype,
        fused: bool,
    ) -> None:
        super().__init__(groups, lr, betas, fused=fused)
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; the gradients of the orthogonal groups are used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group.get("orthogonal"):
                for parameter in group["params"]:
                    self._turn(parameter, group["lr"], group["weight_decay"])
        super().step()
        return loss

    def _turn(self, parameter: Tensor, lr: float, weight_decay: float) -> None:
        if parameter.grad is None:
            return
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # AdamW looks for it
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum = state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
        ahead = parameter.grad.add(momentum, alpha=MOMENTUM).flatten(1)
        change = orthogonal(ahead, self._dtype).view(parameter.shape)
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(change, alpha=-lr * RMS * math.sqrt(max(ahead.shape)))
        parameter.grad = None


def check_muon(arch: str, network: nn.Module, recipe: Recipe) -> None:
    """Whether Muon, where a recipe names it, has anything to train.

    Raises:
        UsageError: it has not.
    """
    if recipe.optimizer == "muon" and not any(map(is_large, network.parameters())):
        cause = f"Muon is for matrices of {SMALLEST_SIDE} rows and columns or more; '{arch}' has none."
        raise UsageError(cause, "Take another --optimizer.")


def is_large(parameter: Tensor) -> bool:
    """Whether a parameter is a matrix or kernel of many directions; heads of ten classes are not."""
    return parameter.ndim in (2, 4) and min(parameter.flatten(1).shape) >= SMALLEST_SIDE


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix (m, n) with its singular values near 1, by five steps after Newton and Schulz.

    Those below about a five-hundredth of its norm stay smaller; zeros stay zeros.
    """
    upright = len(matrix) > matrix.shape[1]
    turned: Tensor = (matrix.T if upright else matrix).to(dtype)
    turned = turned / turned.abs().amax().clamp_min(torch.finfo(dtype).tiny)  # lest squares vanish
    turned = turned / turned.norm().clamp_min(1)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = turned @ turned.T
        turned = first * turned + (third * square + fifth * square @ square) @ turned
    return (turned.T if upright else turned).to(matrix.dtype)
