"""The losses of networks that read single digits: by labels, and by the answers of teachers.

Distillation: a network learns the answers of trained models besides the labels (Hinton, Vinyals & Dean,
"Distilling the knowledge in a neural network", 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.ensemble import Ensemble
from digitcli.architectures.recipe import Recipe
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import open_network, place_network


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return half the squared distance between the sigmoid of the logits and the one-hot labels.

    Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986.
    """
    targets = F.one_hot(labels, logits.shape[-1])
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return 0.5 * (exact.sigmoid() - targets).square().sum(dim=-1).mean()


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the margin loss of the capsules' lengths, which are the sigmoid of the logits.

    The length of the label's capsule should be above 0.9 and the others, which count half, below 0.1.

    Sabour, Frosst & Hinton, "Dynamic routing between capsules", 2017.
    """
    lengths = logits.float().sigmoid()
    targets = F.one_hot(labels, logits.shape[-1])
    short, long = (0.9 - lengths).clamp(min=0).square(), (lengths - 0.1).clamp(min=0).square()
    return (targets * short + 0.5 * (1 - targets) * long).sum(dim=-1).mean()


def cross_entropy_with_no_digit(label_smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a cross-entropy with one more label, "no digit", whose target is ten equal probabilities.

    Hendrycks, Mazeika & Dietterich, "Deep anomaly detection with outlier exposure", 2019.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        digits = logits.shape[-1]
        targets = torch.eye(digits + 1, digits, device=logits.device)
        targets[digits] = 1 / digits
        return F.cross_entropy(logits, targets[labels], label_smoothing=label_smoothing)

    return loss


def loss_function(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the recipe's loss; label smoothing applies to the cross-entropy (Szegedy et al., 2016)."""
    if recipe.loss == "squared_error":
        return squared_error
    if recipe.loss == "margin":
        return margin
    if recipe.synthetic:
        return cross_entropy_with_no_digit(recipe.label_smoothing)
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)


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
