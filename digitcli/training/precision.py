"""Which numbers a network computes in while it is trained: `dtype` "auto" is decided by measurement."""

from __future__ import annotations

import copy
import time
from typing import Literal

import torch
from torch import nn

from digitcli.training.material import Material

WORTH_IT = 1.1  # times as fast as float32; nearer to 1 two runs with the same seed might choose differently
FEWEST, MOST, SECONDS = 3, 5, 1.0  # rounds of measuring: beside other work a single one says little


def choose_dtype(
    network: nn.Module, material: Material, device: torch.device
) -> tuple[Literal["float32", "bfloat16"], float]:
    """The dtype, and how many times as fast as float32 bfloat16 goes forward and back through a batch.

    The network and its statistics stay as they are; where bfloat16 cannot be computed the number is 0.
    """
    network = copy.deepcopy(network).train()
    try:
        _seconds(network, material, device, bfloat16=True)  # the first time is slow
    except RuntimeError:  # NotImplementedError too; if it was for memory, float32 will say so
        return "float32", 0.0
    _seconds(network, material, device, bfloat16=False)
    single: list[float] = []
    half: list[float] = []
    began = time.perf_counter()
    while len(half) < FEWEST or (len(half) < MOST and time.perf_counter() - began < SECONDS):
        single.append(_seconds(network, material, device, bfloat16=False))
        half.append(_seconds(network, material, device, bfloat16=True))
    ratio = min(single) / min(half)
    return "bfloat16" if ratio >= WORTH_IT else "float32", ratio


def _seconds(network: nn.Module, material: Material, device: torch.device, bfloat16: bool) -> float:
    began = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        loss = material.loss(network, 0, 0, 0.0)
    loss.backward()
    float(loss.detach())  # waits for the device
    seconds = time.perf_counter() - began
    network.zero_grad()
    return seconds
