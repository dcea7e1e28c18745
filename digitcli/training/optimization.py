"""Optimiser, learning-rate schedule and the average of the weights, as a recipe names them."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from digitcli.config import Recipe


def create_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay is for matrices and kernels, not for biases and norms."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = parameters[0].device.type in ("cpu", "cuda")
    match recipe.optimizer:
        case "sgd":
            momentum = recipe.momentum
            return torch.optim.SGD(groups, recipe.lr, momentum, nesterov=momentum > 0, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, recipe.lr, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, recipe.lr, fused=fused)


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


def create_average(network: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """The exponential moving average of weights and buffers, where the recipe asks for one."""
    if recipe.ema == 0:
        return None
    average = AveragedModel(network, use_buffers=True)
    average.n_averaged = average.n_averaged.cpu()  # it is read at every step; on CUDA that would wait
    return average


def update_average(average: AveragedModel, network: nn.Module, recipe: Recipe, steps: int) -> None:
    """Average in the weights after so many steps; early on the decay is smaller, to forget the start."""
    decay = min(recipe.ema, (1 + steps) / (10 + steps))
    average.multi_avg_fn = get_ema_multi_avg_fn(decay)
    average.update_parameters(network)
