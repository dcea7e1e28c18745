"""The run folder: its number, its lock, its files, and its end when a run fails."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from digitcli.errors import InputError, Interrupted, ModelError, OutputError
from digitcli.events import EpochDone
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE
from digitcli.training.run_folder import (
    check_is_run,
    draw_curves,
    existing_run,
    new_run,
    read_config,
    read_state,
)
from tests.support.models import saved


def fail_in(out: Path | None, force: bool = False, file: str = "config.json", text: str = "{}") -> None:
    """Begin a run that writes a file and fails."""
    with pytest.raises(RuntimeError), new_run("cnn", out, force) as folder:
        (folder / file).write_text(text)
        raise RuntimeError


def test_runs_get_the_next_number_also_if_they_begin_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_run("cnn", None, force=False) as first, new_run("cnn", None, force=False) as second:
        assert {str(first), str(second)} == {"runs/cnn-1", "runs/cnn-2"}
    for name in ("cnn-2", "cnn-9", "cnn-x", "cnn-10b", "lenet5-30"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    with new_run("cnn", None, force=False) as folder:
        assert folder == Path("runs/cnn-10")
    (tmp_path / "runs" / "cnn-1").mkdir()
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([]))  # the listing precedes the other run
    with new_run("cnn", None, force=False) as folder:
        assert folder == Path("runs/cnn-3")  # a concurrent run has taken 1 and 2


def test_a_run_that_saved_nothing_leaves_no_folder(tmp_path: Path) -> None:
    for out in (None, Path("deep/inside"), tmp_path / "absolute"):
        fail_in(out)
    for name in ("x" * 300, "y" * 256):
        with pytest.raises(OutputError, match="cannot be written"), new_run("cnn", Path("in") / name, False):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_leaves_a_folder_as_it_was_but_never_removes_a_state(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    fail_in(mine)
    assert [path.name for path in mine.iterdir() if path.name != ".lock"] == ["notes.txt"]
    (mine / "config.json").write_text("of another program")
    fail_in(mine, force=True)
    assert (mine / "config.json").read_text() == "of another program"
    fail_in(Path("run"), file=RESUME_FILE, text="saved")
    assert (tmp_path / "run" / RESUME_FILE).exists()


def test_a_lock_ends_with_its_context_and_begins_with_deleting_partial_files(tmp_path: Path) -> None:
    with existing_run(Path("run")), pytest.raises(OutputError, match="in use"), existing_run(Path("run")):
        pass
    for name in (".model.safetensors.abc.part", ".movie.mkv.part"):
        (tmp_path / name).write_text("half")
    with existing_run(tmp_path):
        assert [path.name for path in tmp_path.glob(".*.part")] == [".movie.mkv.part"]  # of another program
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"), existing_run(tmp_path / "file"):
        pass


def test_settings_of_a_run_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no run"):
        read_config(tmp_path, None)
    damages = ("", "{}", "[]", "[" * 100_000, '{"config": {"surprise": 1}}', '{"config": {"seed": -1}}')
    for content in damages:
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ModelError, match="damaged|no longer possible"):
            read_config(tmp_path, None)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ModelError, match="damaged"):
        read_config(tmp_path, None)


def test_a_damaged_state_beside_an_intact_model_says_how_to_go_on(tmp_path: Path) -> None:
    model = saved(tmp_path / MODEL_FILE)
    (tmp_path / RESUME_FILE).write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelError, match=RESUME_FILE) as caught:
        read_state(tmp_path)
    assert f"digitcli train --from {model} --data" in caught.value.remedy
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelError, match=RESUME_FILE) as of_both:
        read_state(tmp_path)
    assert "--from" not in of_both.value.remedy


def test_a_folder_without_a_run_names_those_that_have_one(tmp_path: Path) -> None:
    for name in ("typed", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text('{"config": {}}')
    (tmp_path / "runs" / "site").mkdir()
    (tmp_path / "runs" / "site" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="no run in runs/typo") as error:
        check_is_run(Path("runs/typo"))
    assert error.value.remedy.startswith("Did you mean runs/typed")
    assert not Path("runs/typo").exists()


def test_existing_files_are_not_replaced_without_force_unless_nothing_was_saved(tmp_path: Path) -> None:
    for file in ("config.json", "metrics.csv", "curves.svg"):
        (tmp_path / file).write_text("mine")
        with pytest.raises(OutputError, match=file), new_run("cnn", tmp_path, force=False):
            pass
        assert (tmp_path / file).read_text() == "mine"
        (tmp_path / file).unlink()
    (tmp_path / "config.json").write_text('{"config": {"arch": "cnn"}}')
    with new_run("cnn", tmp_path, force=False) as folder:
        assert folder == tmp_path


def test_a_signal_just_after_the_folder_is_created_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def interrupted(self: Path, *arguments: Any, **options: Any) -> None:
        mkdir(self, *arguments, **options)
        raise Interrupted(2, "Stopped.")

    monkeypatch.setattr(Path, "mkdir", interrupted)
    for out in (Path("deep/run"), None):
        with pytest.raises(Interrupted), new_run("cnn", out, force=False):
            pass
        assert not list(tmp_path.iterdir())


def test_curves_are_an_svg_of_every_epoch() -> None:
    for epochs in (1, 2, 40):
        rows = [
            EpochDone(epoch, 0.1, 1 / epoch, 1.1 / epoch, 1 - 0.1 / epoch, 1000.0, 1.0 * epoch)
            for epoch in range(1, epochs + 1)
        ]
        picture = ElementTree.fromstring(draw_curves("a <name> & more", rows))
        curves = [part.get("points", "").split() for part in picture.iter() if part.tag.endswith("polyline")]
        assert [len(curve) for curve in curves] == [epochs + 1] * 3, "the last point is drawn twice, as a dot"
    assert "svg" in draw_curves("perfect", [EpochDone(1, 0.1, 0.0, 0.0, 1.0, 1.0, 1.0)])
