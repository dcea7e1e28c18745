"""Write the folder of an adaptation: its networks and what was found out, completely or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from digitcli.adaptation.results import Adaptation
from digitcli.adaptation.self_training_results import SelfTraining
from digitcli.atomic_write import faults_of, write_whole, writing_folder
from digitcli.errors import OutputError
from digitcli.inference.checkpoint import ADAPTATION_FILE, library_versions, write_checkpoint
from digitcli.recognition.readings import DEFAULT_MODELS

# The files that an adaptation writes, each network under the name of the default model that it replaces.
REPLACEABLE = {ADAPTATION_FILE, *(f"{name}.safetensors" for name in DEFAULT_MODELS)}


def check_output(folder: Path, force: bool) -> None:
    """Check, before the work begins, that an adaptation can be written to a folder.

    `force` replaces an earlier adaptation, and nothing else: a folder with other files is kept.

    Raises:
        OutputError: the path exists and may not be replaced, or the folder around it cannot be written.
    """
    try:
        _check_replaceable(folder)
        if folder.is_dir() and any(folder.iterdir()) and not force:
            remedy = "Name another folder, or replace it with --force."
            raise OutputError(f"{folder} exists already.", remedy)
        with tempfile.TemporaryDirectory(dir=_real(folder).parent):
            pass
    except (OSError, ValueError) as error:
        cause = f"{folder} cannot be written: {getattr(error, 'strerror', None) or error}."
        raise OutputError(cause, "Name a folder in one that exists and can be written.") from error


def save_adaptation(adaptation: Adaptation | SelfTraining, folder: Path) -> None:
    """Write the networks of an adaptation and `adaptation.json` to a folder.

    They replace an earlier adaptation, and nothing else.

    Raises:
        ValueError: the adaptation has no networks.
        OutputError: the folder holds other files or cannot be written, or the disk is full; what is in it
            stays.
    """
    if not adaptation.models:
        raise ValueError("the adaptation has no networks")
    with faults_of(folder), writing_folder(_real(folder)) as written:
        for model in adaptation.models:
            write_checkpoint(written / f"{model.name}.safetensors", model.header, model.tensors)
        record = {
            "models": [f"{model.name}.safetensors" for model in adaptation.models],
            **adaptation.record(),
            "versions": library_versions(),
        }
        write_whole(written / ADAPTATION_FILE, (json.dumps(record, indent=1) + "\n").encode())
        _check_replaceable(folder)  # files may have been added while the network was trained


def _check_replaceable(folder: Path) -> None:
    """Check that a path is free, or a folder with nothing in it but an earlier adaptation.

    Raises:
        OutputError: it is not.
        OSError: the folder cannot be read.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder.", "Name a folder.")
    present = {path.name for path in folder.iterdir()}
    others = sorted(present - REPLACEABLE)
    if others or (present and ADAPTATION_FILE not in present):
        cause = (
            f"{folder} holds other files than those of an adaptation, for example {min(others or present)}."
        )
        raise OutputError(cause, "Name another folder.")


def _real(folder: Path) -> Path:
    """Return the folder behind links, which is replaced in place of the link."""
    return Path(os.path.realpath(folder))
