"""Muon: an optimizer that makes the steps of large matrices and kernels orthogonal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# The decay of the momentum, as published.
MOMENTUM = 0.95

# The number of Newton-Schulz iterations, as published.
ITERATIONS = 5

# The coefficients, as published, of the polynomial that brings every singular value near 1.
COEFFICIENTS = 3.4445, -4.7750, 2.0315

# The root mean square of a step at a learning rate of 1: about that of AdamW, so that both can use one rate.
RMS = 0.2

# The least number of rows and columns of a matrix for Muon; AdamW trains smaller ones. Chosen by hand: the
# output layer of ten classes must be below it.
SMALLEST_SIDE = 32


class Muon(torch.optim.AdamW):
    """Muon for the groups with `orthogonal`, computed in `dtype`, and AdamW for the other groups.

    A kernel (out, in, h, w) is treated as a matrix (out, in * h * w); PyTorch's own Muon takes no kernels.
    Difference from the publication: position embeddings (`vit`) are trained by Muon, too.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, with the scale of Liu et
    al., "Muon is scalable for LLM training", 2025.
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
        """Take one step, which clears the gradients of the orthogonal groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group.get("orthogonal"):
                for parameter in group["params"]:
                    self._step_orthogonal(parameter, group["lr"], group["weight_decay"])
        super().step()
        return loss

    def _step_orthogonal(self, parameter: Tensor, lr: float, weight_decay: float) -> None:
        if parameter.grad is None:
            return
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # AdamW expects it
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum = state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
        lookahead = parameter.grad.add(momentum, alpha=MOMENTUM).flatten(1)  # Nesterov
        change = orthogonal(lookahead, self._dtype).view(parameter.shape)
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(change, alpha=-lr * RMS * math.sqrt(max(lookahead.shape)))
        parameter.grad = None


def is_large(parameter: Tensor) -> bool:
    """Return whether a parameter is a matrix or kernel with at least `SMALLEST_SIDE` rows and columns."""
    return parameter.ndim in (2, 4) and min(parameter.flatten(1).shape) >= SMALLEST_SIDE


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a matrix (m, n) with all singular values near 1, by Newton-Schulz iterations.

    Singular values below about 1/500 of the matrix's norm stay smaller, and zeros stay zeros.
    """
    is_tall = len(matrix) > matrix.shape[1]
    wide: Tensor = (matrix.T if is_tall else matrix).to(dtype)
    wide = wide / wide.abs().amax().clamp_min(torch.finfo(dtype).tiny)  # squares of tiny numbers are zero
    wide = wide / wide.norm().clamp_min(1)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = first * wide + (third * square + fifth * square @ square) @ wide
    return (wide.T if is_tall else wide).to(matrix.dtype)
