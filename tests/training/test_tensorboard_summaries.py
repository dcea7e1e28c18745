"""What TensorBoard shows of a network and of single digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from digitcli.training import tensorboard_summaries as summaries
from digitcli.training.digit_task import DigitTask
from digitcli.training.loop import take_step
from digitcli.training.setup import TrainingSetup, prepare
from digitcli.training.state import TrainingState
from digitcli.training.tensorboard_folder import PROJECTOR_FOLDER, PROJECTOR_TAG
from tests.support.training import train_config


class Recorder:
    """A writer that keeps the arguments of its calls by their tags."""

    def __init__(self) -> None:
        self.written: dict[str, tuple[Any, ...]] = {}

    def __getattr__(self, name: str) -> Any:
        def record(tag: str, *arguments: Any, **options: Any) -> None:
            self.written[tag] = arguments

        return record


def prepared(data: Path, arch: str = "mlp", **recipe: Any) -> tuple[TrainingSetup, TrainingState, DigitTask]:
    config = train_config(data, arch, recipe=recipe)
    setup, state = prepare(config, None, None, lambda event: None, lambda: None)
    assert isinstance(setup.task, DigitTask)
    return setup, state, setup.task


def test_the_inputs_are_those_that_the_network_saw_in_the_first_step(
    few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, state, task = prepared(few_digits, augment=True, elastic=0.5, mixup=0.2)
    seen: list[Tensor] = []
    handle = state.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    take_step(setup, state)
    handle.remove()
    writer: Any = Recorder()
    summaries.write_inputs(writer, task, setup.config.seed, epoch=1)
    images, epoch = writer.written["digits/training_inputs"]
    assert epoch == 1 and torch.equal(images, seen[0].clamp(0, 1))


def test_the_gradients_are_those_of_the_loss_and_the_network_stays_as_it_was(few_digits: Path) -> None:
    setup, state, task = prepared(few_digits, arch="softmax")
    writer: Any = Recorder()
    summaries.write_layers(writer, state.network, task, setup.recipe, epoch=2)
    images = torch.from_numpy(task.validation.images[: summaries.HISTOGRAM_DIGITS]).flatten(1) / 255
    labels = torch.from_numpy(task.validation.labels[: summaries.HISTOGRAM_DIGITS])
    weights = next(state.network.parameters())
    logits = next(values for tag, (values, _) in writer.written.items() if "Linear" in tag)
    errors = logits.softmax(dim=1) - F.one_hot(labels, 10)
    expected = errors.T @ ((images - 0.1307) / 0.3081) / len(labels)
    gradient, epoch = next(
        each for tag, each in writer.written.items() if tag.startswith("gradients/") and "weight" in tag
    )
    assert epoch == 2
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)
    assert weights.grad is None and weights.requires_grad


def test_the_activations_are_those_of_layers_without_parts(few_digits: Path) -> None:
    setup, state, task = prepared(few_digits, arch="lenet5")
    writer: Any = Recorder()
    summaries.write_layers(writer, state.network, task, setup.recipe, epoch=1)
    kinds = [tag.rpartition(" ")[2] for tag in writer.written if tag.startswith("activations/")]
    assert "Conv2d" in kinds and "Sequential" not in kinds


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_get_no_histogram(value: float) -> None:
    writer: Any = Recorder()
    tensors = {"good": torch.ones(3), "bad": torch.tensor([1.0, value]), "integers": torch.arange(3)}
    summaries.write_histograms(writer, "weights", tensors, epoch=1)
    assert list(writer.written) == ["weights/good"]


def test_a_confusion_matrix_is_blue_where_answers_are_right_and_orange_where_they_are_wrong() -> None:
    counts = np.zeros((10, 10), np.int64)
    counts[3, 3], counts[5, 8] = 7, 2
    picture = summaries.draw_confusion(counts)
    side = summaries.CELL_PX
    assert picture.shape == (11 * side, 11 * side, 3)

    def corner(row: int, column: int) -> list[int]:
        return picture[(row + 1) * side + 2, (column + 1) * side + 2].tolist()

    assert corner(3, 3) == summaries.RIGHT.tolist() and corner(5, 8) == summaries.WRONG.tolist()
    assert corner(8, 5) == [255, 255, 255]


def test_the_confusion_matrix_is_that_of_the_latest_validation(
    few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, state, task = prepared(few_digits)
    _, accuracy = task.validate(state.network)
    drawn: list[Any] = []
    monkeypatch.setattr(summaries, "draw_confusion", drawn.append)
    writer: Any = Recorder()
    summaries.write_confusion(writer, task, epoch=1)
    assert drawn[0].sum() == len(task.validation)
    assert drawn[0].trace() / drawn[0].sum() == pytest.approx(accuracy)


def test_features_have_a_row_a_label_an_answer_and_a_picture_for_each_digit(
    few_digits: Path, tmp_path: Path
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    _, state, task = prepared(few_digits)
    with SummaryWriter(str(tmp_path)) as writer:
        summaries.write_features(writer, state.network, task)
    folder = tmp_path / PROJECTOR_FOLDER / PROJECTOR_TAG
    vectors = np.loadtxt(folder / "tensors.tsv")
    assert vectors.shape == (len(task.validation), 512)
    header, *rows = (folder / "metadata.tsv").read_text().splitlines()
    assert header == "digit\tread as"
    assert [int(row.split("\t")[0]) for row in rows] == task.validation.labels.tolist()
    weights, biases = list(state.network.parameters())[-2:]
    logits = vectors @ weights.detach().numpy().T + biases.detach().numpy()
    assert np.mean(logits.argmax(axis=1) == [int(row.split("\t")[1]) for row in rows]) > 0.95
    assert (folder / "sprite.png").exists() and (tmp_path / "projector_config.pbtxt").exists()
    assert state.network.training is True
