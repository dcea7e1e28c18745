"""Optimiser, learning-rate schedule and the average of the weights, as a recipe names them."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from digitcli.config import Recipe
from digitcli.training.muon import Muon, is_large


def create_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay is for matrices and kernels, not for biases and norms."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = parameters[0].device.type in ("cpu", "cuda")
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
    """The groups parted into large matrices and the rest."""
    parted = []
    for group in groups:
        for orthogonal in (True, False):
            chosen = [p for p in group["params"] if is_large(p) == orthogonal]
            if chosen:
                parted.append({**group, "params": chosen, "orthogonal": orthogonal})
    return parted


def scheduled_lr(recipe: Recipe, progress: float) -> float:
    """The learning rate at a progress from 0 to 1: a linear warm-up, then the schedule down to zero."""
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
    """A copy for the exponential moving average of weights and buffers, where the recipe asks for one."""
    return copy.deepcopy(network).requires_grad_(False) if recipe.ema > 0 else None


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, recipe: Recipe, steps: int) -> None:
    """Average in the weights after so many steps; early on the decay is smaller, to forget the start.

    In place of PyTorch's `AveragedModel`, which reads its count of steps back from the device every time.
    """
    decay = 0.0 if steps == 1 else min(recipe.ema, (1 + steps) / (10 + steps))
    ours, theirs = [*average.parameters(), *average.buffers()], [*network.parameters(), *network.buffers()]
    floats = [index for index, tensor in enumerate(ours) if tensor.is_floating_point()]
    torch._foreach_lerp_([ours[index] for index in floats], [theirs[index] for index in floats], 1 - decay)
    for index in set(range(len(ours))) - set(floats):
        ours[index].copy_(theirs[index])
