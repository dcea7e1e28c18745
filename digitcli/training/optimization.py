"""The parts of a training step that a recipe chooses: number format, optimizer, schedule and average."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe

MOMENTUM, ITERATIONS = 0.95, 5  # the decay of the momentum, and Newton-Schulz iterations, as published
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the polynomial that brings singular values near 1, as published
RMS = 0.2  # root mean square of a step at a learning rate of 1: about that of AdamW, so both can use one rate
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


def create_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Create the recipe's optimizer, with weight decay for matrices and kernels alone."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kernels, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    decays = ((kernels, recipe.weight_decay), (vectors, 0.0))
    groups: list[dict[str, Any]]
    groups = [{"params": params, "weight_decay": weight_decay} for params, weight_decay in decays if params]
    fused = groups[0]["params"][0].device.type in ("cpu", "cuda")
    betas = recipe.beta1, recipe.beta2
    match recipe.optimizer:
        case "sgd":
            momentum = recipe.momentum
            return torch.optim.SGD(groups, recipe.lr, momentum, nesterov=momentum > 0, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, recipe.lr, betas, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, recipe.lr, betas, fused=fused)
        case "muon":
            return Muon(_by_size(groups), recipe.lr, betas, getattr(torch, recipe.dtype), fused)


def _by_size(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split each group into large matrices, which Muon makes orthogonal, and the rest."""
    return [
        {**group, "params": parameters, "orthogonal": orthogonal}
        for group in groups
        for orthogonal in (True, False)
        if (parameters := [p for p in group["params"] if is_large(p) == orthogonal])
    ]


def choose_dtype(device: torch.device) -> tuple[Literal["float32", "bfloat16"], str]:
    """Choose bfloat16 where the device computes it natively, else float32; also return the reason.

    The choice depends on nothing but the device, so that equal seeds give equal weights on equal devices.
    Without native instructions a step takes 5 to 14 times as long as in float32 (measured with `fast` and
    `cnn` on an AMD EPYC of the Zen 3 generation).
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # every CPU with AMX tiles has AMX-BF16
        native = device.type == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    if native:
        return "bfloat16", f"{device.type} has native bfloat16 instructions"
    return "float32", f"{device.type} has no native bfloat16 instructions"


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    """Compute in bfloat16 within the context, if that is the recipe's number format."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16")


def step_on(network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
    """Clip the gradients by the recipe's norm, take a step, and clear the gradients."""
    if recipe.max_grad_norm > 0:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group of parameters a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def scheduled_lr(recipe: Recipe, progress: float) -> float:
    """Return the learning rate at a progress from 0 to 1: a linear warm-up, then the recipe's schedule."""
    if progress < recipe.warmup:
        return recipe.lr * max(progress, 1e-3 * recipe.warmup) / recipe.warmup
    rest = min(1.0, (progress - recipe.warmup) / (1 - recipe.warmup))
    match recipe.schedule:
        case "constant":
            return recipe.lr
        case "linear":
            return recipe.lr * (1 - rest)
        case "cosine":
            return recipe.lr * (1 + math.cos(math.pi * rest)) / 2


def create_average(network: nn.Module, recipe: Recipe) -> nn.Module | None:
    """Copy the network for the exponential moving average of its weights, if the recipe has one."""
    return copy.deepcopy(network).requires_grad_(False) if recipe.ema_decay > 0 else None


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, recipe: Recipe, steps: int) -> None:
    """Add the network's weights and buffers to their exponential moving average, after `steps` steps.

    The decay is smaller in the first steps, so that the average forgets the initial weights. PyTorch's
    `AveragedModel` would read its number of steps back from the device every time.
    """
    decay = 0.0 if steps == 1 else min(recipe.ema_decay, (1 + steps) / (10 + steps))
    averages = [*average.parameters(), *average.buffers()]
    tensors = [*network.parameters(), *network.buffers()]
    floats = [index for index, tensor in enumerate(averages) if tensor.is_floating_point()]
    torch._foreach_lerp_(
        [averages[index] for index in floats], [tensors[index] for index in floats], 1 - decay
    )
    for index in set(range(len(averages))) - set(floats):
        averages[index].copy_(tensors[index])
