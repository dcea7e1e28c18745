from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from digitcli.errors import OutputError, UsageError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.evaluation.result_files import DIGIT_SUFFIXES, check_result_file, save_result
from tests.support.models import as_npz, pointing_digits, pointing_model


@pytest.fixture
def result(tmp_path: Path) -> EvaluationResult:
    data = as_npz(tmp_path / "set.npz", pointing_digits([3, 3, 5], [3, 5, 5]))
    return evaluate(str(pointing_model(tmp_path / "m.safetensors")), data, device="cpu")


def test_json_is_the_record(result: EvaluationResult, tmp_path: Path) -> None:
    save_result(tmp_path / "result.JSON", result)
    assert json.loads((tmp_path / "result.JSON").read_text()) == result.record()


def test_json_holds_robustness_and_ood(tmp_path: Path) -> None:
    data = as_npz(tmp_path / "set.npz", pointing_digits([3, 3, 5], [3, 5, 5]))
    model = str(pointing_model(tmp_path / "m.safetensors"))
    result = evaluate(model, data, device="cpu", robustness=True, ood=True)
    save_result(tmp_path / "result.json", result)
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["robustness"]["corruptions"][0]["name"] == "shot_noise"
    assert {row["name"] for row in saved["ood"]} >= {"noise", "letters"}


def test_csv_is_a_row_an_image(result: EvaluationResult, tmp_path: Path) -> None:
    save_result(tmp_path / "answers.csv", result)
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "index", "label", "predicted", "confidence", *(f"probability_{digit}" for digit in range(10)),
    ]  # fmt: skip
    assert [(row["index"], row["label"], row["predicted"]) for row in rows] == [
        ("0", "3", "3"), ("1", "3", "5"), ("2", "5", "5"),
    ]  # fmt: skip
    assert float(rows[1]["confidence"]) == float(rows[1]["probability_5"])
    assert sum(float(rows[1][f"probability_{digit}"]) for digit in range(10)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["result", "result.txt", "result.csv.gz", ".json"])
def test_other_forms_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--output"):
        check_result_file(tmp_path / name, DIGIT_SUFFIXES, force=False)


def test_a_file_that_is_there_is_replaced_by_force_alone(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        check_result_file(tmp_path / "result.json", DIGIT_SUFFIXES, force=False)
    check_result_file(tmp_path / "result.json", DIGIT_SUFFIXES, force=True)
    assert (tmp_path / "result.json").read_text() == "mine"


def test_an_output_that_can_never_be_written_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").write_text("")
    for path in ("folder.json", "missing/result.json", "file/result.json", "x" * 300 + ".csv"):
        with pytest.raises(OutputError):
            check_result_file(tmp_path / path, DIGIT_SUFFIXES, force=True)


def test_checking_leaves_nothing(tmp_path: Path) -> None:
    check_result_file(tmp_path / "result.csv", DIGIT_SUFFIXES, force=False)
    assert list(tmp_path.iterdir()) == []


def test_svg_shows_reliability_and_coverage(result: EvaluationResult, tmp_path: Path) -> None:
    save_result(tmp_path / "calibration.svg", result)
    picture = ElementTree.parse(tmp_path / "calibration.svg").getroot()
    texts = [text.text for text in picture.iter() if text.text]
    assert "confidence in %" in texts and "coverage in %" in texts
