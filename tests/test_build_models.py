"""The script that makes everything in models/: its stages, and how they go on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import build_models
import pytest

from digitcli.inference.model_resolution import shipped_models


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands that stages run; nothing is trained."""
    done: list[list[str]] = []
    monkeypatch.setattr(build_models, "run", lambda command, work: done.append(command))
    monkeypatch.setattr(build_models, "ship", lambda run, name: done.append(["ship", Path(run).name, name]))
    graphs = SimpleNamespace(export_graphs=lambda names: None, quantize_graphs=lambda names: None)
    monkeypatch.setattr(build_models, "graphs", graphs)
    monkeypatch.setattr(build_models, "resolve_model", lambda name: SimpleNamespace(sha256=f"of {name}"))
    return done


def test_every_shipped_model_is_a_stage() -> None:
    assert sorted(build_models.STAGES) == sorted(shipped_models())
    assert build_models.BEFORE.keys() <= set(build_models.STAGES)


def test_a_stage_is_trained_shipped_and_not_made_again(commands: list[list[str]], tmp_path: Path) -> None:
    train = ["digitcli", "train", "--arch", "tiny"]
    for _ in range(2):
        build_models.make(tmp_path, "tiny", ["digitcli train --arch tiny"])
    assert commands == [[*train, "-o", "tiny", "--resume-or-start"], ["ship", "tiny", "tiny"]]
    stages = json.loads((tmp_path / "stages.json").read_text())
    assert stages["tiny"]["sha256"] == "of tiny" and stages["tiny"]["core_hours"] >= 0


def test_a_stage_that_fails_keeps_its_hours_and_is_made_again(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = iter([True, False])
    monkeypatch.setattr(build_models, "ship", lambda run, name: 1 / 0 if next(fails) else None)
    with pytest.raises(ZeroDivisionError):
        build_models.make(tmp_path, "tiny", ["digitcli train"])
    assert json.loads((tmp_path / "stages.json").read_text())["tiny"]["sha256"] is None
    build_models.make(tmp_path, "tiny", ["digitcli train"])
    assert json.loads((tmp_path / "stages.json").read_text())["tiny"]["sha256"] == "of tiny"


def test_weights_that_go_on_from_others_are_refused(commands: list[list[str]], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot be made from nothing"):
        build_models.make(tmp_path, "finder", ["digitcli train --arch finder --from finder"])
    assert not commands
