"""Optimizer, learning-rate schedule and the average of the weights, as a recipe names them."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.training.muon import Muon, is_large


def create_optimizer(network: nn.Module, recipe: Recipe, graphed: bool = False) -> torch.optim.Optimizer:
    """The recipe's optimizer; weight decay is for matrices and kernels, not for biases and norms.

    For a step that is `graphed` the learning rate is a tensor on the device.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = parameters[0].device.type in ("cpu", "cuda")
    betas = recipe.beta1, recipe.beta2
    lr: Any = torch.tensor(recipe.lr, device=parameters[0].device) if graphed else recipe.lr
    match recipe.optimizer:
        case "sgd":
            momentum = recipe.momentum
            return torch.optim.SGD(groups, recipe.lr, momentum, nesterov=momentum > 0, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr, betas, fused=fused, capturable=graphed)
        case "adamw":
            return torch.optim.AdamW(groups, lr, betas, fused=fused, capturable=graphed)
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


def bfloat16_where_asked(device: torch.device, recipe: Recipe) -> torch.autocast:
    """Within it, what gains by it is computed in bfloat16, if the recipe says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16")


def step_on(network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
    """Clip the gradients as the recipe says, take a step along them, and forget them."""
    if recipe.max_grad_norm > 0:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all of an optimizer's groups a learning rate, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def scheduled_lr(recipe: Recipe, progress: float) -> float:
    """The learning rate at a progress from 0 to 1: a linear warm-up, then the schedule, which ends at zero
    unless it is constant.
    """
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
    return copy.deepcopy(network).requires_grad_(False) if recipe.ema_decay > 0 else None


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, recipe: Recipe, steps: int) -> None:
    """Average in the weights after so many steps; early on the decay is smaller, to forget the start.

    In place of PyTorch's `AveragedModel`, which reads its count of steps back from the device every time.
    """
    decay = 0.0 if steps == 1 else min(recipe.ema_decay, (1 + steps) / (10 + steps))
    ours, theirs = [*average.parameters(), *average.buffers()], [*network.parameters(), *network.buffers()]
    floats = [index for index, tensor in enumerate(ours) if tensor.is_floating_point()]
    torch._foreach_lerp_([ours[index] for index in floats], [theirs[index] for index in floats], 1 - decay)
    for index in set(range(len(ours))) - set(floats):
        ours[index].copy_(theirs[index])
