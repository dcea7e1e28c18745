"""The folder in which TensorBoard finds the curves of a run, and whose curves it has."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path

from digitcli.atomic_write import faults_of, write_whole
from digitcli.errors import OutputError
from digitcli.inference.checkpoint import CONFIG_FILE

EVENT_FILES = "events.out.tfevents.*"
PROJECTOR_FILE = "projector_config.pbtxt"
# The folder and the tag of the features: the writer makes the folder of the step 0 and the tag.
PROJECTOR_FOLDER, PROJECTOR_TAG = "00000", "validation digits"
# It names the run whose curves the folder has. TensorBoard does not read it.
OWNER_FILE = "run.json"


def folder_of_run(logs: Path, run: Path) -> Path:
    """Return the folder for a run: TensorBoard lays the runs of `logs` over each other, by these names."""
    return logs / run.resolve().name


def check_new(folder: Path, run: Path, force: bool | None = None) -> None:
    """Check that a new run can write to a folder: it is free or, with `force`, has curves of the same folder.

    force: None for a command that has no such option.

    Raises:
        OutputError: the folder has curves already, or cannot be read.
    """
    if not has_events(folder):
        return
    is_replaceable = force is not None and _owner(folder).get("run") == str(run.resolve())
    if not (is_replaceable and force):
        last = "replace the curves with --force" if is_replaceable else f"remove {folder}"
        raise OutputError(
            f"{folder} contains curves that those of a new run would be mixed with.",
            f"Name another folder with --tensorboard, or {last}.",
        )


def check_continued(folder: Path, run: Path) -> None:
    """Check that a folder has no curves of another run than that in the folder `run`.

    A run is known by its settings and its folder. A run that was moved is known by its settings alone, if
    nothing with these settings lies where it was.

    Raises:
        OutputError: the folder has curves of another or an unknown run, or cannot be read.
    """
    if not has_events(folder):
        return
    owner, ours = _owner(folder), _describe(run)
    is_moved = owner.get("settings") == ours["settings"] != _settings_of(Path(owner.get("run", "")))
    if owner != ours and not is_moved:
        other = f"the run in {owner['run']}" if "run" in owner else "an unknown run"
        cause = f"{folder} contains curves of {other}"
        cause += ", which was replaced." if owner.get("run") == ours["run"] else f", not of {ours['run']}."
        raise OutputError(cause, "Name another folder with --tensorboard, or remove this one.")


def write_owner(folder: Path, run: Path) -> None:
    """Create a folder, and write which run its curves belong to.

    Raises:
        OutputError: the folder cannot be written.
    """
    with faults_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / OWNER_FILE, (json.dumps(_describe(run), indent=2) + "\n").encode())


def has_events(folder: Path) -> bool:
    """Return whether a folder has curves.

    Raises:
        OutputError: the folder cannot be read.
    """
    with faults_of(folder):
        return any(folder.glob(EVENT_FILES))


def remove_events(folder: Path) -> None:
    """Delete everything that was written for TensorBoard, and the folder if nothing else is in it.

    Raises:
        OutputError: a file cannot be deleted.
    """
    with faults_of(folder):
        for file in (*folder.glob(EVENT_FILES), folder / PROJECTOR_FILE, folder / OWNER_FILE):
            file.unlink(missing_ok=True)
        shutil.rmtree(folder / PROJECTOR_FOLDER / PROJECTOR_TAG, ignore_errors=True)
    for path in (folder / PROJECTOR_FOLDER, folder):
        with contextlib.suppress(OSError):
            path.rmdir()


def _owner(folder: Path) -> dict[str, str]:
    """Return what `write_owner` wrote; an empty record if it is missing or damaged."""
    try:
        owner = json.loads((folder / OWNER_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in owner.items()} if isinstance(owner, dict) else {}


def _describe(run: Path) -> dict[str, str]:
    """Return what a run is known by."""
    return {"run": str(run.resolve()), "settings": _settings_of(run)}


def _settings_of(run: Path) -> str:
    """Return the SHA-256 of the settings with which a run began; an empty text if they are not there."""
    try:
        return hashlib.sha256((run / CONFIG_FILE).read_bytes()).hexdigest()
    except OSError:
        return ""
