"""The parts of a training step that a recipe chooses: number format, optimizer, schedule and average."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.stages import stages_of
from digitcli.training.muon import Muon, is_large


def create_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Create the recipe's optimizer, with weight decay for matrices and kernels alone.

    A group of parameters has its own share of the learning rate, `lr_scale`, which is 1 in the last group."""
    groups = _parameter_groups(network, recipe)
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


def _parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the trained parameters: matrices and kernels apart from the rest, by stage for a layer decay.

    Clark et al., "ELECTRA: pre-training text encoders as discriminators rather than generators", 2020, and
    Bao et al., "BEiT: BERT pre-training of image transformers", 2022, let the learning rate decay so.
    """
    scaled: list[tuple[float, Iterable[nn.Parameter]]] = [(1.0, network.parameters())]
    if recipe.layer_decay is not None:
        stages = stages_of(network)
        scales = [recipe.layer_decay ** (len(stages) - number) for number in range(1, len(stages) + 1)]
        scaled = [(scale, stage.parameters) for scale, stage in zip(scales, stages, strict=True)]
    groups = []
    for lr_scale, parameters in scaled:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        kernels, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
        for params, weight_decay in ((kernels, recipe.weight_decay), (vectors, 0.0)):
            if params:
                groups.append({"params": params, "weight_decay": weight_decay, "lr_scale": lr_scale})
    return groups


def _by_size(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split each group into large matrices, which Muon makes orthogonal, and the rest."""
    split_groups = []
    for group in groups:
        for orthogonal in (True, False):
            parameters = [p for p in group["params"] if is_large(p) == orthogonal]
            if parameters:
                split_groups.append({**group, "params": parameters, "orthogonal": orthogonal})
    return split_groups


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
    """Give every group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def scheduled_lr(recipe: Recipe, progress: float) -> float:
    """Return the learning rate at a progress from 0 to 1.

    A linear warm-up leads to the recipe's learning rate. Then the schedule lowers it to zero, unless it is
    constant.
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
