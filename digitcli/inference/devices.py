"""Which device computes: the one asked for, or the best there is."""

from __future__ import annotations

import copy
import ctypes
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")
OUT_OF_MEMORY = "out of memory|not enough memory|allocate memory|ALLOC_FAILED|bad_alloc"
TOLERANCE = 1e-3  # of the largest logit; rounding differs between devices by 1e-5 or so


def rank_and_size() -> tuple[int, int]:
    """Which of how many processes this is, where `torchrun` has started several; needs no torch."""
    told = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")]
    if not all(told) or not (told[0].isdecimal() and told[1].isdecimal()):
        return 0, 1
    return int(told[0]), int(told[1])


def check_device_name(name: str) -> None:
    """Refuse what cannot name a device, without torch.

    Raises:
        UsageError: not auto, cpu, cuda, cuda:N or mps.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"There is no device named '{name}'.", "Take auto, cpu, cuda, cuda:N or mps.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device; PyTorch has no class for the CPU's. Needs no torch."""
    return isinstance(error, MemoryError) or bool(re.search(OUT_OF_MEMORY, str(error)))


def usable_cores() -> int:
    """The cores this process may use; a container or `taskset` may leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def may_have_accelerator() -> bool:
    """Whether PyTorch is worth asking for other devices than the CPU: a GPU has a driver. Needs no torch."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()  # AMD's
    return True


def available_devices() -> list[str]:
    """The devices of this machine, the fastest first; the CPU is always the last."""
    import torch

    found = (
        [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: not the name of a device.
        EnvironmentFault: this machine does not have it.
    """
    import torch

    check_device_name(name)
    found = available_devices()
    wanted = {"auto": found[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in found:
        raise EnvironmentFault(f"This machine has no device '{name}'.", f"It has: {', '.join(found)}.")
    return torch.device(wanted)


def describe_device(device: torch.device) -> str:
    """The device with its maker's name, e.g. `cuda:0 (NVIDIA H100)`."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} thread{'' if threads == 1 else 's'})"
    return str(device)


def agrees_with_cpu(network: nn.Module, device: torch.device, task: str = "digit") -> bool:
    """Whether a network of that task runs there and gives the CPU's logits, for eight embedded digits.

    MPS has computed convolutions wrongly without an error, so it is asked before it is trusted.
    """
    import torch

    from digitcli.data.mnist import load_mnist_test

    images = torch.from_numpy(load_mnist_test().images[:8]).unsqueeze(1) / 255  # 8, 1, 28, 28
    if task == "line":
        images = torch.nn.functional.pad(images, (0, 0, 6, 6))  # 8, 1, 40, 28
    with torch.inference_mode():
        here = copy.deepcopy(network).eval().cpu()(images)
        try:
            there = copy.deepcopy(network).eval().to(device)(images.to(device)).cpu()
        except RuntimeError:  # NotImplementedError too: the device lacks an operation
            return False
    return bool((here - there).abs().max() <= TOLERANCE * here.abs().max().clamp(min=1))
