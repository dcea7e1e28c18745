"""Functions of logits (N, 10) and labels (N,). Accuracies and probabilities are fractions from 0 to 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ECE_BINS = 15


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of labels that have the largest logit."""
    return int((logits.argmax(dim=-1) == labels).sum()) / len(labels)


def nll(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """The mean negative log-likelihood of the labels, in nats."""
    return float(F.cross_entropy(logits / temperature, labels))


def ece(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Expected calibration error over 15 bins that hold equally many predictions.

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017; equal-mass bins as in
    Nguyen & O'Connor, "Posterior calibration and exploratory analysis for natural language processing
    models", 2015.
    """
    confidence, predicted = (logits / temperature).softmax(dim=-1).max(dim=-1)
    order = confidence.argsort(stable=True)
    right = (predicted == labels).float()[order]
    gaps = [
        len(bin_right) * (bin_right.mean() - bin_confidence.mean()).abs()
        for bin_right, bin_confidence in zip(
            right.tensor_split(ECE_BINS), confidence[order].tensor_split(ECE_BINS), strict=True
        )
        if len(bin_right)
    ]
    return float(torch.stack(gaps).sum() / len(labels))
