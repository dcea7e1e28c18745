"""Which numbers a network computes in while it is trained: `dtype` "auto" is decided by measurement."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from digitcli.training.task import Material

WORTH_IT = 1.1  # times as fast as float32; nearer to 1 two runs with the same seed might choose differently
FEWEST, MOST, SECONDS = 3, 5, 1.0  # rounds of measuring: beside other work a single one says little,
CLEARLY, NO_CHANCE_SECONDS = 3.0, 0.1  # but where bfloat16 takes so many times as long, and so much longer


def choose_dtype(
    network: nn.Module, material: Material, device: torch.device, patience: float = math.inf
) -> tuple[Literal["float32", "bfloat16"], float]:
    """The dtype, and how many times as fast as float32 bfloat16 goes forward and back through a batch.

    The network and its statistics stay as they are; where bfloat16 cannot be computed the number is 0. The
    first round is slow, and counts only where it takes more than so many seconds of `patience`; after them no
    other is begun.
    """
    network = copy.deepcopy(network).train()
    _seconds(network, material, device, bfloat16=False)  # starts all that any step takes
    began = time.perf_counter()
    try:
        rounds = [_round(network, material, device)]
    except RuntimeError:  # NotImplementedError too; if it was for memory, float32 will say so
        return "float32", 0.0
    if time.perf_counter() - began < patience:
        rounds = list(_rounds(network, material, device, began + patience))
    ratio = min(single for single, _ in rounds) / min(half for _, half in rounds)
    return "bfloat16" if ratio >= WORTH_IT else "float32", ratio


def _rounds(
    network: nn.Module, material: Material, device: torch.device, deadline: float
) -> Iterator[tuple[float, float]]:
    began = time.perf_counter()
    for number in range(1, MOST + 1):
        single, half = _round(network, material, device)
        yield single, half
        now = time.perf_counter()
        hopeless = half > max(CLEARLY * single, single + NO_CHANCE_SECONDS)
        if hopeless or now >= deadline or (number >= FEWEST and now - began >= SECONDS):
            return


def _round(network: nn.Module, material: Material, device: torch.device) -> tuple[float, float]:
    """The seconds of a step in float32 and in bfloat16."""
    half = _seconds(network, material, device, bfloat16=True)
    return _seconds(network, material, device, bfloat16=False), half


def _seconds(network: nn.Module, material: Material, device: torch.device, bfloat16: bool) -> float:
    began = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        loss = material.loss(network, 0, 0, 0.0)
    loss.backward()
    float(loss.detach())  # waits for the device
    seconds = time.perf_counter() - began
    network.zero_grad()
    return seconds
