"""Losses, named by the recipes: from logits (N, C) and labels (N,) to a mean over the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from digitcli.config import Recipe


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Half the squared distance between the sigmoid of the logits and the one-hot labels.

    Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986.
    """
    targets = F.one_hot(labels, logits.shape[-1])
    return 0.5 * (logits.sigmoid() - targets).square().sum(dim=-1).mean()


def loss_function(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a recipe names; label smoothing belongs to cross-entropy (Szegedy et al., 2016)."""
    if recipe.loss == "squared_error":
        return squared_error
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
