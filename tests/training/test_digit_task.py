"""Training on single digits, with and without synthetic characters."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import create_model, resolve_recipe
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted, UsageError
from digitcli.inference.checkpoint import MODEL_FILE, read_checkpoint, read_header
from digitcli.inference.predictor import load_classifier
from digitcli.inference.torch_runtime import infer
from digitcli.synthesis.glyphs import hash_fonts
from digitcli.training.configuration import TrainConfig
from digitcli.training.digit_task import DigitTask, loss_function, squared_error
from digitcli.training.trainer import resume, train


def config(data: Path, fonts: Path | None = None, **recipe: Any) -> TrainConfig:
    return TrainConfig(
        arch="softmax",
        data=str(data),
        fonts=None if fonts is None else str(fonts),
        recipe={"epochs": 2, "batch_size": 64, "synthetic": 0.5, **recipe},
    )


def test_the_validation_loss_is_the_training_loss(few_digits: Path) -> None:
    dataset = load_dataset(str(few_digits))
    validation = split(dataset).validation
    for arch in ("sigmoid_mlp", "capsnet", "fast"):
        recipe = resolve_recipe(arch)
        task = DigitTask(TrainConfig(arch=arch), recipe, dataset, torch.device("cpu"))
        torch.manual_seed(0)
        network = create_model(arch)
        logits, labels = infer(network, validation.images), torch.from_numpy(validation.labels)
        assert task.validate(network)[0] == pytest.approx(float(loss_function(recipe)(logits, labels)))


def test_the_header_states_the_synthetic_characters_and_the_fonts(
    few_digits: Path, tmp_path: Path, fonts: Path
) -> None:
    train(config(few_digits, fonts), out=tmp_path / "run")
    header = read_header(tmp_path / "run" / MODEL_FILE)
    assert header.dataset["synthetic"] == round(0.5 * header.dataset["train"])
    assert header.dataset["fonts"] == hash_fonts(fonts)
    assert load_classifier(str(tmp_path / "run")).can_reject
    assert not load_classifier("cnn").can_reject
    assert not load_classifier("cnn", str(tmp_path / "run")).can_reject


def test_synthetic_characters_are_reproducible_and_change_the_weights(
    few_digits: Path, tmp_path: Path
) -> None:
    weights = []
    for number, drawn in enumerate((0.5, 0.5, 0.0001)):
        train(config(few_digits, synthetic=drawn), out=tmp_path / str(number))
        header, tensors = read_checkpoint(tmp_path / str(number) / MODEL_FILE)
        weights.append(tensors)
    first, again, other = weights
    assert header.dataset["synthetic"] == 1  # there is at least one
    assert all(first[name].equal(again[name]) for name in first)
    assert not all(first[name].equal(other[name]) for name in first)


def test_a_run_resumes_with_the_same_fonts_only(few_digits: Path, tmp_path: Path, fonts: Path) -> None:
    with pytest.raises(Interrupted):
        train(config(few_digits, fonts), out=tmp_path / "run", stop_signal=lambda: 2)
    moved = tmp_path / "moved"
    shutil.copytree(fonts, moved)
    with pytest.raises(UsageError, match="fonts are not those"):
        shutil.copy(fonts / "below" / "one.ttf", fonts / "two.ttf")
        resume(tmp_path / "run", {})
    resume(tmp_path / "run", {"fonts": str(moved)})
    train(config(few_digits, moved), out=tmp_path / "other")
    ours, theirs = (read_checkpoint(tmp_path / name / MODEL_FILE)[1] for name in ("run", "other"))
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_the_margin_loss_equals_a_calculation_by_hand() -> None:
    lengths = torch.tensor([[0.95, 0.05, 0.3], [0.5, 0.2, 0.0001]])
    expected = (0.5 * 0.2**2 + 0.4**2 + 0.5 * 0.1**2) / 2
    loss = loss_function(Recipe(loss="margin"))(lengths.logit(), torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_target_of_no_digit_is_ten_equal_probabilities() -> None:
    loss = loss_function(Recipe(synthetic=1))
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    of_none = loss(logits, torch.full((4,), 10))
    torch.testing.assert_close(of_none, -logits.log_softmax(dim=-1).mean())
    assert of_none > loss(torch.zeros(4, 10), torch.full((4,), 10))
    labels = torch.tensor([3, 0, 9, 9])
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels))
    smooth = loss_function(Recipe(synthetic=1, label_smoothing=0.1))
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(smooth(logits, labels), expected)
    torch.testing.assert_close(loss_function(Recipe(label_smoothing=0.1))(logits, labels), expected)


def test_squared_error_equals_its_definition() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    outputs = torch.sigmoid(logits)
    assert loss_function(Recipe(loss="squared_error")) is squared_error
    expected = 0.5 * ((outputs[0] - torch.tensor([0.0, 1.0])) ** 2).sum()
    expected += 0.5 * ((outputs[1] - torch.tensor([1.0, 0.0])) ** 2).sum()
    torch.testing.assert_close(squared_error(logits, torch.tensor([1, 0])), expected / 2)
    logits = torch.tensor([[7.0, -7.0]], dtype=torch.bfloat16, requires_grad=True)  # computed in float32
    squared_error(logits, torch.tensor([1])).backward()
    assert logits.grad is not None and logits.grad[0, 0].item() == pytest.approx(9.1e-4, rel=0.01)
