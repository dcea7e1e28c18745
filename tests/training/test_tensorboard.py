"""TensorBoard: what is written, that it matches the run, and that it changes nothing in it."""

from __future__ import annotations

import csv
import errno
import shutil
import sys
from pathlib import Path

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
from digitcli.training.tensorboard import watched
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


def notices_of(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def test_the_curves_agree_with_the_figures_of_the_run(observed_run: Path, events: EventAccumulator) -> None:
    rows = list(csv.DictReader((observed_run / "run" / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 3
    for name in rows[0].keys() - {"epoch"}:
        expected = {int(row["epoch"]): pytest.approx(float(row[name])) for row in rows}
        assert curve(events, f"epoch/{name}") == expected
    loss, lr, norm = (curve(events, f"step/{name}") for name in ("loss", "lr", "gradient_norm"))
    assert list(loss) == list(lr) == list(norm) == list(range(1, STEPS + 1))
    for row in rows:
        last = 7 * int(row["epoch"])
        losses = [loss[step] for step in range(last - 6, last + 1)]
        assert sum(losses) / 7 == pytest.approx(float(row["train_loss"]), rel=1e-5)
        assert lr[last] == pytest.approx(float(row["lr"]))
    assert all(value > 0 for value in norm.values())


def test_histograms_of_weights_activations_and_gradients_and_the_graph_are_written(
    events: EventAccumulator,
) -> None:
    tags = events.Tags()
    assert tags["graph"]
    assert {tag.partition("/")[0] for tag in tags["histograms"]} == {"weights", "activations", "gradients"}
    tag = next(tag for tag in tags["histograms"] if tag.endswith("weight") and "weights/" in tag)
    assert [each.step for each in events.Histograms(tag)] == [0, 1, 2, 3]  # 0: before the first step
    assert {each.histogram_value.num for each in events.Histograms(tag)} == {784 * 512}
    gradients = tag.replace("weights/", "gradients/")
    assert {each.histogram_value.num for each in events.Histograms(gradients)} == {784 * 512}


def test_the_weights_are_the_same_with_and_without_tensorboard(
    few_digits: Path, tmp_path: Path, observed_run: Path
) -> None:
    train(observed_config(few_digits), out=tmp_path / "plain")
    assert_same_run(tmp_path / "plain", observed_run / "run")


def test_a_step_gives_the_norm_before_clipping_and_reads_nothing_from_the_device(
    few_digits: Path, tmp_path: Path
) -> None:
    config = train_config(few_digits, "softmax", recipe={"max_grad_norm": 0.01})
    setup, state = prepare(config, None, None, lambda event: None, lambda: None)
    setup.loss(0, 0, 0.0).backward()
    squares = sum(float(weight.grad.square().sum()) for weight in state.network.parameters())  # type: ignore[union-attr]
    run = watched(tmp_path, "softmax", setup.recipe, setup.task, state, setup.on_event)
    with run as curves, pytest.MonkeyPatch.context() as patch:
        for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__"):
            patch.setattr(Tensor, name, lambda *arguments: pytest.fail("a tensor is read"))
        curves.gradients_ready()
        curves.step_taken(torch.tensor(1.0))
    assert curve(read_events(tmp_path), "step/gradient_norm") == {1: pytest.approx(squares**0.5, rel=1e-4)}
    assert squares**0.5 > 0.01


def test_a_long_epoch_has_fewer_points(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "POINTS_PER_EPOCH", 3)
    train(train_config(few_digits, "softmax"), out=tmp_path / "run", tensorboard=tmp_path / "tb")
    events = read_events(tmp_path / "tb" / "run")
    for name in ("loss", "lr", "gradient_norm"):
        assert list(curve(events, f"step/{name}")) == list(range(2, STEPS + 1, 2))


def test_a_resumed_run_continues_its_curves_and_writes_no_step_twice(
    few_digits: Path, tmp_path: Path
) -> None:
    config, run = train_config(few_digits, "softmax"), tmp_path / "run"
    with pytest.raises(Interrupted):
        train(config, out=run, tensorboard=tmp_path / "tb", stop_signal=stop_after(10))
    assert list(curve(read_events(tmp_path / "tb" / "run"), "step/loss")) == list(range(1, 11))
    shutil.copytree(run, tmp_path / "saved")
    with pytest.raises(Interrupted):
        resume(run, {}, tensorboard=tmp_path / "tb", stop_signal=stop_after(3))
    shutil.rmtree(run)
    shutil.move(tmp_path / "saved", run)  # a crash has undone three steps
    resume(run, {}, tensorboard=tmp_path / "tb")
    resumed = read_events(tmp_path / "tb" / "run")
    assert list(curve(resumed, "step/loss")) == list(range(1, STEPS + 1))
    assert list(curve(resumed, "epoch/lr")) == [1, 2, 3] and resumed.Tags()["graph"]


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
    assert list(curve(read_events(tmp_path / "later" / "run"), "epoch/lr")) == [1, 2, 3]


def test_curves_of_an_earlier_run_are_replaced_only_with_force(few_digits: Path, tmp_path: Path) -> None:
    config, logs = train_config(few_digits, "softmax", recipe={"epochs": 1}), tmp_path / "tb"
    train(config, out=tmp_path / "run", tensorboard=logs)
    (logs / "run" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="contains curves") as caught:
        train(config, out=tmp_path / "other" / "run", tensorboard=logs)
    assert str(logs / "run") in caught.value.remedy and not (tmp_path / "other").exists()
    train(config, out=tmp_path / "run", force=True, tensorboard=logs)
    assert list(curve(read_events(logs / "run"), "epoch/lr")) == [1]
    assert (logs / "run" / "notes.txt").exists()


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


def test_a_folder_that_cannot_be_written_is_an_error(few_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be written"):
        train(train_config(few_digits), out=tmp_path / "run", tensorboard=tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the writer's thread
@pytest.mark.parametrize("whole_records", [5, 60])  # before the first step, and in the first epochs
def test_a_full_disk_costs_the_curves_and_not_the_run(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_records: int
) -> None:
    write, written = RecordWriter.write, 0

    def fill(writer: RecordWriter, content: bytes) -> None:
        nonlocal written
        written += 1
        if written > whole_records:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, content)

    monkeypatch.setattr(RecordWriter, "write", fill)
    events: list[Event] = []
    config = train_config(few_digits, "softmax")
    result = train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb", on_event=events.append)
    assert result.epochs == 3 and read_header(tmp_path / "run" / RESUME_FILE).training["result"]
    ended = [notice for notice in notices_of(events) if "curves for TensorBoard end here" in notice]
    assert len(ended) == 1 and "No space left" in ended[0]


def test_a_network_that_cannot_be_traced_is_trained_without_a_graph(
    few_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def untraceable(network: nn.Module, images: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise TypeError("the tracer cannot follow")
        return forward(network, images)

    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", untraceable)
    events: list[Event] = []
    config = train_config(few_digits, "softmax", recipe={"epochs": 1})
    train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb", on_event=events.append)
    assert any("no graph" in notice and "cannot follow" in notice for notice in notices_of(events))
    assert not read_events(tmp_path / "tb" / "run").Tags()["graph"]
    assert capsys.readouterr().out == ""


def test_lines_get_curves_histograms_of_weights_and_a_graph(line_folder: Path, tmp_path: Path) -> None:
    config = train_config(line_folder, "reader", recipe={"epochs": 1, "batch_size": 16})
    train(config, out=tmp_path / "run", tensorboard=tmp_path / "tb")
    tags = read_events(tmp_path / "tb" / "run").Tags()
    assert {"epoch/validation_accuracy", "step/loss"} <= set(tags["scalars"]) and tags["graph"]
    assert {tag.partition("/")[0] for tag in tags["histograms"]} == {"weights"}
