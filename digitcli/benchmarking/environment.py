"""Describe the machine and the versions for which a measurement holds."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.inference.checkpoint import library_versions
from digitcli.inference.devices import describe_device
from digitcli.threads import usable_cores

if TYPE_CHECKING:
    import torch

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Environment:
    """The versions and the machine of a measurement; `cores` are the cores that this process may use.

    onnxruntime, litert: the versions of further runtimes; None where the package is not installed, or where
        an earlier version of digitcli did not store them.
    """

    digitcli: str
    torch: str
    numpy: str
    python: str
    platform: str
    cpu: str
    cores: int
    threads: int
    device: str
    onnxruntime: str | None = None
    litert: str | None = None


def describe_environment(device: torch.device) -> Environment:
    """Return the environment of a measurement on this device."""
    import torch

    return Environment(
        **library_versions(),
        platform=platform.platform(),
        cpu=cpu_name(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        device=describe_device(device),
        onnxruntime=_version("onnxruntime"),
        litert=_version("ai-edge-litert"),
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """Return the name of the processor, or its kind where the system does not tell the name."""
    try:
        if platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for line in CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, subprocess.SubprocessError):
        pass  # the system has no such file or command
    return platform.processor() or platform.machine()
