"""Distillation: a network learns the answers of trained models, its teachers, besides the labels.

Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.ensemble import Ensemble
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import open_network, place_network


def load_teacher(models: Sequence[ResolvedModel], device: torch.device) -> nn.Module:
    """Return a network whose logits (N, 10) are the logarithms of the models' mean calibrated probabilities.

    Raises:
        ModelError: a checkpoint is damaged or does not fit its architecture.
        EnvironmentFault: the device computes wrongly.
    """
    networks = [open_network(model) for model in models]
    ensemble = Ensemble(networks, [model.header.temperature for model in models])
    return place_network(ensemble, device)


@torch.no_grad()
def soft_targets(teacher: nn.Module, images: Tensor, temperature: float) -> Tensor:
    """Return the probabilities (N, 10) that a teacher gives images (N, 1, 28, 28) at a temperature."""
    logits: Tensor = teacher(images)
    return (logits.float() / temperature).softmax(dim=-1)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the mean Kullback-Leibler divergence of answers from soft targets, times squared temperature.

    The gradient of the divergence shrinks with the square of the temperature, so that without the factor the
    weight of the labels would depend on the temperature.

    Args:
        logits: the logits of the network that learns (N, 10).
        targets: the probabilities of the teacher at the same temperature (N, 10).
        temperature: the divisor of the logits.
    """
    answers = (logits.float() / temperature).log_softmax(dim=-1)
    return temperature**2 * F.kl_div(answers, targets, reduction="batchmean")
