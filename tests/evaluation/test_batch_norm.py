from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from digitcli.compression.folding import fold
from digitcli.data.corruptions import corrupt
from digitcli.data.dataset import Dataset, Digits, concatenate
from digitcli.errors import InputError, UsageError
from digitcli.evaluation import batch_norm
from digitcli.evaluation.batch_norm import adapted_logits
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.evaluation.export import save_result
from digitcli.evaluation.saved import SavedEvaluation, parse_evaluation
from digitcli.inference.checkpoint import write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import DigitClassifier, load_classifier
from digitcli.inference.torch_runtime import TorchRuntime, open_network
from digitcli.reporting.evaluation import page_of_evaluation
from digitcli.reporting.page import render
from digitcli.reporting.source import read_source
from tests.support.models import pointing_model

N = 150
GROUPS = ("fog",) * N + ("brightness",) * N


@pytest.fixture(scope="module")
def corrupted(digits: Digits) -> Digits:
    """The same digits under two corruptions."""
    few = digits.take(np.arange(N))
    return concatenate(*(Digits(corrupt(name, few.images), few.labels) for name in ("fog", "brightness")))


@pytest.fixture(scope="module")
def fast() -> DigitClassifier:
    return load_classifier("fast", device="cpu", runtime="torch")


def classifier_of(*layers: nn.Module) -> DigitClassifier:
    model = resolve_model(pointing_model(Path("m.safetensors")))
    return DigitClassifier([model], [TorchRuntime(nn.Sequential(nn.Flatten(), *layers).eval())])


def test_logits_are_those_by_the_mean_and_variance_of_the_images(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_norm, "BATCH_SIZE", 30)
    images = digits.images[:90]
    head = nn.Linear(784, 10)
    adapted = adapted_logits(classifier_of(nn.BatchNorm1d(784), nn.Dropout(0.9), head), images)
    batches = np.random.default_rng(batch_norm.SHUFFLE_SEED).permutation(90).reshape(3, 30)
    pixels = images.reshape(90, 784) / 255
    variances = np.mean([pixels[batch].var(axis=0, ddof=1) for batch in batches], axis=0)
    normalized = (pixels - pixels.mean(axis=0)) / np.sqrt(variances + 1e-5)
    expected = head(torch.from_numpy(normalized).float()).detach().numpy()
    np.testing.assert_allclose(adapted, expected, atol=1e-3)


def test_the_networks_of_the_classifier_stay_as_they_are(fast: DigitClassifier, corrupted: Digits) -> None:
    runtime = fast.runtimes[0]
    assert isinstance(runtime, TorchRuntime)
    before = {name: tensor.clone() for name, tensor in runtime.network.state_dict().items()}
    as_trained = fast.logits(corrupted.images)
    assert np.abs(adapted_logits(fast, corrupted.images, GROUPS) - as_trained).max() > 1
    after = runtime.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not any(layer.training for layer in runtime.network.modules())
    np.testing.assert_array_equal(fast.logits(corrupted.images), as_trained)


def test_each_group_is_adapted_to_by_itself(fast: DigitClassifier, corrupted: Digits) -> None:
    apart = [adapted_logits(fast, images) for images in np.split(corrupted.images, 2)]
    order = np.arange(2 * N).reshape(2, N).T.ravel()  # the groups take turns
    mixed = adapted_logits(fast, corrupted.images[order], [GROUPS[index] for index in order])
    np.testing.assert_array_equal(mixed, np.concatenate(apart)[order])
    assert np.abs(adapted_logits(fast, corrupted.images) - np.concatenate(apart)).max() > 0.1


def test_the_batch_size_of_the_evaluation_does_not_matter(fast: DigitClassifier, corrupted: Digits) -> None:
    small = load_classifier("fast", device="cpu", runtime="torch", batch_size=64)
    done: list[int] = []
    logits = adapted_logits(small, corrupted.images, GROUPS, done.append)
    np.testing.assert_allclose(logits, adapted_logits(fast, corrupted.images, GROUPS), atol=1e-4)
    assert done == [64, 128, N, N + 64, N + 128, 2 * N]


def test_every_model_of_an_ensemble_is_adapted(fast: DigitClassifier, corrupted: Digits) -> None:
    tiny, both = (
        load_classifier(*names, device="cpu", runtime="torch") for names in (["tiny"], ["fast", "tiny"])
    )
    alone = [torch.from_numpy(adapted_logits(each, corrupted.images)).softmax(-1) for each in (fast, tiny)]
    together = torch.from_numpy(adapted_logits(both, corrupted.images)).softmax(-1)
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2, atol=1e-5, rtol=0)


def test_networks_without_batch_normalization_and_groups_of_one_digit_are_refused(
    fast: DigitClassifier, corrupted: Digits
) -> None:
    with pytest.raises(UsageError, match="^cnn has no batch normalization"):
        evaluate(["fast", "cnn"], "none.npz", adapt_batch_norm=True)
    with pytest.raises(UsageError, match="--robustness judges the models as trained"):
        evaluate("fast", adapt_batch_norm=True, robustness=True)
    with pytest.raises(InputError, match="'zigzag' has one digit only"):
        adapted_logits(fast, corrupted.images, (*GROUPS[1:], "zigzag"))
    with pytest.raises(InputError, match="There is one digit only"):
        adapted_logits(fast, corrupted.images[:1])


def test_a_model_whose_batch_normalization_was_folded_names_the_original(tmp_path: Path) -> None:
    network, header = open_network(resolve_model("fast")), resolve_model("fast").header
    changes = fold(network)
    folded = dataclasses.replace(
        header, arguments={**header.arguments, "compression": changes}, start={"model": "fast@2bc71c68"}
    )
    write_checkpoint(tmp_path / "small.safetensors", folded, network.state_dict())
    with pytest.raises(UsageError, match="^Compression folded the batch normalization") as caught:
        evaluate(tmp_path / "small.safetensors", adapt_batch_norm=True)
    assert "(fast@2bc71c68)" in caught.value.remedy


@pytest.fixture
def result(corrupted: Digits, monkeypatch: pytest.MonkeyPatch) -> EvaluationResult:
    dataset = Dataset("corrupted", corrupted, corrupted, test_groups=GROUPS)
    for module in ("digitcli.evaluation.evaluate", "digitcli.reporting.mistakes"):
        monkeypatch.setattr(f"{module}.load_dataset", lambda data: dataset)
    return evaluate("fast", device="cpu", adapt_batch_norm=True)


def test_the_evaluation_has_the_accuracy_before_and_after(result: EvaluationResult) -> None:
    as_trained = evaluate("fast", device="cpu", runtime="torch")
    assert result.adaptation is not None and result.adaptation.transductive
    assert result.adaptation.accuracy_as_trained == as_trained.accuracy < result.accuracy - 0.2
    assert as_trained.adaptation is None and as_trained.groups is not None and result.groups is not None
    assert [each.accuracy_as_trained for each in result.groups] == [
        each.accuracy for each in as_trained.groups
    ]
    assert np.mean([each.accuracy for each in result.groups]) == pytest.approx(result.accuracy)


def test_saved_files_and_reports_say_that_the_model_was_adapted(result: EvaluationResult) -> None:
    for name in ("result.json", "answers.csv", "calibration.svg"):
        save_result(Path(name), result)
    saved = parse_evaluation(json.loads(Path("result.json").read_text()))
    assert isinstance(saved, SavedEvaluation) and saved.adaptation == result.adaptation
    rows = list(csv.DictReader(Path("answers.csv").read_text().splitlines()))
    before = np.array([int(row["predicted_as_trained"]) for row in rows])
    assert result.adaptation is not None
    assert (before == result.digits.labels).mean() == result.adaptation.accuracy_as_trained
    assert "Calibration of adapted fast@" in Path("calibration.svg").read_text()
    page = page_of_evaluation(saved, "result.json", read_source(Path("result.json")).digest)
    assert "transductive" in render(page) and "accuracy as trained" in render(page)
    assert "adapted to these digits" in page.values["note"] and page.values["explain"] is None


def test_statistics_take_smaller_batches_where_the_memory_does_not_suffice(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(nn.Module):
        """A layer that has no memory for more than 40 images."""

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 40:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return batch

    images = digits.images[:120]
    layers = (nn.BatchNorm1d(784), nn.Linear(784, 10))
    small = adapted_logits(classifier_of(Small(), *layers), images)
    monkeypatch.setattr(batch_norm, "BATCH_SIZE", 31)
    assert np.allclose(small, adapted_logits(classifier_of(*layers), images), atol=1e-4)
