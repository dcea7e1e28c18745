"""TensorBoard: what is written, that it matches the run, and that it changes nothing in it."""

from __future__ import annotations

import csv
import errno
import shutil
import sys
from pathlib import Path

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from digitcli.errors import DivergedError, EnvironmentFault, Interrupted, OutputError
from digitcli.events import Event, Notice
from digitcli.inference.checkpoint import RESUME_FILE, read_header
from digitcli.training.trainer import resume, train
from tests.support.event_files import curve, read_events
from tests.support.training import assert_same_run, stop_after, train_config


def test_the_curves_agree_with_the_figures_of_the_run_and_change_nothing(
    few_digits: Path, tmp_path: Path
) -> None:
    """Use dropout, augmentation, teachers and an average of the weights."""
    recipe = {"augment": True, "mixup": 0.2, "ema_decay": 0.9}
    config = train_config(few_digits, teacher=("fast", "digit_or_none"), recipe=recipe)
    train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb")
    events = read_events(tmp_path / "tb" / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 3
    for name in rows[0].keys() - {"epoch"}:
        expected = {int(row["epoch"]): pytest.approx(float(row[name])) for row in rows}
        assert curve(events, f"epoch/{name}") == expected
    train(config, out=tmp_path / "plain")
    assert_same_run(tmp_path / "plain", tmp_path / "run")


def test_a_resumed_run_continues_its_curves_and_writes_no_epoch_twice(
    few_digits: Path, tmp_path: Path
) -> None:
    config, run, logs = train_config(few_digits, "softmax"), tmp_path / "run", tmp_path / "tb"
    with pytest.raises(Interrupted):
        train(config, out=run, tensorboard=logs, stop_signal=stop_after(10))
    assert list(curve(read_events(logs / "run"), "epoch/lr")) == [1]
    shutil.copytree(run, tmp_path / "saved")
    with pytest.raises(Interrupted):
        resume(run, {}, tensorboard=logs, stop_signal=stop_after(6))
    assert list(curve(read_events(logs / "run"), "epoch/lr")) == [1, 2]
    shutil.rmtree(run)
    shutil.move(tmp_path / "saved", run)  # a crash has undone the second epoch
    resume(run, {}, tensorboard=logs)
    assert list(curve(read_events(logs / "run"), "epoch/lr")) == [1, 2, 3]


def test_a_run_that_began_without_tensorboard_gets_the_curves_of_its_epochs(stopped: Path) -> None:
    for logs in ("tb", "later"):  # later it is finished, so nothing is trained
        resume(stopped, {}, tensorboard=Path(logs))
        assert list(curve(read_events(Path(logs) / stopped.name), "epoch/lr")) == [1, 2, 3]


def test_a_new_run_replaces_the_curves_in_the_folder_of_its_name(few_digits: Path, tmp_path: Path) -> None:
    config, logs = train_config(few_digits, "softmax", recipe={"epochs": 1}), tmp_path / "tb"
    train(config, out=tmp_path / "run", tensorboard=logs)
    (logs / "run" / "notes.txt").write_text("mine")
    train(config, out=tmp_path / "run", force=True, tensorboard=logs)
    assert list(curve(read_events(logs / "run"), "epoch/lr")) == [1]
    assert (logs / "run" / "notes.txt").exists()


def test_a_run_that_cannot_be_watched_or_saves_nothing_leaves_nothing(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, logs = tmp_path / "run", tmp_path / "tb"
    with pytest.raises(DivergedError):
        train(train_config(few_digits, recipe={"optimizer": "sgd", "lr": 1e30}), out=run, tensorboard=logs)
    assert not (logs / "run").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be written"):
        train(train_config(few_digits), out=run, tensorboard=tmp_path / "file")
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # the package is missing
    with pytest.raises(EnvironmentFault) as caught:
        train(train_config(few_digits), out=run, tensorboard=logs)
    assert "pip install '.[tensorboard]'" in caught.value.remedy and caught.value.exit_code == 6
    with pytest.raises(EnvironmentFault):
        resume(run, {}, tensorboard=logs)
    assert not run.exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the writer's thread
def test_a_full_disk_costs_the_curves_and_not_the_run(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = RecordWriter.write, 0

    def fill(writer: RecordWriter, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, content)

    monkeypatch.setattr(RecordWriter, "write", fill)
    for whole_records in (1, 5, 15):  # before the first epoch, in it, and later on
        left = whole_records
        events: list[Event] = []
        run = tmp_path / f"run-{whole_records}"
        config = train_config(few_digits, "softmax")
        result = train(config, out=run, tensorboard=tmp_path / "tb", on_event=events.append)
        assert result.epochs == 3 and read_header(run / RESUME_FILE).training["result"]
        notices = [event.message for event in events if isinstance(event, Notice)]
        ended = [notice for notice in notices if "curves for TensorBoard end here" in notice]
        assert len(ended) == 1 and "No space left" in ended[0]
