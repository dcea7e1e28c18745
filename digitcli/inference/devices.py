"""Choose the device that computes: the named one, or the fastest of this machine."""

from __future__ import annotations

import copy
import ctypes
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.errors import EnvironmentFault, UsageError, counted
from digitcli.gap_format import COLUMNS

if TYPE_CHECKING:
    import torch
    from torch import nn

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")
OUT_OF_MEMORY_MESSAGE = "out of memory|not enough memory|allocate memory|ALLOC_FAILED|bad_alloc"
TOLERANCE = 1e-3  # of the largest logit; rounding differs between devices by about 1e-5


def rank_and_size() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that `torchrun` started. Loads no torch."""
    rank, size, address = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))
    if not (address and rank.isdecimal() and size.isdecimal()):
        return 0, 1
    return int(rank), int(size)


def check_device_name(name: str) -> None:
    """Refuse a name that cannot be a device. Loads no torch.

    Raises:
        UsageError: the name is not auto, cpu, cuda, cuda:N or mps.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"There is no device named '{name}'.", "Give auto, cpu, cuda, cuda:N or mps.")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of a device does not suffice. Loads no torch.

    PyTorch has no class of its own for a lack of CPU memory, so the message decides.
    """
    return isinstance(error, MemoryError) or bool(re.search(OUT_OF_MEMORY_MESSAGE, str(error)))


def may_have_accelerator() -> bool:
    """Return whether this machine has a driver of a GPU, so that loading torch to find it is worthwhile.

    Loads no torch.
    """
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()  # the driver of AMD GPUs
    return True


def available_devices() -> list[str]:
    """Return the devices of this machine, the fastest first and the CPU last."""
    import torch

    gpu_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [f"cuda:{index}" for index in range(gpu_count)]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `auto` prefers CUDA to MPS and MPS to the CPU.

    Raises:
        UsageError: there is no such kind of device.
        EnvironmentFault: this machine does not have the device.
    """
    import torch

    check_device_name(name)
    devices = available_devices()
    chosen = {"auto": devices[0], "cuda": "cuda:0"}.get(name, name)
    if chosen not in devices:
        raise EnvironmentFault(f"This machine has no device '{name}'.", f"It has: {', '.join(devices)}.")
    return torch.device(chosen)


def describe_device(device: torch.device) -> str:
    """Return the device with the name of the product, e.g. `cuda:0 (NVIDIA H100)`."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({counted(threads, 'thread')})"
    return str(device)


def agrees_with_cpu(network: nn.Module, device: torch.device, task: str = "digit") -> bool:
    """Return whether a device computes the CPU's logits for eight embedded digits.

    MPS has computed convolutions wrongly without an error, so each network is checked before it is used.
    """
    import torch

    from digitcli.data.mnist import load_mnist_test

    images = torch.from_numpy(load_mnist_test().images[:8]).unsqueeze(1) / 255  # 8, 1, 28, 28
    if task == "line":
        images = torch.nn.functional.pad(images, (0, 0, 6, 6))  # 8, 1, 40, 28
    if task == "page":
        images = torch.nn.functional.pad(images, (2, 2, 2, 2)).expand(-1, 4, -1, -1)  # 8, 4, 32, 32
    if task == "gaps":
        images = images.flatten()[: 2 * COLUMNS].view(1, 1, 2, COLUMNS)
    images = images.expand(-1, getattr(network, "channels", images.shape[1]), -1, -1)
    with torch.inference_mode():
        cpu_logits = copy.deepcopy(network).eval().cpu()(images)
        try:
            logits = copy.deepcopy(network).eval().to(device)(images.to(device)).cpu()
        except RuntimeError:  # or NotImplementedError, a subclass: the device lacks an operation
            return False
    difference = (cpu_logits - logits).abs().max()
    return bool(difference <= TOLERANCE * cpu_logits.abs().max().clamp(min=1))
