"""The figures of an evaluation, the digits that it takes, and the files that it writes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.loading import load_dataset
from digitcli.errors import InputError, ModelError, UsageError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate, save_result
from digitcli.evaluation.splits import MNIST_LABEL_ERRORS, groups_of_split
from digitcli.events import Event, ThingsDone
from digitcli.inference.model_resolution import resolve_model
from digitcli.training.configuration import TrainConfig
from digitcli.training.trainer import train
from tests.support.models import EVALUATION_KEYS, as_npz, pointing_digits, pointing_model

LABELS, ANSWERS = [3, 3, 3, 5, 5, 7], [3, 3, 5, 5, 5, 7]


def evaluated(tmp_path: Path, digits: Digits, **options: Any) -> EvaluationResult:
    model = pointing_model(tmp_path / "model.safetensors")
    return evaluate(str(model), as_npz(tmp_path / "set.npz", digits), device="cpu", **options)


def test_the_figures_by_hand_and_the_files_that_hold_them(tmp_path: Path) -> None:
    events: list[Event] = []
    result = evaluated(tmp_path, pointing_digits(LABELS, ANSWERS), on_event=events.append)
    assert events == [ThingsDone(6, 6)]
    assert (result.split, result.n, result.wrong, result.accuracy) == ("all", 6, 1, 5 / 6)
    assert (result.accuracy_low, result.accuracy_high) == pytest.approx((0.4365, 0.9699), abs=5e-5)
    confusion = np.array(result.confusion)
    assert (confusion[3, 3], confusion[3, 5], confusion[5, 5], confusion[7, 7]) == (2, 1, 2, 1)
    assert confusion.sum() == 6 and result.predicted.tolist() == ANSWERS
    five = result.per_class[5]
    assert (five.n, five.precision, five.recall, five.f1) == (2, 2 / 3, 1.0, pytest.approx(0.8))
    sure, other = result.probabilities[0, 3], result.probabilities[0, 0]
    assert sure + 9 * other == pytest.approx(1, abs=1e-6)
    assert result.nll == pytest.approx(-(5 * math.log(sure) + math.log(other)) / 6, abs=1e-5)
    assert result.ece == pytest.approx(abs(5 / 6 - sure), abs=1e-5)  # all are equally sure
    record = result.record()
    assert list(record) == EVALUATION_KEYS
    assert record["per_class"][0] == {"digit": 0, "precision": None, "recall": None, "f1": None, "n": 0}
    assert record["mistakes"][0].keys() == {"index", "label", "predicted", "confidence", "label_probability"}
    assert record["model"].startswith(f"{tmp_path.name}@") and record["device"] == "cpu"
    assert record["accuracy_without_label_errors"] is None  # known for the test digits of MNIST only
    for suffix in ("JSON", "csv", "svg"):
        save_result(tmp_path / f"result.{suffix}", result)
    assert json.loads((tmp_path / "result.JSON").read_text()) == record
    rows = list(csv.DictReader((tmp_path / "result.csv").read_text().splitlines()))
    columns = [f"probability_{digit}" for digit in range(10)]
    assert list(rows[0]) == ["index", "label", "predicted", "confidence", *columns]
    read = [(int(row["index"]), int(row["label"]), int(row["predicted"])) for row in rows]
    assert read == list(zip(range(6), LABELS, ANSWERS, strict=True))
    assert float(rows[2]["confidence"]) == float(rows[2]["probability_5"])
    assert sum(float(rows[1][column]) for column in columns) == pytest.approx(1, abs=1e-5)
    texts = [text.text for text in ElementTree.parse(tmp_path / "result.svg").iter() if text.text]
    assert "confidence in %" in texts and "coverage in %" in texts


def test_each_group_of_the_test_digits_has_its_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = pointing_digits(LABELS, ANSWERS)
    names = ("fog", "fog", "fog", "zigzag", "fog", "zigzag")
    dataset = Dataset("corrupted", digits, digits, test_groups=names)
    monkeypatch.setattr("digitcli.evaluation.evaluate.load_dataset", lambda data: dataset)
    model = str(pointing_model(tmp_path / "model.safetensors"))
    groups = evaluate(model, device="cpu").groups
    assert groups is not None
    assert [(group.name, group.n, group.accuracy) for group in groups] == [("fog", 4, 0.75), ("zigzag", 2, 1)]
    assert groups[0].accuracy_low < 0.75 < groups[0].accuracy_high
    of_all = evaluate(model, split="all", device="cpu")
    assert (of_all.n, of_all.groups) == (12, groups)
    assert groups_of_split(dataset, "train") == groups_of_split(Dataset("plain", digits), "all") == ()
    save_result(tmp_path / "answers.csv", of_all)
    rows = [row.split(",") for row in (tmp_path / "answers.csv").read_text().splitlines()]
    assert [row[-1] for row in rows] == ["group", *[""] * 6, *names]


def test_the_most_confident_mistakes_come_first_and_ties_stay_in_order(tmp_path: Path) -> None:
    digits = pointing_digits([1, 1, 1, 1, 1], [7, 7, 1, 8, 9], [100, 200, 255, 255, 100])
    for count, indices in ((0, []), (2, [3, 1]), (6, [3, 1, 0, 4])):
        mistakes = evaluated(tmp_path, digits, mistakes=count).mistakes
        assert [mistake.index for mistake in mistakes] == indices
    assert (mistakes[0].label, mistakes[0].predicted) == (1, 8)
    assert mistakes[0].confidence > 0.5 > 0.05 > mistakes[0].label_probability > 0


def test_several_models_answer_together(tmp_path: Path) -> None:
    data = as_npz(tmp_path / "set.npz", pointing_digits(LABELS, ANSWERS))
    names = [pointing_model(tmp_path / "a.safetensors"), "cnn"]
    together, *alone = (evaluate(models, data, device="cpu") for models in (names, names[0], names[1]))
    assert together.model.count("+") == 1 and together.model.startswith("a@")
    mean = (alone[0].probabilities + alone[1].probabilities) / 2
    np.testing.assert_allclose(together.probabilities, mean, atol=1e-5)
    assert np.abs(alone[0].probabilities - alone[1].probabilities).max() > 0.1


def test_a_run_is_evaluated_on_its_test_digits_with_the_figures_of_training(
    few_digits: Path, tmp_path: Path
) -> None:
    config = TrainConfig(arch="softmax", data=str(few_digits), device="cpu", recipe={"epochs": 2})
    trained = train(config, out=tmp_path / "run")
    result = evaluate(str(tmp_path / "run"), str(few_digits), device="cpu")
    assert (result.split, result.n, result.overlap) == ("test", round(600 / 7), 0)
    assert result.accuracy == trained.test_accuracy
    assert (result.nll, result.ece) == pytest.approx((trained.test_nll, trained.test_ece), abs=1e-5)


def test_wrong_arguments_raise_errors_of_their_kind(tmp_path: Path) -> None:
    one = as_npz(tmp_path / "set.npz", pointing_digits([1], [1]))
    for arguments, error, message in (
        ({"models": []}, UsageError, "No model"),
        ({"models": "cnm"}, ModelError, "no model 'cnm'"),
        ({"data": "mnits"}, UsageError, "no dataset"),
        ({"split": "half"}, UsageError, "no split 'half'"),
        ({"data": one, "split": "validation"}, InputError, "too few"),
    ):
        with pytest.raises(error, match=message) as caught:
            evaluate(**arguments)  # type: ignore[arg-type]
        assert caught.value.remedy
    assert caught.value.remedy == "Give --split all."


def test_the_shipped_models_are_as_good_as_their_headers_say(digits: Digits, tmp_path: Path) -> None:
    """Digits whose label is wrong are left out of one figure, but of MNIST's test digits only."""
    few = digits.take(np.arange(1000))
    result = evaluate("cnn", as_npz(tmp_path / "few.npz", few), device="cpu")
    assert (result.split, result.overlap) == ("all", 0)
    assert result.accuracy_high >= resolve_model("cnn").header.metrics["test_accuracy"]
    whole = evaluate("fast", device="cpu")
    assert whole.accuracy == resolve_model("fast").header.metrics["test_accuracy"]
    kept = np.delete(whole.predicted == whole.digits.labels, MNIST_LABEL_ERRORS)
    assert len(kept) == 9_985 and whole.accuracy_without_label_errors == pytest.approx(kept.mean())


def test_a_named_split_is_the_one_of_training(tmp_path: Path) -> None:
    digits = pointing_digits([index % 10 for index in range(84)], [0] * 84)
    model = str(pointing_model(tmp_path / "m.safetensors"))
    for test in (None, digits.take(np.arange(20))):
        data = as_npz(tmp_path / "set.npz", digits, test)
        for part in ("train", "validation", "test"):
            result = evaluate(model, data, split=part, device="cpu")  # type: ignore[arg-type]
            expected: Digits = getattr(split(load_dataset(data)), part)
            assert result.split == part and np.array_equal(result.digits.images, expected.images)


def test_the_default_split_is_what_no_model_was_trained_on(tmp_path: Path) -> None:
    model = str(pointing_model(tmp_path / "m.safetensors"))
    data = as_npz(tmp_path / "set.npz", pointing_digits([1] * 5, [1] * 5), pointing_digits([2] * 3, [2] * 3))
    by_itself, everything = evaluate(model, data), evaluate(model, data, split="all")
    assert (by_itself.split, by_itself.n) == ("test", 3)
    assert (everything.split, everything.digits.labels.tolist()) == ("all", [1] * 5 + [2] * 3)
    data = as_npz(tmp_path / "set.npz", pointing_digits([1] * 70, [1] * 70))
    knows, new = (
        str(pointing_model(tmp_path / f"{name}.safetensors", dataset={"digest": digest}))
        for name, digest in (("knows", load_dataset(data).digest), ("new", "0" * 64))
    )
    assert (evaluate(new, data).split, evaluate(new, data).n) == ("all", 70)
    assert (evaluate([new, knows], data).split, evaluate(knows, data).n) == ("test", 10)
