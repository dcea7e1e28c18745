"""The loss of the page finder."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from digitcli.page_format import HEIGHT, NUMBER, OTHER, SLOPE, SMALL
from digitcli.training.page_targets import WEIGHTS

HARD_NEGATIVES = 3  # negative cells that count for each positive one: those with the largest losses
LEAST_NEGATIVES = 256  # that count in a batch without positive cells, for each of its pictures
# Weights of the parts, chosen by hand.
OTHER_WEIGHT = 0.5
SMALL_WEIGHT = 0.5
GEOMETRY_WEIGHT = 2.0


def page_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of maps (N, 6, H, W) for targets (N, 9, H, W), see `draw_targets`."""
    number = _core_loss(outputs[:, NUMBER], targets[:, NUMBER], targets[:, WEIGHTS])
    other = _core_loss(outputs[:, OTHER], targets[:, OTHER], targets[:, WEIGHTS + 1])
    small = _core_loss(outputs[:, SMALL], targets[:, SMALL], targets[:, WEIGHTS + 2])
    core = ((targets[:, NUMBER] + targets[:, OTHER]) > 0) & (targets[:, WEIGHTS] > 0)
    geometry = outputs.new_zeros(())
    if core.any():
        geometry_maps = slice(HEIGHT, SLOPE + 1)
        predicted, wanted = (each[:, geometry_maps].movedim(1, -1)[core] for each in (outputs, targets))
        geometry = F.smooth_l1_loss(predicted, wanted, beta=0.1)
    return number + OTHER_WEIGHT * other + SMALL_WEIGHT * small + GEOMETRY_WEIGHT * geometry


def _core_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Add cross-entropy with hard negatives (Shrivastava et al., 2016) and Dice (Milletari et al., 2016)."""
    losses = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none")
    is_positive = targets > 0
    positives = losses[is_positive]
    count = max(HARD_NEGATIVES * len(positives), LEAST_NEGATIVES * len(logits))
    negatives = losses[~is_positive]
    hardest = negatives.topk(min(count, len(negatives))).values
    entropy = (positives.sum() + hardest.sum()) / (len(positives) + len(hardest))
    probabilities = logits.sigmoid() * weights
    overlap = (probabilities * targets).sum()
    dice = 1 - (2 * overlap + 1) / (probabilities.sum() + (targets * weights).sum() + 1)
    return entropy + dice


@dataclass(frozen=True)
class CoreCounts:
    """How many cells are found rightly, are found, and should be found."""

    right: int
    found: int
    wanted: int

    def __add__(self, other: CoreCounts) -> CoreCounts:
        return CoreCounts(self.right + other.right, self.found + other.found, self.wanted + other.wanted)

    @property
    def f_measure(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / max(self.found + self.wanted, 1)


def core_counts(outputs: Tensor, targets: Tensor) -> CoreCounts:
    """Count the cells of the cores of numbers, where the weight of the loss is not reduced."""
    is_counted = targets[:, WEIGHTS] >= 1
    found, wanted = (outputs[:, NUMBER] > 0) & is_counted, (targets[:, NUMBER] > 0) & is_counted
    return CoreCounts(int((found & wanted).sum()), int(found.sum()), int(wanted.sum()))
