"""The selection of an ensemble: what is chosen, on which digits, and what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from digitcli.data.dataset import Digits
from digitcli.data.loading import load_dataset
from digitcli.errors import UsageError
from digitcli.evaluation.evaluate import evaluate, save_result
from digitcli.evaluation.metrics import nll
from digitcli.evaluation.selection import select_members
from digitcli.inference.checkpoint import read_header
from digitcli.inference.ctc import log_softmax
from digitcli.inference.model_resolution import resolve_models
from digitcli.recognition.models import complete_models
from tests.support.models import as_npz, saved
from tests.support.processes import Run

LABELS = np.arange(1000) % 10
SURE = 5.0  # the logit of the answer; the others are 0


def answers(right: npt.NDArray[np.bool_], logit: float = SURE) -> npt.NDArray[np.float32]:
    """Return log-probabilities (N, 10): the label is likely where `right` holds, the next digit elsewhere."""
    logits = np.zeros((len(LABELS), 10), np.float32)
    logits[np.arange(len(LABELS)), np.where(right, LABELS, (LABELS + 1) % 10)] = logit
    return log_softmax(logits)


def wrong_in(start: int, end: int) -> npt.NDArray[np.bool_]:
    places = np.arange(len(LABELS))
    return (places < start) | (places >= end)


def chosen_members(logs: list[npt.NDArray[np.float32]], count: int) -> list[int]:
    return [index for index, _, _ in select_members(logs, LABELS, count)]


def test_members_are_chosen_by_the_likelihood_of_their_average() -> None:
    """A member with other mistakes is preferred to a better one with the same; of equal ones, the first."""
    best, copy, other = (answers(wrong_in(*places)) for places in ((0, 50), (0, 52), (500, 570)))
    assert chosen_members([copy, other, best], 2) == [2, 1]
    assert chosen_members([copy, other, best], 3) == [2, 1, 0]
    timid, bold = (answers(wrong_in(0, 100), logit) for logit in (1.0, 3.5))
    assert nll(bold, LABELS) < nll(timid, LABELS)
    assert chosen_members([timid, bold], 1) == [1]
    assert chosen_members([best, best, best], 3) == [0, 1, 2]


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Four untrained models, whose answers and temperatures differ."""
    return [
        str(saved(tmp_path / f"m{seed}.safetensors", seed=seed, temperature=2.0 - seed / 3))
        for seed in range(4)
    ]


def chosen_of(models: list[str], data: Digits, test: Digits, path: Path) -> list[str]:
    result = evaluate(models, as_npz(path, data, test), select=2, device="cpu")
    assert result.selection is not None and result.split == "test" and result.n == len(test)
    return [addition.model for addition in result.selection.additions]


def test_the_test_digits_play_no_part_in_the_choice(
    models: list[str], digits: Digits, tmp_path: Path
) -> None:
    train, test = digits.take(np.arange(600)), digits.take(np.arange(600, 700))
    relabelled = Digits(test.images, (test.labels + 1) % 10)
    chosen = chosen_of(models, train, test, tmp_path / "a.npz")
    assert chosen == chosen_of(models, train, relabelled, tmp_path / "b.npz")
    other = Digits(train.images, (train.labels + 1) % 10)
    assert chosen != chosen_of(models, other, test, tmp_path / "c.npz")


def test_each_addition_is_measured(models: list[str], few_digits: Path) -> None:
    selection = evaluate(models, str(few_digits), select=3, device="cpu").selection
    assert selection is not None and selection.n == 43
    results = [evaluate(name, str(few_digits), split="validation", device="cpu") for name in models]
    by_model = {result.model: result for result in results}
    for each in selection.additions:
        assert each.alone_accuracy == by_model[each.model].accuracy
        assert each.alone_nll == pytest.approx(by_model[each.model].nll, rel=1e-5)
    assert {*selection.left_out} == by_model.keys() - {each.model for each in selection.additions}
    first, *_, last = selection.additions
    assert (first.accuracy, first.nll) == (first.alone_accuracy, first.alone_nll)
    assert first.nll == pytest.approx(min(result.nll for result in results), rel=1e-5)
    paths = {Path(name).stem: name for name in models}
    names = [paths[each.model.partition("@")[0]] for each in selection.additions]
    together = evaluate(names, str(few_digits), split="validation", device="cpu")
    assert last.accuracy == together.accuracy and last.nll <= together.nll


def test_the_written_model_answers_as_the_selection_did(
    models: list[str], few_digits: Path, tmp_path: Path
) -> None:
    """Its accuracies are kept only if the members were trained on the dataset of the evaluation."""
    result = evaluate(models, str(few_digits), select=2, device="cpu")
    path = tmp_path / "chosen.safetensors"
    save_result(path, result)
    written = evaluate(path, str(few_digits), split="test", device="cpu")
    assert (written.n, written.accuracy) == (result.n, result.accuracy)
    assert (written.nll, written.ece) == pytest.approx((result.nll, result.ece), rel=1e-4)
    assert result.selection is not None and read_header(path).temperature == result.selection.temperature
    uncalibrated = evaluate([model.path for model in result.models], str(few_digits), split="test")
    assert abs(uncalibrated.nll - result.nll) > 1e-3
    assert "test_accuracy" not in read_header(path).metrics
    dataset = {"digest": load_dataset(str(few_digits)).digest}
    own = [saved(tmp_path / f"{seed}.safetensors", seed=seed, dataset=dataset) for seed in (0, 1)]
    result = evaluate(own, str(few_digits), select=2, device="cpu")
    save_result(path, result)
    assert read_header(path).metrics["test_accuracy"] == result.accuracy


def test_a_selection_that_cannot_be_meant_is_refused(
    models: list[str], few_digits: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(models[0], tmp_path / "copy.safetensors")
    for names, options, cause in (
        (models, {"select": 0}, "--select is 0, but the command names 4 models"),
        (models, {"select": 5}, "--select is 5, but the command names 4 models"),
        (models, {"select": 2, "split": "validation"}, "cannot judge the choice"),
        (models, {"select": 2, "split": "all"}, "cannot judge the choice"),
        ([*models, models[1]], {"select": 2}, "is named twice"),
        ([*models, copy], {}, "is the same model as"),
    ):
        with pytest.raises(UsageError, match=cause) as caught:
            evaluate(names, str(few_digits), device="cpu", **options)  # type: ignore[arg-type]
    assert caught.value.remedy == "Name each model once."
    with pytest.raises(UsageError, match="fast is named twice"):
        complete_models(resolve_models(["fast", "cnn", "fast"]))


def test_the_command_says_what_each_model_adds_and_writes_the_ensemble(
    digitcli: Run, models: list[str], few_digits: Path, tmp_path: Path
) -> None:
    command = ["evaluate", *models, "--data", few_digits, "--device", "cpu", "--select", "2"]
    done = digitcli(*command, "--format", "json", "-o", "chosen.safetensors")
    record = json.loads(done.stdout)
    additions = record["selection"]["additions"]
    assert additions[0].keys() == {"model", "alone_accuracy", "alone_nll", "accuracy", "nll"}
    assert record["model"] == "+".join(each["model"] for each in additions)
    assert read_header(tmp_path / "chosen.safetensors").architecture == "ensemble"
    table = digitcli(*command, "-o", "chosen.safetensors", "--force").stdout
    assert "models chosen on 43 validation digits" in table and f"{additions[1]['nll']:.4f}" in table
    assert record["selection"]["left_out"][0] in table
    for arguments, cause in (
        (["cnn", "fast", "--out", "x.safetensors"], "--output is 'x.safetensors'"),
        (["cnn", "fast", "--select", "2", "--out", "x.onnx"], "--output is 'x.onnx'"),
        (["reader", "--select", "1"], "not for lines"),
    ):
        done = digitcli("evaluate", *arguments)
        assert done.returncode == 2 and cause in done.stderr, done.stderr
