"""Tell what a name or path given to `digitcli doctor` is. Loads no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from digitcli.architectures.registry import ARCHITECTURES
from digitcli.comparison.saved_comparison import SUFFIX as COMPARISON_SUFFIX
from digitcli.comparison.specification import CHECKPOINT_SUFFIX
from digitcli.data.files import PICTURE_SUFFIXES, is_picture
from digitcli.data.loading import find_dataset
from digitcli.errors import DigitcliError, InputError, UsageError, counted
from digitcli.inference.checkpoint import MEMBER_FOLDER, MODEL_FILE, RESUME_FILE, RUNS
from digitcli.inference.model_resolution import shipped_models

# Runs of a folder that an error names.
MOST_NAMED = 5

Kind = Literal["run", "comparison", "model", "picture", "data"]


def kind_of(subject: str) -> Kind:
    """Return what a name or path is.

    Raises:
        UsageError: it is none of these.
        InputError: the path cannot be read.
    """
    path = Path(subject)
    with faults_of_reading(subject):
        if (path / RESUME_FILE).exists():
            return "run"
        if path.suffix.lower() == COMPARISON_SUFFIX:
            return "comparison"
        if path.suffix == CHECKPOINT_SUFFIX or (path / MODEL_FILE).exists() or subject in shipped_models():
            return "model"
        if (path / MEMBER_FOLDER.format(0)).is_dir():  # an ensemble whose members are not all trained
            return "run"
        if is_picture(path.name, (*PICTURE_SUFFIXES, "pdf")) and not path.is_dir():
            return "picture"
    try:
        find_dataset(subject)
    except DigitcliError as error:
        cause = f"{subject} is no run folder, saved comparison, model, picture or dataset."
        raise UsageError(cause, _remedy(subject)) from error
    if path.is_dir() and (names := _runs_in(path)):
        cause = f"{subject} holds {counted(len(names), 'run')}."
        shown = ", ".join(str(path / name) for name in names[:MOST_NAMED])
        raise UsageError(cause, f"Name one of them: {shown}{', ...' if len(names) > MOST_NAMED else '.'}")
    return "data"


def _runs_in(folder: Path) -> list[str]:
    """Return the names of the run folders in a folder."""
    return sorted(child.name for child in folder.iterdir() if _is_run(child))


def _is_run(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (RESUME_FILE, MODEL_FILE))


def _remedy(subject: str) -> str:
    """Return what to do about a name that means nothing."""
    if subject and Path(subject).name == subject and _is_run(RUNS / subject):
        return f"Did you mean {RUNS / subject}?"
    if subject in (row.name for row in ARCHITECTURES):
        train = f"digitcli train --arch {subject}"
        return f"It is an architecture: add --lr-range to find its learning rate, or train it first: {train}"
    return f"Check its name, or say what it is by --as: {', '.join(get_args(Kind))}."


@contextlib.contextmanager
def faults_of_reading(subject: str | Path) -> Iterator[None]:
    """Raise every `OSError` about a path that is examined as an `InputError`."""
    try:
        yield
    except OSError as error:
        cause = f"{subject} cannot be read: {error.strerror or error}."
        raise InputError(cause, "Check its name, and who may read it.") from error
