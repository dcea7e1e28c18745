from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from digitcli.diagnosis.findings import Diagnosis, Finding
from digitcli.errors import InputError, ModelError
from digitcli.events import Event
from digitcli.inference.checkpoint import MODEL_FILE, read_checkpoint, write_checkpoint
from digitcli.reporting.page import Page, render
from digitcli.reporting.run import page_of_run
from digitcli.training.run_folder import CONFIG_FILE, METRICS_FILE


def ignore(event: Event) -> None:
    pass


@pytest.fixture
def copied(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))


def change_model(folder: Path, **changes: object) -> None:
    header, tensors = read_checkpoint(folder / MODEL_FILE)
    write_checkpoint(folder / MODEL_FILE, dataclasses.replace(header, **changes), tensors)  # type: ignore[arg-type]


def settings(page: Page) -> dict[str, tuple[str, bool]]:
    return {row.name: (row.value, row.is_changed) for row in page.values["settings"]}


def test_the_page_has_everything_that_a_repetition_needs(run_folder: Path) -> None:
    page = page_of_run(run_folder, ignore)
    environment = page.values["environment"]
    assert environment["architecture"] == "softmax" and environment["seed"] == "0"
    assert len(environment["digest of the dataset"]) == 64 and "version of torch" in environment
    assert settings(page)["epochs"] == ("2", True)
    assert settings(page)["augment"] == ("off", False) and settings(page)["dropout"][0] == "none"
    assert "affine" not in settings(page)  # it has no effect without augmentation
    assert len(page.values["epochs"]) == 2 and page.values["curves"] is not None
    low, high = page.values["interval"]
    assert low < page.values["header"].metrics["test_accuracy"] < high
    assert page.values["mistakes"][0].figures and page.values["note"] == ""


def test_findings_are_shown_where_there_is_a_diagnosis(run_folder: Path) -> None:
    finding = Finding("high_rate", "warning", "The loss <jumps>.", "Lower it.", "digitcli train --lr 0.001")
    page = page_of_run(run_folder, ignore, Diagnosis("run", findings=(finding,)))
    html = render(page)
    for text in ("Findings", "warning: high rate", "The loss &lt;jumps&gt;. Lower it.", "--lr 0.001"):
        assert text in html
    healthy = dataclasses.replace(page, values={**page.values, "diagnosis": Diagnosis("run")})
    assert "Nothing is wrong with the run." in render(healthy)
    unknown = dataclasses.replace(page, values={**page.values, "diagnosis": None})
    assert "Findings" not in render(unknown)


def test_a_fine_tuned_model_is_shown_with_its_start_model_and_what_it_forgot(copied: Path) -> None:
    metrics = {"test_accuracy": 0.9, "test_accuracy_before": 0.71, "original_accuracy": 0.98}
    figures = {**metrics, "original_accuracy_before": 0.993}
    change_model(copied, start={"model": "fast@0123abcd", "sha256": ""}, metrics=figures)
    page = page_of_run(copied, ignore)
    assert page.values["environment"]["started from"] == "fast@0123abcd"
    html = render(page)
    for text in ("fast@0123abcd", "71.00", "98.00", "99.30", "original data"):
        assert text in html


def test_an_unfinished_run_says_so(copied: Path) -> None:
    (copied / CONFIG_FILE).unlink()
    (copied / METRICS_FILE).unlink()
    change_model(copied, metrics={"validation_accuracy": 0.9}, recipe={}, dataset={"train": "many"})
    page = page_of_run(copied, ignore)
    assert (page.values["curves"], page.values["interval"], page.values["mistakes"]) == (None, None, [])
    assert "has not been finished" in render(page)


def test_mistakes_need_the_digits_of_the_training(copied: Path, other_digits: Path) -> None:
    config = (copied / CONFIG_FILE).read_text()
    for data, reason in (
        (str(other_digits), "has changed since the training"),
        ("none.npz", "There is no file"),
        ("svhn", "downloaded"),
    ):
        changed = json.loads(config)
        changed["config"]["data"] = data
        (copied / CONFIG_FILE).write_text(json.dumps(changed))
        page = page_of_run(copied, ignore)
        assert page.values["mistakes"] == [] and reason in page.values["note"]
    change_model(copied, task="page")
    page = page_of_run(copied, ignore)
    assert page.values["interval"] is None and "single digits only" in page.values["note"]
    assert "F-measure" in render(page)


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        (CONFIG_FILE, "[]", InputError),
        (CONFIG_FILE, "{", InputError),
        (METRICS_FILE, "epoch,lr\n1,2\n", ModelError),
        (METRICS_FILE, "epoch,lr\none,2\n", ModelError),
        (MODEL_FILE, "nothing", ModelError),
    ],
)
def test_damaged_files_are_named(copied: Path, file: str, content: str, error: type[Exception]) -> None:
    (copied / file).write_text(content)
    with pytest.raises(error, match=file):
        page_of_run(copied, ignore)
