"""What is examined by `digitcli doctor`, and a finding: one thing that is wrong with it. Loads no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from digitcli.architectures.registry import ARCHITECTURES
from digitcli.data.files import PICTURE_SUFFIXES, is_picture
from digitcli.data.loading import find_dataset
from digitcli.errors import DigitcliError, InputError, UsageError, counted
from digitcli.inference.checkpoint import MEMBER_FOLDER, MODEL_FILE, RESUME_FILE, RUNS
from digitcli.inference.model_resolution import shipped_models

# Runs of a folder that an error names.
MOST_NAMED = 5

Kind = Literal["run", "model", "picture", "data"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    rule: the name of the rule that found it, for example `damaged_weights`.
    severity: `error` if something does not work, `warning` if it works worse than it could.
    evidence: a sentence that tells how one knows.
    remedy: a sentence that tells what corrects it.
    command: a command that does so, or None.
    """

    rule: str
    severity: Literal["error", "warning"]
    evidence: str
    remedy: str
    command: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What was examined, facts about it, and what is wrong.

    has_verdict: whether no findings mean that all is well, or that nothing was looked for.
    """

    subject: str
    facts: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    has_verdict: bool = True

    def record(self) -> dict[str, Any]:
        """Return the diagnosis as a record for JSON."""
        findings = [asdict(finding) for finding in self.findings]
        return {"subject": self.subject, "facts": self.facts, "findings": findings}


def percent(fraction: float, decimals: int = 2) -> str:
    """Return a fraction as a percentage for people."""
    return f"{100 * fraction:.{decimals}f} %"


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
        is_file = path.suffix == Path(MODEL_FILE).suffix
        if is_file or (path / MODEL_FILE).exists() or subject in shipped_models():
            return "model"
        if (path / MEMBER_FOLDER.format(0)).is_dir():  # an ensemble whose members are not all trained
            return "run"
        if is_picture(path.name, (*PICTURE_SUFFIXES, "pdf")) and not path.is_dir():
            return "picture"
    try:
        find_dataset(subject)
    except DigitcliError as error:
        cause = f"{subject} is no run folder, model, picture or dataset."
        raise UsageError(cause, _remedy(path)) from error
    runs = sorted(filter(_is_run, path.iterdir())) if path.is_dir() else []
    if runs:
        shown = ", ".join(map(str, runs[:MOST_NAMED]))
        remedy = f"Name one of them: {shown}{', ...' if len(runs) > MOST_NAMED else '.'}"
        raise UsageError(f"{subject} holds {counted(len(runs), 'run')}.", remedy)
    return "data"


def _is_run(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (RESUME_FILE, MODEL_FILE))


def _remedy(path: Path) -> str:
    """Return what to do about a name that means nothing."""
    name = str(path)
    if path.name == name and _is_run(RUNS / name):
        return f"Did you mean {RUNS / name}?"
    if name in (row.name for row in ARCHITECTURES):
        train = f"digitcli train --arch {name}"
        return f"It is an architecture: add --lr-range to find its learning rate, or train it first: {train}"
    if path.suffix.lower() == ".json":
        return "To show what a command has written as JSON, use digitcli report."
    return "Name a run folder, a model, a picture or a dataset that exists."


@contextlib.contextmanager
def faults_of_reading(subject: str | Path) -> Iterator[None]:
    """Raise every `OSError` about a path that is examined as an `InputError`."""
    try:
        yield
    except OSError as error:
        cause = f"{subject} cannot be read: {error.strerror or error}."
        raise InputError(cause, "Check its name, and who may read it.") from error
