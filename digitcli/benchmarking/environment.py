"""The machine and the versions that a measurement holds for."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.inference.devices import describe_device, usable_cores

if TYPE_CHECKING:
    import torch

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Environment:
    """Where something was measured; `cores` are those this process may use, `device` is in words."""

    digitcli: str
    torch: str
    numpy: str
    python: str
    platform: str
    cpu: str
    cores: int
    threads: int
    device: str


def describe_environment(device: torch.device) -> Environment:
    """This machine as it is now, with the device that computes."""
    import torch

    from digitcli.training.run_folder import library_versions

    return Environment(
        **library_versions(),
        platform=platform.platform(),
        cpu=cpu_name(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        device=describe_device(device),
    )


def cpu_name() -> str:
    """The processor as its maker calls it, or at least its kind."""
    try:
        if platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for line in CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, subprocess.SubprocessError):
        pass  # another system, or one that hides it
    return platform.processor() or platform.machine()
