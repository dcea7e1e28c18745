"""The folder of a run: made, locked, saved to and read back."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from digitcli.atomic_write import write_whole
from digitcli.errors import ModelError, OutputError, UsageError
from digitcli.inference.checkpoint import (
    MODEL_FILE,
    RESUME_FILE,
    Header,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from digitcli.training.configuration import TrainConfig
from digitcli.training.curves import draw_curves
from digitcli.training.events import EpochDone
from digitcli.training.state import model_tensors

RUNS = Path("runs")
LOCK_FILE, CONFIG_FILE, METRICS_FILE, CURVES_FILE = ".lock", "config.json", "metrics.csv", "curves.svg"
RUN_FILES = (CONFIG_FILE, METRICS_FILE, CURVES_FILE, RESUME_FILE, MODEL_FILE)
Saved = tuple[Header, dict[str, Tensor]]


@contextlib.contextmanager
def new_run(arch: str, out: Path | None, name: str | None, force: bool) -> Iterator[Path]:
    """Make the folder of a new run and hold its lock; if nothing is saved there, undo that.

    `out` is the folder itself; else it is `runs/<name>`, or `runs/<arch>-<n>` with the next free number.

    Raises:
        OutputError: the folder holds a run or files of that name already, is in use, or cannot be written.
    """
    chosen = out or (RUNS / name if name else None)
    with _undone_if_nothing_is_saved() as made:
        folder = _make(chosen, made) if chosen else _make_numbered(arch.replace("/", "-"), made)
        with locked(folder):
            if not force and (held := _files_at_stake(folder)):
                raise OutputError(
                    f"{folder} holds a run already, or files that a run would replace: {', '.join(held)}.",
                    "Name another folder with --out, go on with --resume, or replace them with --force.",
                )
            yield folder


@contextlib.contextmanager
def existing_run(folder: Path) -> Iterator[Path]:
    """Hold the lock of a run's folder, which is made if it is not there.

    Raises:
        OutputError: the folder is in use or cannot be written.
    """
    with _undone_if_nothing_is_saved() as made, locked(_make(folder, made)):
        yield folder


@contextlib.contextmanager
def _undone_if_nothing_is_saved() -> Iterator[list[Path]]:
    """Gives a list of the folders that are about to be made, the innermost first.

    At the end they go again if no run was saved in them. They are named before they are made, so that a
    signal in between leaves none behind.
    """
    made: list[Path] = []
    try:
        yield made
    finally:
        _unmake(made)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, and clear away what a killed run has left half-written.

    Raises:
        OutputError: the folder is in use or cannot be written.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
        for part in itertools.chain.from_iterable(folder.glob(f".{name}.*.part") for name in RUN_FILES):
            part.unlink()
    except Timeout as error:
        cause = f"{folder} is in use by another run."
        raise OutputError(cause, "Wait for it, or name another folder.") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def read_config(folder: Path, saved: Saved | None) -> TrainConfig | None:
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
    except (OSError, ValueError, KeyError, TypeError, UsageError, RecursionError) as error:
        raise ModelError(
            f"The choices stored in {folder} are damaged: {error}.", "Start a new run."
        ) from error


def read_state(folder: Path) -> Saved | None:
    """The saved state of a run, or None where none was saved.

    Raises:
        ModelError: the file is damaged.
        OutputError: there is a model without the state it came from, which a new run would replace.
    """
    path = folder / RESUME_FILE
    if path.exists():
        return read_checkpoint(path)
    if (folder / MODEL_FILE).exists():
        raise OutputError(
            f"{folder} holds a model but no {RESUME_FILE} to go on from.",
            "Name another folder, or replace the model with --out and --force.",
        )
    return None


def begin(folder: Path, description: Mapping[str, Any]) -> None:
    """Store what was chosen, before the first step, in place of a run that was there.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_whole(folder / CONFIG_FILE, (json.dumps(description, indent=2) + "\n").encode())
    try:
        for file in RUN_FILES[1:]:
            (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def save(folder: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write the state and, after an epoch, what follows from it.

    Raises:
        OutputError: the disk is full or the folder cannot be written; what was saved before is as it was.
    """
    write_checkpoint(folder / RESUME_FILE, header, tensors)
    if header.training["step"] == 0:  # in the middle of an epoch, weights and figures would not match
        derive(folder, header, tensors)


def derive(folder: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write what follows from a saved state: the model, the metrics and their curves.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    history = [EpochDone(**row) for row in header.training["history"]]
    write_checkpoint(folder / MODEL_FILE, dataclasses.replace(header, training={}), model_tensors(tensors))
    write_whole(folder / METRICS_FILE, _csv(history).encode())
    write_whole(folder / CURVES_FILE, draw_curves(header.architecture, history).encode())


def mend(folder: Path, saved: Saved) -> None:
    """Derive anew what a finished run lacks, should it have been killed between its last two writes.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        model = read_header(folder / MODEL_FILE)
    except ModelError:
        model = None
    if model != dataclasses.replace(saved[0], training={}):
        derive(folder, *saved)


def _csv(rows: Iterable[EpochDone]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [entry.name for entry in dataclasses.fields(EpochDone)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()


def _files_at_stake(folder: Path) -> list[str]:
    """The files a new run would replace; a `config.json` of ours alone is a run that never saved."""
    held = [file for file in RUN_FILES if (folder / file).exists()]
    if held == [CONFIG_FILE]:
        with contextlib.suppress(ModelError):
            read_config(folder, None)
            return []
    return held


def _make(folder: Path, made: list[Path]) -> Path:
    """Make a folder; before, add it and those above it that are missing to `made`."""
    try:
        made[:0] = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except OSError as error:
        raise _unwritable(folder, error) from error


def _make_numbered(label: str, made: list[Path]) -> Path:
    """Make `runs/<label>-<n>` with the next free number, which no other run can be given."""
    _make(RUNS, made)
    pattern = re.compile(re.escape(label) + r"-(\d+)")
    numbers = [int(match[1]) for path in RUNS.glob("*") if (match := pattern.fullmatch(path.name))]
    number = max(numbers, default=0) + 1
    while True:
        folder = RUNS / f"{label}-{number}"
        made.insert(0, folder)
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another run was faster
            made.remove(folder)
            number += 1
        except OSError as error:
            raise _unwritable(folder, error) from error


def _unmake(made: list[Path]) -> None:
    """Remove the folders that were made for a run, the first of them its own, if nothing of it was saved."""
    with contextlib.suppress(OSError):  # such as a name too long to be looked for
        if not made or (made[0] / RESUME_FILE).exists():
            return
    for file in (CONFIG_FILE, LOCK_FILE):
        with contextlib.suppress(OSError):
            (made[0] / file).unlink(missing_ok=True)
    for path in made:
        with contextlib.suppress(OSError):
            path.rmdir()


def _unwritable(folder: Path, error: OSError) -> OutputError:
    cause = f"The run folder {folder} cannot be written: {error.strerror or error}."
    return OutputError(cause, "Name another folder.")
