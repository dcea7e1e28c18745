"""Write the curves of a run for TensorBoard, without changing its weights.

Abadi et al., "TensorFlow: large-scale machine learning on heterogeneous distributed systems", 2016.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from digitcli.atomic_write import faults_of
from digitcli.errors import OutputError, quoted
from digitcli.events import EpochDone, Event, Notice, OnEvent
from digitcli.optional_packages import import_packages

EVENT_FILES = "events.out.tfevents.*"
# Raises an EnvironmentFault if the package tensorboard is missing or too old.
check_installed = partial(import_packages, "--tensorboard", "tensorboard", "torch.utils.tensorboard")


def folder_of_run(logs: Path, run: Path) -> Path:
    """Return the folder for a run: TensorBoard lays the runs of `logs` over each other, by these names."""
    return logs / run.resolve().name


def check_free(folder: Path) -> None:
    """Check that the curves of a new run would not be mixed with those of an earlier one.

    Raises:
        OutputError: the folder has curves already, or cannot be read.
    """
    if _has_curves(folder):
        cause = f"{folder} contains curves that those of a new run would be mixed with."
        raise OutputError(cause, f"Name another folder with --tensorboard, or remove {folder}.")


def _has_curves(folder: Path) -> bool:
    with faults_of(folder):
        return any(folder.glob(EVENT_FILES))


def remove_curves(folder: Path) -> None:
    """Delete the curves in a folder, and the folder if nothing else is in it.

    Raises:
        OutputError: a file cannot be deleted.
    """
    with faults_of(folder):
        for file in folder.glob(EVENT_FILES):
            file.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def curves_written(folder: Path, history: Sequence[EpochDone], on_event: OnEvent) -> Iterator[OnEvent]:
    """Yield a callback that passes events on and writes the figures of epochs, named as in `metrics.csv`.

    The curves continue those of the folder, after the epochs of `history`; if it has none, they begin with
    these. If the folder cannot be written later on, a notice says so once, and the run goes on.

    Raises:
        OutputError: the folder cannot be written at the beginning.
    """
    from torch.utils.tensorboard import SummaryWriter

    is_new, has_failed = not _has_curves(folder), False
    on_event(Notice(f"See the curves with: tensorboard --logdir {quoted(folder.parent)}"))
    with faults_of(folder):  # TensorBoard forgets what the folder has of epochs that a crash has undone
        writer = SummaryWriter(str(folder), purge_step=None if is_new else len(history) + 1)

    @contextlib.contextmanager
    def faults_noted() -> Iterator[None]:
        nonlocal has_failed
        try:
            with faults_of(folder):
                yield
        except OutputError as error:
            if not has_failed:
                has_failed = True
                on_event(Notice(f"The curves for TensorBoard end here: {error.cause}"))

    def write(event: Event) -> None:
        on_event(event)
        if isinstance(event, EpochDone) and not has_failed:
            write_figures(event)

    def write_figures(*epochs: EpochDone) -> None:
        with faults_noted():
            for done in epochs:
                for name, value in dataclasses.asdict(done).items():
                    if name != "epoch":
                        writer.add_scalar(f"epoch/{name}", value, done.epoch)
            writer.flush()

    write_figures(*(history if is_new else ()))
    try:
        yield write
    finally:
        with faults_noted():
            writer.close()
