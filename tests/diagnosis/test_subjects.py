"""What is given to `digitcli doctor` is told from its name and content."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.diagnosis.subjects import kind_of
from digitcli.errors import UsageError


def test_each_kind_is_told(tmp_path: Path, few_digits: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume.safetensors").touch()
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model.safetensors").touch()
    (tmp_path / "unfinished-ensemble" / "member-0").mkdir(parents=True)
    (tmp_path / "digits" / "3").mkdir(parents=True)
    kinds = {
        "run": "run",
        "trained": "model",
        "unfinished-ensemble": "run",
        "cnn": "model",
        "copy.safetensors": "model",
        "zoo.json": "comparison",
        "photo.jpg": "picture",
        "digits": "data",
        "mnist": "data",
        str(few_digits): "data",
    }
    assert {subject: kind_of(subject) for subject in kinds} == kinds


@pytest.mark.parametrize("subject", ["no-such-thing", "no/such/folder", ""])
def test_anything_else_is_refused(subject: str) -> None:
    with pytest.raises(UsageError, match="--as"):
        try:
            kind_of(subject)
        except UsageError as error:
            raise UsageError(f"{error.cause} {error.remedy}") from error
