from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits
from digitcli.errors import ModelError, UsageError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.evaluation.result_files import save_result
from digitcli.evaluation.splits import groups_of_split
from digitcli.events import DigitsDone, Event, Notice
from digitcli.inference.model_resolution import resolve_model
from digitcli.training.configuration import TrainConfig
from digitcli.training.trainer import train
from tests.support.models import EVALUATION_KEYS, as_npz, pointing_digits, pointing_model

LABELS, ANSWERS = [3, 3, 3, 5, 5, 7], [3, 3, 5, 5, 5, 7]


def evaluated(tmp_path: Path, digits: Digits, **options: Any) -> EvaluationResult:
    model = pointing_model(tmp_path / "model.safetensors")
    return evaluate(str(model), as_npz(tmp_path / "set.npz", digits), device="cpu", **options)


def test_the_figures_by_hand(tmp_path: Path) -> None:
    result = evaluated(tmp_path, pointing_digits(LABELS, ANSWERS))
    assert (result.split, result.n, result.wrong, result.accuracy) == ("all", 6, 1, 5 / 6)
    assert result.accuracy_low == pytest.approx(0.4365, abs=5e-5)
    assert result.accuracy_high == pytest.approx(0.9699, abs=5e-5)
    confusion = np.array(result.confusion)
    assert (confusion[3, 3], confusion[3, 5], confusion[5, 5], confusion[7, 7]) == (2, 1, 2, 1)
    assert confusion.sum() == 6
    five = result.per_class[5]
    assert (five.n, five.precision, five.recall) == (2, 2 / 3, 1.0)
    assert five.f1 == pytest.approx(0.8)
    assert result.predicted.tolist() == ANSWERS


def test_each_group_of_the_test_digits_has_its_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = pointing_digits(LABELS, ANSWERS)
    dataset = Dataset(
        "corrupted", digits, digits, test_groups=("fog", "fog", "fog", "zigzag", "fog", "zigzag")
    )
    monkeypatch.setattr("digitcli.evaluation.evaluate.load_dataset", lambda data: dataset)
    model = str(pointing_model(tmp_path / "model.safetensors"))
    groups = evaluate(model, device="cpu").groups
    assert groups is not None
    assert [(group.name, group.n, group.accuracy) for group in groups] == [("fog", 4, 0.75), ("zigzag", 2, 1)]
    assert groups[0].accuracy_low < 0.75 < groups[0].accuracy_high
    of_all = evaluate(model, split="all", device="cpu")
    assert (of_all.n, of_all.groups) == (12, groups)
    assert of_all.digit_groups == ("",) * 6 + dataset.test_groups
    assert groups_of_split(dataset, "train") == groups_of_split(Dataset("plain", digits), "all") == ()
    save_result(tmp_path / "answers.csv", of_all)
    rows = [row.split(",") for row in (tmp_path / "answers.csv").read_text().splitlines()]
    assert [row[-1] for row in rows] == ["group", *of_all.digit_groups]


def test_nll_and_ece_follow_from_the_probabilities(tmp_path: Path) -> None:
    result = evaluated(tmp_path, pointing_digits(LABELS, ANSWERS))
    sure, other = result.probabilities[0, 3], result.probabilities[0, 0]
    assert sure + 9 * other == pytest.approx(1, abs=1e-6)
    assert result.nll == pytest.approx(-(5 * math.log(sure) + math.log(other)) / 6, abs=1e-5)
    assert result.ece == pytest.approx(abs(5 / 6 - sure), abs=1e-5)  # all are equally sure


def test_the_temperature_of_the_model_counts(tmp_path: Path) -> None:
    data = as_npz(tmp_path / "set.npz", pointing_digits([1, 2], [1, 2]))
    hot, cold = (
        evaluate(str(pointing_model(tmp_path / f"{temperature}.safetensors", temperature=temperature)), data)
        for temperature in (2.0, 1.0)
    )
    odds = [result.probabilities[0, 1] / result.probabilities[0, 0] for result in (hot, cold)]
    assert odds[0] == pytest.approx(math.sqrt(odds[1]), rel=1e-4)


@pytest.mark.parametrize(("count", "indices"), [(0, []), (2, [3, 1]), (6, [3, 1, 0, 4])])
def test_the_most_confident_mistakes_come_first_and_ties_stay_in_order(
    tmp_path: Path, count: int, indices: list[int]
) -> None:
    digits = pointing_digits([1, 1, 1, 1, 1], [7, 7, 1, 8, 9], [100, 200, 255, 255, 100])
    mistakes = evaluated(tmp_path, digits, mistakes=count).mistakes
    assert [mistake.index for mistake in mistakes] == indices
    if mistakes:
        assert (mistakes[0].label, mistakes[0].predicted) == (1, 8)
        assert mistakes[0].confidence > 0.5 > 0.05 > mistakes[0].label_probability > 0


def test_the_record_has_the_keys_of_the_design_and_is_plain(tmp_path: Path) -> None:
    record = evaluated(tmp_path, pointing_digits(LABELS, ANSWERS)).record()
    assert list(record) == EVALUATION_KEYS
    assert record["per_class"][0] == {"digit": 0, "precision": None, "recall": None, "f1": None, "n": 0}
    assert record["mistakes"][0].keys() == {"index", "label", "predicted", "confidence", "label_probability"}
    assert record["model"].startswith(f"{tmp_path.name}@") and record["device"] == "cpu"


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
    trained = train(
        TrainConfig(arch="softmax", data=str(few_digits), device="cpu", recipe={"epochs": 2}),
        out=tmp_path / "run",
    )
    result = evaluate(str(tmp_path / "run"), str(few_digits), device="cpu")
    assert (result.split, result.n, result.overlap) == ("test", round(600 / 7), 0)
    assert result.accuracy == trained.test_accuracy
    assert (result.nll, result.ece) == pytest.approx((trained.test_nll, trained.test_ece), abs=1e-5)


def test_events_report_the_progress(tmp_path: Path) -> None:
    events: list[Event] = []
    evaluated(tmp_path, pointing_digits(LABELS, ANSWERS), batch_size=4, on_event=events.append)
    assert events == [DigitsDone(4, 6), DigitsDone(6, 6)]


def test_unreadable_inputs_are_reported_and_counted(tmp_path: Path) -> None:
    images = np.zeros((4, 20, 20), np.uint8)
    images[:3, 5:15, 9:11] = 255
    events: list[Event] = []
    result = evaluated(tmp_path, Digits(images, np.ones(4, np.int64)), on_event=events.append)
    assert (result.n, result.unreadable) == (3, 1)
    assert any(isinstance(event, Notice) and "set.npz[3]" in event.message for event in events)


def test_wrong_arguments_raise_errors_of_their_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No model"):
        evaluate([])
    with pytest.raises(ModelError, match="no model 'cnm'"):
        evaluate("cnm")
    with pytest.raises(UsageError, match="no dataset"):
        evaluate("cnn", "mnits")
    with pytest.raises(UsageError, match="no split 'half'"):
        evaluate("cnn", split="half")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--mistakes"):
        evaluate("cnn", mistakes=-1)


def test_the_shipped_cnn_is_as_good_as_its_header_says(digits: Digits, tmp_path: Path) -> None:
    few = digits.take(np.arange(1000))
    result = evaluate("cnn", as_npz(tmp_path / "few.npz", few), device="cpu")
    assert (result.split, result.overlap) == ("all", 0)
    assert result.accuracy_high >= resolve_model("cnn").header.metrics["test_accuracy"]
