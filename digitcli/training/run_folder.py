"""The folder of a run: how it is created, locked, written and read; its curves as a chart and in TensorBoard.

Abadi et al., "TensorFlow: large-scale machine learning on heterogeneous distributed systems", 2016.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from digitcli.architectures.compression import pack
from digitcli.atomic_write import faults_of, remove_partial_files, write_whole
from digitcli.charts import Panel, Series, draw_lines
from digitcli.errors import (
    InputError,
    ModelError,
    OutputError,
    UsageError,
    counted,
    did_you_mean,
    import_packages,
    quoted,
)
from digitcli.events import EpochDone, Event, Notice, OnEvent
from digitcli.inference.checkpoint import (
    CONFIG_FILE,
    MEMBER_FOLDER,
    MODEL_FILE,
    RESUME_FILE,
    RUNS,
    Header,
    is_run,
    library_versions,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from digitcli.training.configuration import TrainConfig, stored_config
from digitcli.training.state import Saved, model_tensors

LOCK_FILE, METRICS_FILE, CURVES_FILE = ".lock", "metrics.csv", "curves.svg"
EVENT_FILES = "events.out.tfevents.*"  # of TensorBoard
RUN_FILES = (CONFIG_FILE, METRICS_FILE, CURVES_FILE, RESUME_FILE, MODEL_FILE)
# Raises an EnvironmentFault if the package tensorboard is missing or too old.
check_tensorboard = partial(import_packages, "--tensorboard", "tensorboard", "torch.utils.tensorboard")


@contextlib.contextmanager
def new_run(arch: str, out: Path | None, force: bool) -> Iterator[Path]:
    """Create the folder of a new run and hold its lock; remove it again if nothing is saved there.

    The folder is `out`, or `runs/<arch>-<n>` with the next free number.

    Raises:
        OutputError: the folder has a run or files of a run already, is in use, or cannot be written.
    """
    with _removed_if_nothing_is_saved() as created:
        folder = _create(out, created) if out else _create_numbered(arch.replace("/", "-"), created)
        with locked(folder):
            if not force and (files := files_to_be_replaced(folder)):
                cause = f"{folder} contains files that a new run would replace: {', '.join(files)}."
                remedy = (
                    "Name another folder with --output, resume it with --resume, or replace it with --force."
                )
                raise OutputError(cause, remedy)
            path = folder / CONFIG_FILE
            before = path.read_bytes() if path.is_file() else None
            try:
                yield folder
            finally:
                if not _is_saved(folder):
                    with contextlib.suppress(OSError):
                        path.unlink(missing_ok=True) if before is None else path.write_bytes(before)


@contextlib.contextmanager
def existing_run(folder: Path) -> Iterator[Path]:
    """Hold the lock of a run's folder; the one of a member is created if it is not there.

    Raises:
        OutputError: the folder is in use or cannot be written.
    """
    with _removed_if_nothing_is_saved() as created, locked(_create(folder, created)):
        yield folder


@contextlib.contextmanager
def _removed_if_nothing_is_saved() -> Iterator[list[Path]]:
    """Collect the folders that the context creates, the run folder first, and remove them if they stay empty.

    The context adds a folder before creating it, so that a signal in between leaves no folder behind.
    """
    created: list[Path] = []
    try:
        yield created
    finally:
        is_saved = False
        with contextlib.suppress(OSError):  # the name may be too long for the file system
            is_saved = bool(created) and _is_saved(created[0])
        for path in [] if is_saved else created:
            with contextlib.suppress(OSError):
                for file in (CONFIG_FILE, LOCK_FILE) if path is created[0] else ():
                    (path / file).unlink(missing_ok=True)
                path.rmdir()


@contextlib.contextmanager
def locked(folder: Path, files: Collection[str] = RUN_FILES) -> Iterator[None]:
    """Hold the lock of a folder, and delete what a killed process has left of these files.

    Raises:
        OutputError: the folder is in use or cannot be written.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
        remove_partial_files(folder, files)
    except Timeout as error:
        cause = f"{folder} is in use by another run."
        raise OutputError(cause, "Wait for it, or name another folder.") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def read_config(folder: Path, saved: Saved | None) -> TrainConfig:
    """Read the settings of a run from its saved state, or else from its `config.json`.

    Raises:
        ModelError: there are no settings, or they are damaged.
    """
    path = folder / CONFIG_FILE
    if saved is None and not path.exists():
        raise ModelError(f"{folder} holds no run.", "Name the folder of a run, for example runs/cnn-1.")
    try:
        return stored_config(saved[0].training["config"] if saved else json.loads(path.read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError, UsageError, RecursionError) as error:
        cause = f"The settings stored in {folder} are damaged: {error}."
        raise ModelError(cause, "Start a new run.") from error


def check_is_run(folder: Path) -> None:
    """Check that a folder holds a run that can be resumed.

    Raises:
        InputError: it has neither a configuration nor a saved state.
    """
    if is_run(folder) or os.path.isfile(folder / MODEL_FILE):  # noqa: PTH113 (of a model, read_state tells more)
        return
    places = {root.resolve(): root for root in (RUNS, folder.parent)}.values()
    runs = sorted(str(path) for root in places for path in root.glob("*") if is_run(path))
    remedy = did_you_mean(str(folder), runs) if runs else "Start one without --resume."
    raise InputError(f"There is no run in {folder}.", remedy)


def read_state(folder: Path) -> Saved | None:
    """Read the saved state of a run; None if there is none, or if it is an ensemble, whose members have one.

    Raises:
        ModelError: the file is damaged.
        OutputError: the folder has a model without a state, and a new run would replace the model.
    """
    path = folder / RESUME_FILE
    if path.exists():
        try:
            return read_checkpoint(path)
        except ModelError as error:
            with contextlib.suppress(ModelError):
                read_checkpoint(folder / MODEL_FILE)
                command = f"digitcli train --from {quoted(folder / MODEL_FILE)} --data DATASET"
                error.remedy = f"The model beside it is intact. Train it further in a new run: {command}"
            raise
    if (folder / MODEL_FILE).exists():
        with contextlib.suppress(ModelError):
            if read_config(folder, None).members is not None:
                return None
        raise OutputError(
            f"{folder} contains a model but no {RESUME_FILE} to continue from.",
            "Name another folder, or replace the model with --output and --force.",
        )
    return None


def describe_config(config: TrainConfig) -> dict[str, Any]:
    """Return the contents of `config.json` before data are loaded, and those of an ensemble."""
    return {"config": dataclasses.asdict(config), "versions": library_versions()}


def begin(folder: Path, description: Mapping[str, Any]) -> None:
    """Write `config.json` before anything slow, and delete the files of an earlier run and its members.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_whole(folder / CONFIG_FILE, (json.dumps(description, indent=2) + "\n").encode())
    try:
        for file in RUN_FILES[1:]:
            (folder / file).unlink(missing_ok=True)
        for member in _member_folders(folder):
            for file in (*RUN_FILES, LOCK_FILE):
                (member / file).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds files of others
                member.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _member_folders(folder: Path) -> list[Path]:
    """Return the folders of the members of an ensemble."""
    return sorted(path for path in folder.glob(MEMBER_FOLDER.format("[0-9]*")) if path.is_dir())


def save(folder: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write the state and, at the end of an epoch, the files that depend on it.

    Raises:
        OutputError: the disk is full or the folder cannot be written. Earlier files stay as they were.
    """
    write_checkpoint(folder / RESUME_FILE, header, tensors)
    if header.training["step"] == 0:  # within an epoch the weights and the figures would not match
        write_outputs(folder, header, tensors)


def write_outputs(folder: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write the files that depend on a saved state: the model, the metrics and their curves; see `save`."""
    history = [EpochDone(**row) for row in header.training["history"]]
    weights = pack(header.compression, model_tensors(tensors))
    write_checkpoint(folder / MODEL_FILE, dataclasses.replace(header, training={}), weights)
    table = io.StringIO()
    columns = [entry.name for entry in dataclasses.fields(EpochDone)]
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(dataclasses.asdict, history))
    write_whole(folder / METRICS_FILE, table.getvalue().encode())
    write_whole(folder / CURVES_FILE, draw_curves(header.architecture, history).encode())


def repair_outputs(folder: Path, saved: Saved) -> None:
    """Write the missing files of a finished run, which may have been killed between its last two writes."""
    try:
        model = read_header(folder / MODEL_FILE)
    except ModelError:
        model = None
    if model != dataclasses.replace(saved[0], training={}):
        write_outputs(folder, *saved)


def files_to_be_replaced(folder: Path) -> list[str]:
    """Return the files that a new run would replace, without the `config.json` of a run that never saved."""
    files = _files_of_run(folder)
    if files == [CONFIG_FILE]:
        with contextlib.suppress(ModelError):
            read_config(folder, None)
            return []
    return files


def _files_of_run(folder: Path) -> list[str]:
    """Return the files of a run and of its members, as paths within its folder."""
    paths = [place / file for place in (folder, *_member_folders(folder)) for file in RUN_FILES]
    return [path.relative_to(folder).as_posix() for path in paths if path.exists()]


def _is_saved(folder: Path) -> bool:
    """Return whether a run folder has more than the configuration with which the run began."""
    return any(not file.endswith(CONFIG_FILE) for file in _files_of_run(folder))


def _create(folder: Path, created: list[Path], *, may_exist: bool = True) -> Path:
    """Create a folder with its missing parents, after adding them all to `created`."""
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        created[:0] = missing
        folder.mkdir(parents=True, exist_ok=may_exist)
        return folder
    except OSError as error:
        if isinstance(error, FileExistsError) and not may_exist:
            del created[: len(missing)]
            raise
        raise _unwritable(folder, error) from error


def _create_numbered(label: str, created: list[Path]) -> Path:
    """Create `runs/<label>-<n>` with the next free number, which no concurrent run can get."""
    _create(RUNS, created)
    pattern = re.compile(re.escape(label) + r"-(\d+)")
    numbers = [int(match[1]) for path in RUNS.glob("*") if (match := pattern.fullmatch(path.name))]
    number = max(numbers, default=0)
    while True:
        number += 1
        with contextlib.suppress(FileExistsError):  # a concurrent run has created it
            return _create(RUNS / f"{label}-{number}", created, may_exist=False)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    cause = f"The run folder {folder} cannot be written: {error.strerror or error}."
    return OutputError(cause, "Name another folder.")


def draw_curves(title: str, rows: Sequence[EpochDone]) -> str:
    """Return the loss and the validation error over the epochs as SVG."""
    training = Series("training", [(row.epoch, row.train_loss) for row in rows], dashed=True)
    validation = Series("validation", [(row.epoch, row.validation_loss) for row in rows])
    error = Series("validation", [(row.epoch, 100 * (1 - row.validation_accuracy)) for row in rows])
    panels = [
        Panel("loss", "epoch", [validation, training]),
        Panel("validation error in %", "epoch", [error]),
    ]
    return draw_lines(f"{title}: {counted(len(rows), 'epoch')}", panels)


def folder_of_run(logs: Path, run: Path) -> Path:
    """Return the folder for a run: TensorBoard lays the runs of `logs` over each other, by these names."""
    return logs / run.resolve().name


@contextlib.contextmanager
def curves_written(
    logs: Path | None, run: Path | None, history: Sequence[EpochDone], on_event: OnEvent
) -> Iterator[OnEvent]:
    """Yield a callback that passes events on and writes the figures of epochs, named as in `metrics.csv`.

    The curves of a run continue those of its folder in `logs`, after the epochs of `history`; if it has none,
    they begin with these. A new run replaces the curves there, and one that saved nothing leaves none. If the
    folder cannot be written later on, a notice says so once, and the run goes on. Without `logs` or `run`,
    nothing is written.

    Raises:
        OutputError: the folder cannot be written at the beginning.
    """
    if logs is None or run is None:
        yield on_event
        return
    from torch.utils.tensorboard import SummaryWriter

    folder, has_failed = folder_of_run(logs, run), False
    if not history:
        _remove_curves(folder)
    on_event(Notice(f"See the curves with: tensorboard --logdir {quoted(logs)}"))
    with faults_of(folder):  # TensorBoard forgets what the folder has of epochs that a crash has undone
        has_curves = any(folder.glob(EVENT_FILES))
        writer = SummaryWriter(str(folder), purge_step=len(history) + 1 if has_curves else None)

    @contextlib.contextmanager
    def faults_noted() -> Iterator[None]:
        nonlocal has_failed
        try:
            with faults_of(folder):
                yield
        except OutputError as error:
            if not has_failed:
                on_event(Notice(f"The curves for TensorBoard end here: {error.cause}"))
            has_failed = True

    def write(*events: Event) -> None:
        with faults_noted():
            for done in events:
                if isinstance(done, EpochDone) and not has_failed:
                    for name, value in dataclasses.asdict(done).items():
                        if name != "epoch":
                            writer.add_scalar(f"epoch/{name}", value, done.epoch)
                    writer.flush()

    def pass_on(event: Event) -> None:
        on_event(event)
        write(event)

    try:
        write(*(() if has_curves else history))
        yield pass_on
    finally:
        with faults_noted():
            writer.close()
        if not (run / RESUME_FILE).exists():
            _remove_curves(folder)


def _remove_curves(folder: Path) -> None:
    """Delete the curves in a folder, and the folder if nothing else is in it."""
    with faults_of(folder):
        for file in folder.glob(EVENT_FILES):
            file.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
