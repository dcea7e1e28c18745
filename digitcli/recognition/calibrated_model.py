"""Write a model that carries the guarantee of a calibration; `thresholds.py` uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from digitcli.atomic_write import check_writable
from digitcli.errors import OutputError, UsageError
from digitcli.inference.checkpoint import Guarantee, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, shipped_models
from digitcli.recognition.calibrate import Calibration
from digitcli.recognition.models import reads_strips
from digitcli.recognition.thresholds import companions_of

SUFFIX = ".safetensors"


def check_target(path: Path, force: bool) -> None:
    """Check, before the work begins, that a calibrated model can be written to a file.

    Raises:
        UsageError: the name has another suffix than that of a checkpoint.
        OutputError: it is a shipped model, or it cannot be written, see `check_writable`.
    """
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"--output is '{path}'.", f"Name a file that ends in {SUFFIX}.")
    if path.is_file() and any(path.samefile(shipped) for shipped in shipped_models().values()):
        raise OutputError(f"{path} is a shipped model, which is never changed.", "Name another file.")
    check_writable(path, force)


def carrier_of(models: Sequence[ResolvedModel]) -> ResolvedModel:
    """Return the model of a reader that carries its guarantee: one of lines, else one of strips or digits."""
    line_models = [model for model in models if model.header.task == "line"]
    return min(line_models or models, key=reads_strips)


def save_calibrated(calibration: Calibration, path: Path) -> None:
    """Write a copy of the model that carries the guarantee, with the guarantee in its header.

    Raises:
        ValueError: no threshold is proven.
        ModelError: the model was replaced meanwhile.
        OutputError: the file cannot be written.
    """
    control = calibration.control
    if control.proven is None:
        raise ValueError("no threshold is proven")
    model = carrier_of(calibration.models)
    header, tensors = read_checkpoint(model.path, model.sha256)
    guarantee = Guarantee(
        max_error=control.max_error,
        confidence=control.confidence,
        **dataclasses.asdict(control.proven),
        copy_of=header.guarantee.copy_of if header.guarantee else model.sha256,
        companions=companions_of(model, calibration.models),
    )
    write_checkpoint(path, dataclasses.replace(header, guarantee=guarantee), tensors)
