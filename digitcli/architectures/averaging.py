"""Ensembles: several networks of single digits that answer as one network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from digitcli.architectures.registry import create_model, find_architecture


class Ensemble(nn.Module):
    """Several networks that answer with the mean of their calibrated probabilities.

    The logits of each member are divided by its temperature. The answer is the logarithm of the mean of the
    probabilities (N, 10), which are logits of the same probabilities.
    """

    def __init__(self, members: Sequence[nn.Module], temperatures: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperatures = tuple(temperatures)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        pairs = zip(self.members, self.temperatures, strict=True)
        logs = [(member(images) / temperature).log_softmax(dim=-1) for member, temperature in pairs]
        return torch.stack(logs).logsumexp(dim=0) - math.log(len(logs))  # N, 10


def ensemble(members: Sequence[Mapping[str, Any]]) -> nn.Module:
    """Build an ensemble: several networks whose probabilities are averaged.

    Hansen & Salamon, "Neural network ensembles", 1990; Lakshminarayanan, Pritzel & Blundell, "Simple and
    scalable predictive uncertainty estimation using deep ensembles", 2017. Difference: each member has a
    temperature of its own.

    members: the headers of the members' checkpoints; their architecture, arguments and temperature are used.

    Raises:
        UsageError: an architecture is unknown or does not accept an argument.
        ValueError: there is no member, or a member does not classify single digits.
    """
    if not members:
        raise ValueError("an ensemble has at least one member")
    for member in members:
        if find_architecture(member["architecture"]).task != "digit":
            raise ValueError(f"the member '{member['architecture']}' does not classify single digits")
    networks = [create_model(member["architecture"], **member.get("arguments", {})) for member in members]
    return Ensemble(networks, [member.get("temperature", 1.0) for member in members])
