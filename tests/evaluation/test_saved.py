from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.evaluate_lines import LineEvaluation, LineMistake
from digitcli.evaluation.saved import SavedEvaluation, parse_evaluation
from tests.support.models import as_npz, pointing_digits, pointing_model


@pytest.fixture
def record() -> dict[str, Any]:
    data = as_npz(Path("digits.npz"), pointing_digits([3, 3, 5], [3, 5, 5]))
    result = evaluate(str(pointing_model(Path("m.safetensors"))), data, device="cpu")
    saved: dict[str, Any] = json.loads(json.dumps(result.record()))
    return saved


def test_every_figure_of_an_evaluation_is_kept(record: dict[str, Any]) -> None:
    saved = parse_evaluation(record)
    assert isinstance(saved, SavedEvaluation) and saved.wrong == 1
    assert json.loads(json.dumps(dataclasses.asdict(saved))) == record


def test_every_figure_of_an_evaluation_of_lines_is_kept() -> None:
    mistake = LineMistake(1, "12", "17", 0.75)
    result = LineEvaluation(
        "reader@1", "mnist", "test", 2, 0.5, 0.1, 0.9, 0.25, 0.3, 0.2, "cpu", [mistake], [], [], []
    )
    saved = parse_evaluation(json.loads(json.dumps(result.record())))
    assert json.loads(json.dumps(dataclasses.asdict(saved))) == json.loads(json.dumps(result.record()))
    for change in ({"n": 0}, {"exact_match": 2.0}, {"cer": "none"}):
        with pytest.raises(ValueError):
            parse_evaluation(result.record() | change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"accuracy": -0.5}, "a fraction is -0.5"),
        ({"accuracy": "high"}, "accuracy"),
        ({"n": 4}, "does not add up to 4"),
        ({"confusion": [[0] * 10] * 9}, "10 rows of 10"),
        ({"confusion": [[-3] + [0] * 9] + [[0] * 10] * 9}, "does not add up"),
        ({"per_class": []}, "scores of 10 digits"),
        ({"reliability": []}, "no calibration"),
        ({"coverage": [{"coverage": 2, "accuracy": 1, "confidence": 1}]}, "a fraction is 2"),
        ({"ood": [{"name": "noise"}]}, "has no 'n'"),
    ],
    ids=str,
)
def test_figures_that_cannot_be_are_refused(
    record: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_evaluation(record | change)
