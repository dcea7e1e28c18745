"""Examine the installation: versions, device, threads, shipped weights, plug-ins, folders."""

from __future__ import annotations

import importlib
import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from digitcli.architectures.registry import ARCHITECTURES, architectures
from digitcli.diagnosis.findings import Diagnosis, Finding
from digitcli.errors import DigitcliError, counted
from digitcli.inference.checkpoint import read_arrays
from digitcli.inference.devices import choose_device, describe_device
from digitcli.inference.model_resolution import shipped_models
from digitcli.inference.runtime import read_quantized_graph
from digitcli.threads import is_busy, running_elsewhere, usable_cores

# The modules of dependencies whose name differs from that of the package.
MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-image": "skimage"}
# The device file of the first graphics card by NVIDIA on Linux.
NVIDIA_DEVICE = Path("/dev/nvidia0")
REINSTALL = "Install digitcli again."
REINSTALL_COMMAND = "pip install --force-reinstall ."


def examine_installation() -> Diagnosis:
    """Return facts about the installation, which a report of a problem should tell, and what is wrong."""
    try:
        device = describe_device(choose_device())
    except (ImportError, DigitcliError):
        device = "none"
    models = {name: path for name, path in shipped_models().items() if path.exists()}
    weights = ", ".join(f"{name} ({path.stat().st_size:,} bytes)" for name, path in models.items())
    facts = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": str(usable_cores()),
        "device": device,
        **{name: os.environ.get(name, "not set") for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")},
        **{name: _version(name) or "missing" for name in ("digitcli", *packages_needed())},
        "shipped models": weights or "none",
    }
    rules = (package_faults, damaged_weights, broken_plugins, device_faults, too_many_threads, busy_machine)
    return Diagnosis("installation", facts, tuple(finding for rule in rules for finding in rule()))


def packages_needed() -> list[str]:
    """Return the packages that digitcli depends on; those of extras are left out."""
    try:
        requirements = metadata.requires("digitcli") or []
    except metadata.PackageNotFoundError:  # a copy of the repository that is not installed
        return []
    needed = [each for each in requirements if "extra ==" not in each]
    return [re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in needed]


def package_faults() -> Iterator[Finding]:
    """Yield packages that are not installed or cannot be imported."""
    for name in packages_needed():
        if _version(name) is None:
            cause = f"{name} is not installed."
            yield Finding("missing_package", "error", cause, "Install it.", f"pip install {name}")
            continue
        try:
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
        except Exception as error:  # a damaged package may raise anything
            cause = f"{name} cannot be imported: {error}"
            command = f"pip install --force-reinstall {name}"
            yield Finding("broken_package", "error", cause, "Install it again.", command)


def damaged_weights() -> Iterator[Finding]:
    """Yield shipped models whose file differs from its digest or cannot be read, or that there are none."""
    models = shipped_models()
    if not models:
        cause = "There are no shipped models."
        yield Finding("missing_weights", "error", cause, REINSTALL, REINSTALL_COMMAND)
    for path in models.values():
        try:
            _, tensors = read_arrays(path)
            read_quantized_graph(path, tensors)
        except DigitcliError as error:
            yield Finding("damaged_weights", "error", error.cause, REINSTALL, REINSTALL_COMMAND)


def broken_plugins() -> Iterator[Finding]:
    """Yield architectures of installed packages that cannot be imported, or that clash with another."""
    try:
        table = architectures()
    except DigitcliError as error:
        yield Finding("clashing_plugin", "error", error.cause, error.remedy)
        return
    for architecture in table.values():
        if architecture in ARCHITECTURES:
            continue
        try:
            architecture.load()
        except DigitcliError as error:
            package = architecture.family
            remedy, command = f"Update or remove {package}.", f"pip uninstall {package}"
            yield Finding("broken_plugin", "error", error.cause, remedy, command)


def device_faults() -> Iterator[Finding]:
    """Yield an accelerator that cannot be used, computes wrongly or lies idle."""
    try:
        chosen = choose_device()
    except ImportError:
        return  # torch itself is missing, which another rule tells
    except DigitcliError as error:
        remedy = error.remedy or "Compute on the CPU: --device cpu."
        yield Finding("device_fault", "error", error.cause, remedy)
        return
    if chosen.type == "cpu" and NVIDIA_DEVICE.exists():
        evidence = f"There is a graphics card by NVIDIA, and torch {_version('torch')} does not use it."
        remedy = "Install a build of torch with CUDA, and a driver that is as new."
        yield Finding("unused_gpu", "warning", evidence, remedy)


def too_many_threads() -> Iterator[Finding]:
    """Yield a setting that starts more threads than there are cores, which makes all of them slower."""
    wanted, cores = os.environ.get("OMP_NUM_THREADS", ""), usable_cores()
    if wanted.isdecimal() and int(wanted) > cores:
        yield Finding(
            "too_many_threads",
            "warning",
            f"OMP_NUM_THREADS is {wanted}, and this process may use {counted(cores, 'core')}.",
            "Set it to the number of cores at most.",
            f"export OMP_NUM_THREADS={cores}",
        )


def busy_machine() -> Iterator[Finding]:
    """Yield that other programs use the cores, so that everything takes longer, training above all."""
    if is_busy():
        cores = counted(os.cpu_count() or 1, "core")
        evidence = f"Other programs run {counted(running_elsewhere(), 'thread')} on {cores}."
        if hasattr(os, "getloadavg"):
            evidence += f" The load was {os.getloadavg()[0]:.1f} in the last minute."
        yield Finding(
            "busy_machine",
            "warning",
            evidence,
            "End them, or train with one thread if it is no slower. What you measure now is too slow.",
            "digitcli train --arch cnn --threads 1",
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
