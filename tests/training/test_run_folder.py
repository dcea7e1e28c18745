"""The run folder: its number, its lock, and its end when a run fails."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from digitcli.errors import InputError, Interrupted, ModelError, OutputError
from digitcli.events import EpochDone
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE
from digitcli.training.run_folder import (
    METRICS_FILE,
    check_is_run,
    draw_curves,
    existing_run,
    new_run,
    read_config,
    read_metrics,
    read_state,
)
from tests.support.models import saved


def test_a_new_run_gets_the_number_after_the_highest(tmp_path: Path) -> None:
    for name in ("cnn-2", "cnn-9", "cnn-x", "cnn-10b", "lenet5-30"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    with new_run("cnn", None, None, force=False) as folder:
        assert folder == Path("runs/cnn-10")


def test_concurrent_runs_get_different_numbers() -> None:
    with new_run("cnn", None, None, force=False) as first, new_run("cnn", None, None, force=False) as second:
        assert {str(first), str(second)} == {"runs/cnn-1", "runs/cnn-2"}


def test_a_number_that_a_concurrent_run_took_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs/cnn-1").mkdir(parents=True)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([]))  # the listing precedes the other run
    with new_run("cnn", None, None, force=False) as folder:
        assert folder == Path("runs/cnn-2")


def test_a_run_that_saved_nothing_leaves_no_folder(tmp_path: Path) -> None:
    for out in (None, Path("deep/inside"), tmp_path / "absolute"):
        with pytest.raises(RuntimeError), new_run("cnn", out, None, force=False) as folder:
            (folder / "config.json").write_text("{}")
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_leaves_no_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot be written"),
        new_run("cnn", Path("in") / ("x" * 300), None, force=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_files_in_the_folder_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RuntimeError), new_run("cnn", Path("mine"), None, force=False):
        raise RuntimeError
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_a_saved_state_is_never_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_run("cnn", Path("run"), None, force=False) as folder:
        (folder / RESUME_FILE).write_text("saved")
        raise RuntimeError
    assert (tmp_path / "run" / RESUME_FILE).exists()


def test_a_lock_ends_with_its_context() -> None:
    with existing_run(Path("run")), pytest.raises(OutputError, match="in use"), existing_run(Path("run")):
        pass
    with existing_run(Path("run")):
        pass


def test_a_file_instead_of_the_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"), existing_run(Path("run")):
        pass


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "[" * 100_000, '{"config": {"surprise": 1}}', '{"config": {"seed": -1}}'],
)
def test_damaged_settings_are_a_model_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match="damaged"):
        read_config(tmp_path, None)


def test_an_empty_folder_has_no_settings(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no run"):
        read_config(tmp_path, None)


def test_a_run_that_fails_leaves_no_settings_in_a_folder_that_was_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_run("cnn", tmp_path, None, force=False) as folder:
        (folder / "config.json").write_text("{}")
        raise RuntimeError
    assert not (tmp_path / "config.json").exists()


def test_a_run_that_fails_restores_the_settings_that_were_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("of another program")
    with pytest.raises(RuntimeError), new_run("cnn", tmp_path, None, force=True) as folder:
        (folder / "config.json").write_text("{}")
        raise RuntimeError
    assert (tmp_path / "config.json").read_text() == "of another program"


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
    assert error.value.remedy == "Folders with runs are: runs/typed, runs/other."
    assert not Path("runs/typo").exists()


@pytest.mark.parametrize("file", ["config.json", "metrics.csv", "curves.svg"])
def test_existing_files_are_not_replaced_without_force(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("mine")
    with pytest.raises(OutputError, match=file), new_run("cnn", tmp_path, None, force=False):
        pass
    assert (tmp_path / file).read_text() == "mine"


def test_a_run_that_never_saved_may_be_started_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"config": {"arch": "cnn"}}')
    with new_run("cnn", tmp_path, None, force=False) as folder:
        assert folder == tmp_path


def test_partial_files_of_a_killed_run_are_deleted(tmp_path: Path) -> None:
    for name in (".model.safetensors.abc.part", ".movie.mkv.part"):
        (tmp_path / name).write_text("half")
    with existing_run(tmp_path):
        assert [path.name for path in tmp_path.glob(".*.part")] == [".movie.mkv.part"]  # of another program


@pytest.mark.parametrize("place", [{"out": Path("deep/run")}, {"name": "mine"}, {}])
def test_a_signal_just_after_the_folder_is_created_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, Any]
) -> None:
    mkdir = Path.mkdir

    def interrupted(self: Path, *arguments: Any, **options: Any) -> None:
        mkdir(self, *arguments, **options)
        raise Interrupted(2, "Stopped.")

    monkeypatch.setattr(Path, "mkdir", interrupted)
    chosen = {"out": None, "name": None, **place}
    with pytest.raises(Interrupted), new_run("cnn", force=False, **chosen):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_curves_are_an_svg_of_every_epoch(epochs: int) -> None:
    rows = [
        EpochDone(epoch, 0.1, 1 / epoch, 1.1 / epoch, 1 - 0.1 / epoch, 1000.0, 1.0 * epoch)
        for epoch in range(1, epochs + 1)
    ]
    picture = ElementTree.fromstring(draw_curves("a <name> & more", rows))
    curves = [part.get("points", "").split() for part in picture.iter() if part.tag.endswith("polyline")]
    assert [len(curve) for curve in curves] == [epochs + 1] * 3, "the last point is drawn twice, as a dot"


def test_curves_of_a_perfect_run_are_drawn_too() -> None:
    assert "svg" in draw_curves("perfect", [EpochDone(1, 0.1, 0.0, 0.0, 1.0, 1.0, 1.0)])


def test_the_figures_of_the_epochs_are_read(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    names = "epoch,lr,train_loss,validation_loss,validation_accuracy,images_per_second,seconds"
    (tmp_path / METRICS_FILE).write_text(f"{names}\n1,0.01,2.5,2,0.75,100,1.5\n")
    assert read_metrics(tmp_path) == [EpochDone(1, 0.01, 2.5, 2.0, 0.75, 100.0, 1.5)]


@pytest.mark.parametrize(
    "content",
    ["epoch,lr\n1,1\n", "epoch\nx\n", "epoch,lr\n1\n", "epoch\nnan\n", "epoch,lr\n1,-1\n", "a\n1,2\n"],
)
def test_damaged_figures_of_the_epochs_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / METRICS_FILE).write_text(content)
    with pytest.raises(ModelError, match=METRICS_FILE):
        read_metrics(tmp_path)
