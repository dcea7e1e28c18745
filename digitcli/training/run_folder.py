"""The folder of a run: made, locked, saved to and read back."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from digitcli.checkpoint import MODEL_FILE, RESUME_FILE, Header, read_checkpoint, write_checkpoint
from digitcli.config import TrainConfig
from digitcli.errors import ModelError, OutputError, UsageError
from digitcli.training.curves import draw_curves
from digitcli.training.events import EpochDone
from digitcli.training.state import TrainingState
from digitcli.writing import write_whole

RUNS = Path("runs")
LOCK_FILE, CONFIG_FILE, METRICS_FILE, CURVES_FILE = ".lock", "config.json", "metrics.csv", "curves.svg"
RUN_FILES = (CONFIG_FILE, METRICS_FILE, CURVES_FILE, RESUME_FILE, MODEL_FILE)


@contextlib.contextmanager
def new_run(arch: str, out: Path | None, name: str | None, force: bool) -> Iterator[Path]:
    """Make the folder of a new run and hold its lock.

    `out` is the folder itself; else it is `runs/<name>`, or `runs/<arch>-<n>` with the next free number.

    Raises:
        OutputError: the folder holds a run already, is in use, or cannot be written.
    """
    chosen = out or (RUNS / name if name else None)
    with locked(chosen or _free_folder(arch)) as folder:
        if not force and any((folder / file).exists() for file in (RESUME_FILE, MODEL_FILE)):
            raise OutputError(
                f"{folder} holds a run already.",
                "Name another folder with --out, go on with --resume, or replace the run with --force.",
            )
        yield folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Hold the lock of a run's folder; one that was new or empty goes again if nothing was saved there.

    Raises:
        OutputError: the folder is in use or cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        was_empty = not any(folder.iterdir())
        lock = FileLock(folder / LOCK_FILE, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"{folder} is in use by another run.", "Wait for it, or name another folder."
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield folder
    finally:
        if was_empty and not (folder / RESUME_FILE).exists():
            for file in (CONFIG_FILE, LOCK_FILE):
                (folder / file).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for path in made or [folder, RUNS][: 1 + (folder.parent == RUNS)]:
                    path.rmdir()
        lock.release()


def _free_folder(arch: str) -> Path:
    """Make `runs/<arch>-<n>` with the next free number, which no other run can be given."""
    label = arch.replace("/", "-")
    numbers = [
        int(match[1])
        for path in RUNS.glob(f"{label}-*")
        if (match := re.fullmatch(re.escape(label) + r"-(\d+)", path.name))
    ]
    number = max(numbers, default=0) + 1
    while True:
        folder = RUNS / f"{label}-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run was faster
            number += 1
        except OSError as error:
            raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> OutputError:
    cause = f"The run folder {folder} cannot be written: {error.strerror or error}."
    return OutputError(cause, "Name another folder with --out.")


def read_config(folder: Path, saved: tuple[Header, dict[str, Tensor]] | None) -> TrainConfig | None:
    """What was chosen for a run, from its saved state or its `config.json`; None where neither is there.

    Raises:
        ModelError: what is stored is damaged.
    """
    path = folder / CONFIG_FILE
    if saved is None and not path.exists():
        return None
    try:
        stored = saved[0].training["config"] if saved else json.loads(path.read_text())["config"]
        return TrainConfig(**stored)
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise ModelError(
            f"The choices stored in {folder} are damaged: {error}.", "Start a new run."
        ) from error


def read_state(folder: Path) -> tuple[Header, dict[str, Tensor]] | None:
    """The saved state of a run, or None where none was saved.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / RESUME_FILE
    return read_checkpoint(path) if path.exists() else None


def begin(folder: Path, config: dict[str, Any]) -> None:
    """Store what was chosen, before the first step, in place of a run that was there."""
    write_whole(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    for file in RUN_FILES[1:]:
        (folder / file).unlink(missing_ok=True)


def save(folder: Path, header: Header, state: TrainingState) -> None:
    """Write the state and, after an epoch, what follows from it: the model, the metrics and their curves.

    Raises:
        OutputError: the disk is full or the folder cannot be written; what was saved before is as it was.
    """
    training = {**header.training, **state.counters()}
    write_checkpoint(folder / RESUME_FILE, dataclasses.replace(header, training=training), state.tensors())
    if state.history and state.step == 0:  # in the middle of an epoch, weights and figures would not match
        write_model(folder, header, state)
        write_whole(folder / METRICS_FILE, _csv(state.history).encode())
        write_whole(folder / CURVES_FILE, draw_curves(header.architecture, state.history).encode())


def write_model(folder: Path, header: Header, state: TrainingState) -> None:
    """Write the checkpoint that people use."""
    write_checkpoint(folder / MODEL_FILE, dataclasses.replace(header, training={}), state.chosen_tensors())


def _csv(rows: list[EpochDone]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [entry.name for entry in dataclasses.fields(EpochDone)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()
