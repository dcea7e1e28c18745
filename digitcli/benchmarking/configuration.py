"""The settings of a benchmark, and the models that they name. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from digitcli.architectures.registry import architectures, find_architecture, is_architecture
from digitcli.errors import ModelError, UsageError, did_you_mean
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models
from digitcli.threads import MAX_THREADS

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Runtime = Literal["torch", "torch.compile", "onnxruntime", "tflite"]

MAX_BATCH_SIZE = 1_000_000  # images; a larger number is more likely a typing error than a wish


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """The settings of a benchmark.

    archs: architectures (with shipped weights, or else new ones), checkpoint files and run folders; `all` is
        every architecture of single digits, and an empty tuple every shipped model of single digits.
    device: the device that computes.
    batch_sizes: the numbers of images in a call.
    dtypes, runtimes: each model is measured with every combination that can run it; `auto` is float32.
    threads: the threads of the CPU; None leaves the number to PyTorch.
    train: whether the speed of training each architecture by its recipe is measured, too.
    cold_start: whether `digitcli predict` is measured, too, each time in a new process.

    Raises:
        UsageError: a value is out of range or of another type.
    """

    archs: tuple[str, ...] = ()
    device: str = "auto"
    batch_sizes: tuple[int, ...] = (1, 256)
    dtypes: tuple[str, ...] = ("auto",)
    runtimes: tuple[str, ...] = ("torch",)
    threads: int | None = None
    train: bool = False
    cold_start: bool = False

    def __post_init__(self) -> None:
        several = {"--arch": self.archs, "--batch-size": self.batch_sizes}
        several |= {"--dtype": self.dtypes, "--runtime": self.runtimes}
        for option, values in several.items():
            if not isinstance(values, tuple | list) or (option != "--arch" and not values):
                raise UsageError(f"{option} is {values!r}.", "Give a tuple with at least one value.")
        check_device_name(str(self.device))
        for size in self.batch_sizes:
            _check_whole("--batch-size", size, MAX_BATCH_SIZE)
        _check_names("--dtype", self.dtypes, get_args(Dtype))
        _check_names("--runtime", self.runtimes, get_args(Runtime))
        if self.threads is not None:
            _check_whole("--threads", self.threads, MAX_THREADS)
            if self.cold_start:
                cause = "--threads does not apply to --cold-start, which takes every core."
                raise UsageError(cause, "Leave one of them out.")
        if self.train and self.combinations != (("torch", "float32"),):
            cause = "--train measures training as digitcli trains: with torch, in the dtype of the recipe."
            raise UsageError(cause, "Leave --train out, or --dtype and --runtime.")

    @property
    def combinations(self) -> tuple[tuple[str, str], ...]:
        """Every runtime with every dtype, `auto` resolved, without repetitions."""
        dtypes = ["float32" if dtype == "auto" else dtype for dtype in self.dtypes]
        return tuple(dict.fromkeys((runtime, dtype) for runtime in self.runtimes for dtype in dtypes))


def _check_names(option: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise UsageError(f"{option} is '{name}'.", did_you_mean(str(name), known))


def _check_whole(option: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise UsageError(f"{option} is {value!r:.40}.", f"Give a whole number from 1 to {most:,}.")


@dataclass(frozen=True)
class Candidate:
    """A model that is measured under the name that was given; `model` is None for new weights."""

    name: str
    model: ResolvedModel | None


def find_candidates(archs: tuple[str, ...]) -> tuple[Candidate, ...]:
    """Return the models that `BenchmarkConfig.archs` stands for, each once.

    Raises:
        UsageError: there is no model of a name, or an architecture reads lines.
        ModelError: a file is damaged or no checkpoint, or its model reads lines.
    """
    every = [row.name for row in architectures().values() if row.task == "digit"]
    if not archs:
        shipped = [resolve_model(name) for name in shipped_models()]
        if not shipped:
            raise ModelError("No model is shipped with this installation.", "Name architectures with --arch.")
        return tuple(Candidate(model.name, model) for model in shipped if model.header.task == "digit")
    names = [name for arch in archs for name in (every if arch == "all" else [arch])]
    return tuple(_find_candidate(str(name)) for name in dict.fromkeys(names))


def _find_candidate(name: str) -> Candidate:
    remedy, shipped = "Name a model of the task digit, see: digitcli models", shipped_models()
    if is_architecture(name) and name not in shipped:
        if find_architecture(name).task != "digit":
            raise UsageError(f"Architecture '{name}' reads lines, not single digits.", remedy)
        return Candidate(name, None)
    is_path = os.path.lexists(name) or Path(name).name != name or Path(name).suffix == ".safetensors"
    if name not in shipped and not (name and is_path):
        known = {**architectures(), **shipped, "all": None}
        raise UsageError(f"There is no architecture or model named '{name}'.", did_you_mean(name, known))
    model = resolve_model(name)
    if model.header.task != "digit":
        raise ModelError(f"{name} reads lines, not single digits.", remedy)
    return Candidate(name, model)
