from __future__ import annotations

import dataclasses
import json
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.architectures.registry import resolve_recipe
from digitcli.diagnosis.findings import Diagnosis, Finding
from digitcli.errors import InputError, ModelError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.evaluation.splits import Split
from digitcli.events import Event
from digitcli.inference.checkpoint import CONFIG_FILE, MODEL_FILE, read_checkpoint, write_checkpoint
from digitcli.reporting import run as module
from digitcli.reporting.page import Page, render
from digitcli.reporting.run import _settings, page_of_run
from digitcli.training.run_folder import METRICS_FILE
from digitcli.training.trainer import train
from tests.support.training import train_config


def ignore(event: Event) -> None:
    pass


@pytest.fixture
def copied(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))


def change_model(folder: Path, **changes: object) -> None:
    header, tensors = read_checkpoint(folder / MODEL_FILE)
    write_checkpoint(folder / MODEL_FILE, dataclasses.replace(header, **changes), tensors)  # type: ignore[arg-type]


def settings(page: Page) -> dict[str, tuple[str, bool]]:
    return {row.name: (row.value, row.own) for row in page.values["settings"]}


def test_the_page_has_everything_that_a_repetition_needs(run_folder: Path) -> None:
    page = page_of_run(run_folder, ignore)
    environment = page.values["environment"]
    assert environment["architecture"] == "softmax" and environment["seed"] == "0"
    assert len(environment["digest of the dataset"]) == 64 and "version of torch" in environment
    assert settings(page)["epochs"] == ("2", str(resolve_recipe("softmax").epochs))
    assert settings(page)["augment"] == ("off", None)
    assert not {"affine", "dropout", "mixup", "freeze"} & settings(page).keys()  # without an effect, or off
    assert page.values["command"].startswith("digitcli train --arch softmax --data ")
    assert page.values["command"].endswith(" --epochs 2 --batch-size 64")
    assert page.values["command"] in unescape(render(page))
    assert page.values["explain"] is None  # the digits are not MNIST's
    assert len(page.values["epochs"]) == 2 and page.values["curves"] is not None
    low, high = page.values["interval"]
    assert low < page.values["header"].metrics["test_accuracy"] < high
    assert page.values["mistakes"][0].figures and page.values["note"] == ""
    wrong = page.values["evaluation"].wrong
    assert f"6 of {wrong} wrong answers on the 86 test digits are shown." in render(page)
    perfect = dataclasses.replace(page.values["evaluation"], n=10, confusion=np.identity(10, int).tolist())
    page = dataclasses.replace(page, values={**page.values, "evaluation": perfect, "mistakes": []})
    assert "No answer on the 10 test digits is wrong." in render(page)


def test_a_setting_that_the_run_turned_off_is_shown_beside_that_of_the_recipe(copied: Path) -> None:
    header = read_checkpoint(copied / MODEL_FILE)[0]
    recipe = dataclasses.asdict(resolve_recipe("mlp", warmup=0.0))
    own = str(resolve_recipe("mlp").warmup)
    changed = dataclasses.replace(header, architecture="mlp", recipe=recipe)
    rows = {row.name: row for row in _settings(changed, {"warmup": 0.0})}
    assert (rows["warmup"].value, rows["warmup"].own) == ("0.0", own) and own != "0.0"
    unknown = dataclasses.replace(header, architecture="gone", recipe={"lr": 0.1, "new": 1})
    owns = [(row.name, row.own) for row in _settings(unknown, {"lr": 0.1})]
    assert owns == [("lr", "not known"), ("new", None)]


def test_the_page_of_an_ensemble_names_its_members(few_digits: Path, tmp_path: Path) -> None:
    train(train_config(few_digits, "softmax", members=2, recipe={"epochs": 1}), out=tmp_path / "run")
    page = page_of_run(tmp_path / "run", ignore)
    assert page.values["environment"]["members"] == "softmax (seed 0), softmax (seed 1)"
    assert page.values["curves"] is None and page.values["mistakes"]
    assert "softmax (seed 1)" in render(page)


def test_findings_are_shown_where_there_is_a_diagnosis(run_folder: Path) -> None:
    finding = Finding("high_rate", "warning", "The loss <jumps>.", "Lower it.", "digitcli train --lr 0.001")
    page = page_of_run(run_folder, ignore, Diagnosis("run", findings=(finding,)))
    html = render(page)
    for text in ("Findings", "warning: high rate", "The loss &lt;jumps&gt;. Lower it.", "--lr 0.001"):
        assert text in html
    healthy = dataclasses.replace(page, values={**page.values, "diagnosis": Diagnosis("run")})
    assert "Nothing is wrong with the run." in render(healthy)
    assert "Findings" not in render(page_of_run(run_folder, ignore))


def test_the_mistakes_of_an_unfinished_run_are_on_the_validation_digits(
    copied: Path, few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_model(copied, metrics={"validation_accuracy": 0.9})
    expected = evaluate(copied, few_digits, split="validation")
    splits: list[str | None] = []

    def noted(*arguments: Any, split: Split | None = None, **options: Any) -> EvaluationResult:
        splits.append(split)
        return evaluate(*arguments, split=split, **options)

    monkeypatch.setattr(module, "evaluate", noted)
    page = page_of_run(copied, ignore)
    assert splits == ["validation"]
    assert [each.mistake for each in page.values["mistakes"]] == expected.mistakes != []
    html = " ".join(render(page).split())
    assert "its test digits are still unused" in html
    assert f"6 of {expected.wrong} wrong answers on the 43 validation digits are shown. The run has" in html


def test_a_fine_tuned_model_is_shown_with_its_start_model_and_what_it_forgot(copied: Path) -> None:
    metrics = {"test_accuracy": 0.9, "test_accuracy_before": 0.71, "original_accuracy": 0.98}
    figures = {**metrics, "original_accuracy_before": 0.993}
    change_model(copied, start={"model": "fast@0123abcd", "sha256": ""}, metrics=figures)
    page = page_of_run(copied, ignore)
    assert page.values["environment"]["started from"] == "fast@0123abcd"
    html = render(page)
    for text in ("fast@0123abcd", "71.00", "98.00", "99.30", "original data"):
        assert text in html


def test_a_run_of_which_little_is_known_is_reported(copied: Path) -> None:
    (copied / METRICS_FILE).unlink()
    change_model(copied, metrics={}, recipe={}, dataset={"train": "many"})
    assert page_of_run(copied, ignore).values["command"].startswith("digitcli train --arch softmax ")
    (copied / CONFIG_FILE).unlink()
    page = page_of_run(copied, ignore)
    assert page.values["command"] is None
    assert (page.values["curves"], page.values["interval"], page.values["mistakes"]) == (None, None, [])
    assert "has not been finished" in render(page)


def test_without_its_description_the_dataset_of_a_run_is_that_of_the_model(
    copied: Path, few_digits: Path
) -> None:
    described = page_of_run(copied, ignore)
    (copied / CONFIG_FILE).unlink()
    dataset = read_checkpoint(copied / MODEL_FILE)[0].dataset
    change_model(copied, dataset={**dataset, "name": str(few_digits)})
    page = page_of_run(copied, ignore)
    assert page.values["mistakes"] != [] and page.values["note"] == ""
    assert "Settings in bold were changed" in render(described)
    assert "bold" not in render(page)
    change_model(copied, dataset={**dataset, "name": "svhn"})
    assert "would have to be downloaded" in page_of_run(copied, ignore).values["note"]
    change_model(copied, dataset={})
    assert "does not name its dataset" in page_of_run(copied, ignore).values["note"]


def test_a_teacher_and_its_settings_are_shown_where_there_is_one(copied: Path) -> None:
    page = page_of_run(copied, ignore)
    assert "teacher" not in page.values["environment"] and "distillation_weight" not in settings(page)
    change_model(copied, teacher={"cnn@1a2b3c4d": "1a2b3c4d", "fast@5e6f7a8b": "5e6f7a8b"})
    page = page_of_run(copied, ignore)
    assert page.values["environment"]["teacher"] == "cnn@1a2b3c4d, fast@5e6f7a8b"
    assert "distillation_weight" in settings(page)
    assert "fast@5e6f7a8b" in render(page)


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
