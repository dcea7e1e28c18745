"""TensorBoard: what is written, that it matches the run, and that it changes nothing in it."""

from __future__ import annotations

import csv
import errno
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor, nn

from digitcli.errors import DivergedError, EnvironmentFault, Interrupted, OutputError
from digitcli.events import Event, Notice
from digitcli.inference.checkpoint import RESUME_FILE, read_header
from digitcli.training import tensorboard
from digitcli.training.configuration import TrainConfig
from digitcli.training.setup import prepare
from digitcli.training.tensorboard import TensorBoard, check_installed
from digitcli.training.tensorboard_summaries import opened_writer
from digitcli.training.trainer import resume, train
from tests.support.event_files import curve, read_events
from tests.support.training import assert_same_run, stop_after, train_config

STEPS = 21  # three epochs of seven steps


@pytest.fixture(scope="module")
def observed_run(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in `run` and its curves in `tb/run`."""
    folder = tmp_path_factory.mktemp("observed")
    train(observed_config(few_digits), out=folder / "run", tensorboard=folder / "tb")
    return folder


@pytest.fixture(scope="module")
def events(observed_run: Path) -> EventAccumulator:
    return read_events(observed_run / "tb" / "run")


def observed_config(few_digits: Path) -> TrainConfig:
    """Use dropout, augmentation, teachers and an average of the weights."""
    recipe = {"augment": True, "mixup": 0.2, "ema_decay": 0.9}
    return train_config(few_digits, teacher=("fast", "digit_or_none"), recipe=recipe)


def figures_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def test_the_curves_of_epochs_have_the_names_and_the_values_of_metrics_csv(
    observed_run: Path, events: EventAccumulator
) -> None:
    rows = figures_of(observed_run / "run")
    assert len(rows) == 3
    for name in rows[0].keys() - {"epoch"}:
        assert curve(events, f"epoch/{name}") == {
            int(row["epoch"]): pytest.approx(float(row[name])) for row in rows
        }


def test_the_curves_of_steps_agree_with_those_of_epochs(observed_run: Path, events: EventAccumulator) -> None:
    loss, lr, norm = (curve(events, f"step/{name}") for name in ("loss", "lr", "gradient_norm"))
    assert list(loss) == list(lr) == list(norm) == list(range(1, STEPS + 1))
    for row in figures_of(observed_run / "run"):
        last = 7 * int(row["epoch"])
        losses = [loss[step] for step in range(last - 6, last + 1)]
        assert sum(losses) / 7 == pytest.approx(float(row["train_loss"]), rel=1e-5)
        assert lr[last] == pytest.approx(float(row["lr"]))
    assert all(value > 0 for value in norm.values())


def test_the_gradient_norm_is_that_of_all_gradients_before_clipping(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, "softmax", recipe={"max_grad_norm": 0.01})
    setup, state = prepare(config, None, None, lambda event: None, lambda: None)
    setup.loss(0, 0, 0.0).backward()
    squares = sum(float(weight.grad.square().sum()) for weight in state.network.parameters())  # type: ignore[union-attr]
    with opened_writer(tmp_path) as writer:
        observer = TensorBoard(tmp_path, writer, setup, state)
        observer.gradients_ready()
        observer.step_taken(torch.tensor(1.0))
        observer.write_points()
    assert curve(read_events(tmp_path), "step/gradient_norm") == {1: pytest.approx(squares**0.5, rel=1e-4)}
    assert squares**0.5 > 0.01


def test_histograms_pictures_graph_features_and_settings_are_written(
    observed_run: Path, events: EventAccumulator
) -> None:
    tags = events.Tags()
    assert tags["graph"]
    groups = {tag.partition("/")[0] for tag in tags["histograms"]}
    assert groups == {"weights", "activations", "gradients"}
    assert set(tags["images"]) == {"digits/training_inputs", "digits/validation_confusion"}
    assert len(list((observed_run / "tb").rglob("tensors.tsv"))) == 1
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"batch_size" in plugin and b"dropout" in plugin and b"fast, digit_or_none" in plugin
    result = read_header(observed_run / "run" / RESUME_FILE).training["result"]
    assert curve(events, "result/test_accuracy") == {0: pytest.approx(result["test_accuracy"])}


def test_histograms_begin_before_the_first_step_and_hold_every_weight(events: EventAccumulator) -> None:
    tag = next(tag for tag in events.Tags()["histograms"] if tag.endswith("weight") and "weights/" in tag)
    histograms = events.Histograms(tag)
    assert [each.step for each in histograms] == [0, 1, 2, 3]
    assert {each.histogram_value.num for each in histograms} == {784 * 512}


def test_the_weights_are_the_same_with_and_without_tensorboard(
    few_digits: Path, tmp_path: Path, observed_run: Path
) -> None:
    train(observed_config(few_digits), out=tmp_path / "plain")
    assert_same_run(tmp_path / "plain", observed_run / "run")


def test_an_observer_changes_no_state_of_the_run(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observers: list[TensorBoard] = []

    def state_of(observer: TensorBoard) -> list[Any]:
        state = observer._state
        tensors = [tensor.clone() for tensor in state.tensors().values()]
        gradients = [weight.grad is None for weight in state.network.parameters()]
        return [torch.get_rng_state(), *tensors, gradients, state.network.training]

    def guarded(name: str) -> Any:
        original = getattr(TensorBoard, name)

        def method(observer: TensorBoard, *arguments: Any) -> None:
            before = state_of(observer)
            original(observer, *arguments)
            observers.append(observer)
            for old, new in zip(before, state_of(observer), strict=True):
                assert torch.equal(old, new) if isinstance(old, Tensor) else old == new

        return method

    for name in ("begin", "gradients_ready", "step_taken", "on_event", "run_done"):
        monkeypatch.setattr(TensorBoard, name, guarded(name))
    train(train_config(few_digits, recipe={"epochs": 1}), out=tmp_path / "run", tensorboard=tmp_path / "tb")
    assert len(observers) > 10


def test_nothing_is_read_from_the_device_in_a_step(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, state = prepare(train_config(few_digits), None, None, lambda event: None, lambda: None)
    setup.loss(0, 0, 0.0).backward()
    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__"):
        monkeypatch.setattr(Tensor, name, lambda *arguments: pytest.fail("a tensor is read"))
    with opened_writer(tmp_path) as writer:
        observer = TensorBoard(tmp_path, writer, setup, state)
        observer.gradients_ready()
        observer.step_taken(torch.tensor(1.0))


def test_a_long_epoch_has_fewer_points(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "POINTS_PER_EPOCH", 3)
    train(train_config(few_digits, "softmax"), out=tmp_path / "run", tensorboard=tmp_path / "tb")
    events = read_events(tmp_path / "tb" / "run")
    for name in ("loss", "lr", "gradient_norm"):
        assert list(curve(events, f"step/{name}")) == list(range(2, STEPS + 1, 2))


def test_a_resumed_run_continues_its_curves(
    few_digits: Path, tmp_path: Path, events: EventAccumulator
) -> None:
    with pytest.raises(Interrupted):
        train(
            observed_config(few_digits),
            out=tmp_path / "run",
            tensorboard=tmp_path / "tb",
            stop_signal=stop_after(10),
        )
    assert list(curve(read_events(tmp_path / "tb" / "run"), "step/loss")) == list(range(1, 11))
    resume(tmp_path / "run", {}, tensorboard=tmp_path / "tb")
    resumed = read_events(tmp_path / "tb" / "run")
    for tag in ("step/loss", "step/gradient_norm", "epoch/validation_loss"):
        assert curve(resumed, tag) == curve(events, tag)
    assert resumed.Tags()["graph"]


def test_steps_that_a_crash_has_undone_are_written_once(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, "softmax")
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb", stop_signal=stop_after(10))
    shutil.copytree(tmp_path / "run", tmp_path / "saved")
    with pytest.raises(Interrupted):
        resume(tmp_path / "run", {}, tensorboard=tmp_path / "tb", stop_signal=stop_after(3))
    shutil.rmtree(tmp_path / "run")
    shutil.move(tmp_path / "saved", tmp_path / "run")
    resume(tmp_path / "run", {}, tensorboard=tmp_path / "tb")
    assert list(curve(read_events(tmp_path / "tb" / "run"), "step/loss")) == list(range(1, STEPS + 1))


def test_a_run_that_began_without_tensorboard_gets_the_curves_of_its_epochs(
    few_digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(train_config(few_digits, "softmax"), out=tmp_path / "run", stop_signal=stop_after(10))
    resume(tmp_path / "run", {}, tensorboard=tmp_path / "tb")
    resumed = read_events(tmp_path / "tb" / "run")
    assert list(curve(resumed, "epoch/lr")) == [1, 2, 3]
    assert list(curve(resumed, "step/lr")) == list(range(11, STEPS + 1))

    resume(tmp_path / "run", {}, tensorboard=tmp_path / "later")  # it is finished, so nothing is trained
    later = read_events(tmp_path / "later" / "run")
    assert list(curve(later, "epoch/lr")) == [1, 2, 3]
    assert "result/test_accuracy" in later.Tags()["scalars"] and not later.Tags()["histograms"]


def test_curves_of_an_earlier_run_are_replaced_only_with_force(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, "softmax")
    train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb")
    (tmp_path / "tb" / "run" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="contains curves") as caught:
        train(config, out=tmp_path / "other" / "run", tensorboard=tmp_path / "tb")
    assert caught.value.remedy.endswith(f"remove {tmp_path / 'tb' / 'run'}.")
    assert not (tmp_path / "other").exists()
    shorter = train_config(few_digits, "softmax", recipe={"epochs": 1})
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(OutputError, match="contains curves") as caught:
        train(shorter, out=tmp_path / "run", tensorboard=tmp_path / "tb")
    assert "--force" in caught.value.remedy
    train(shorter, out=tmp_path / "run", force=True, tensorboard=tmp_path / "tb")
    assert list(curve(read_events(tmp_path / "tb" / "run"), "epoch/lr")) == [1]
    assert (tmp_path / "tb" / "run" / "notes.txt").exists()


def test_curves_of_another_run_with_the_same_name_are_neither_mixed_nor_skipped_nor_deleted(
    few_digits: Path, tmp_path: Path
) -> None:
    config, logs = train_config(few_digits, "softmax", recipe={"epochs": 1}), tmp_path / "tb"
    train(config, out=tmp_path / "a" / "x", tensorboard=logs)
    before = {path.name: path.read_bytes() for path in (logs / "x").iterdir() if path.is_file()}
    train(config, out=tmp_path / "finished" / "x")
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "unfinished" / "x", stop_signal=stop_after(3))
    for other in ("finished", "unfinished"):
        with pytest.raises(OutputError, match=f"curves of the run in .*, not of .*{other}") as caught:
            resume(tmp_path / other / "x", {}, tensorboard=logs)
        assert "--tensorboard" in caught.value.remedy
    with pytest.raises(OutputError, match="contains curves"):
        train(config, out=tmp_path / "new" / "x", force=True, tensorboard=logs)
    assert {path.name: path.read_bytes() for path in (logs / "x").iterdir() if path.is_file()} == before


def test_curves_of_a_run_that_was_moved_are_continued(few_digits: Path, tmp_path: Path) -> None:
    config, logs = train_config(few_digits, "softmax"), tmp_path / "tb"
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "a" / "x", tensorboard=logs, stop_signal=stop_after(10))
    shutil.copytree(tmp_path / "a" / "x", tmp_path / "moved" / "x")
    with pytest.raises(OutputError, match="contains curves"):  # it is a copy
        resume(tmp_path / "moved" / "x", {}, tensorboard=logs)
    shutil.rmtree(tmp_path / "a")
    resume(tmp_path / "moved" / "x", {}, tensorboard=logs)
    assert list(curve(read_events(logs / "x"), "step/loss")) == list(range(1, STEPS + 1))
    resume(tmp_path / "moved" / "x", {}, tensorboard=logs)

    other = train_config(few_digits, "softmax", recipe={"lr": 0.5})
    train(other, out=tmp_path / "moved" / "x", force=True)
    with pytest.raises(OutputError, match="which was replaced"):
        resume(tmp_path / "moved" / "x", {}, tensorboard=logs)
    (logs / "x" / "run.json").write_text("[]")
    with pytest.raises(OutputError, match="an unknown run"):
        resume(tmp_path / "moved" / "x", {}, tensorboard=logs)


def test_a_run_that_saves_nothing_leaves_no_curves(few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, recipe={"optimizer": "sgd", "lr": 1e30})
    with pytest.raises(DivergedError):
        train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb")
    assert not (tmp_path / "tb" / "run").exists()


def test_a_missing_package_is_reported_before_the_training(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(EnvironmentFault) as caught:
        train(train_config(few_digits), out=tmp_path / "run", tensorboard=tmp_path / "tb")
    assert "pip install '.[tensorboard]'" in caught.value.remedy and caught.value.exit_code == 6
    with pytest.raises(EnvironmentFault):
        resume(tmp_path / "run", {}, tensorboard=tmp_path / "tb")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    check_installed()


def test_a_folder_that_cannot_be_written_is_an_error(few_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be written"):
        train(train_config(few_digits), out=tmp_path / "run", tensorboard=tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("whole_records", [5, 60])  # before the first step, and in the first epochs
def test_a_full_disk_costs_the_curves_and_not_the_run(
    few_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    whole_records: int,
) -> None:
    write, written = RecordWriter.write, 0

    def fill(writer: RecordWriter, content: bytes) -> None:
        nonlocal written
        written += 1
        if written > whole_records:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, content)

    hook = threading.excepthook
    monkeypatch.setattr(RecordWriter, "write", fill)
    events: list[Event] = []
    config = train_config(few_digits, "softmax")
    result = train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb", on_event=events.append)
    assert result.epochs == 3 and read_header(tmp_path / "run" / RESUME_FILE).training["result"]
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert sum("curves for TensorBoard end here" in notice for notice in notices) == 1
    assert any("No space left" in notice for notice in notices)
    assert capfd.readouterr().err == "" and threading.excepthook is hook


def test_a_full_disk_does_not_hide_a_signal(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: RecordWriter) -> None:
        close(writer)
        raise OSError(errno.ENOSPC, "No space left on device")

    close = RecordWriter.close
    monkeypatch.setattr(RecordWriter, "close", full)
    config = train_config(few_digits, "softmax")
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb", stop_signal=stop_after(2))


@pytest.mark.parametrize("kind", [RuntimeError, TypeError, KeyError])
def test_a_network_that_cannot_be_traced_is_trained_without_a_graph(
    few_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[Exception],
) -> None:
    def untraceable(network: nn.Module, images: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise kind("the tracer cannot follow")
        return forward(network, images)

    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", untraceable)
    events: list[Event] = []
    config = train_config(few_digits, "softmax", recipe={"epochs": 1})
    train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb", on_event=events.append)
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert any("no graph" in notice and "cannot follow" in notice for notice in notices)
    assert not read_events(tmp_path / "tb" / "run").Tags()["graph"]
    assert capsys.readouterr().out == ""


def test_lines_get_curves_histograms_of_weights_graph_and_settings(line_folder: Path, tmp_path: Path) -> None:
    config = train_config(line_folder, "reader", recipe={"epochs": 1, "batch_size": 16})
    train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb")
    tags = read_events(tmp_path / "tb" / "run").Tags()
    assert {"epoch/validation_accuracy", "step/loss", "result/test_accuracy"} <= set(tags["scalars"])
    assert {tag.partition("/")[0] for tag in tags["histograms"]} == {"weights"}
    assert tags["graph"] and not tags["images"]
