"""`digitcli doctor` examines what it is given, and refuses options that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from digitcli import console
from digitcli.cli.doctor import draw
from digitcli.diagnosis.findings import Diagnosis, Finding
from digitcli.inference.model_resolution import shipped_models
from digitcli.training import trainer
from tests.support.processes import Run
from tests.support.training import train_config

ROOT = Path(__file__).parents[2]


def test_a_model_as_text_and_as_json(digitcli: Run) -> None:
    name = "a\x1b[31m.safetensors"  # a name cannot steer the terminal
    shutil.copy(shipped_models()["fast"], name)
    done = digitcli("doctor", name)
    assert done.returncode == 0 and "Nothing is wrong with the model a" in done.stdout
    assert "\x1b" not in done.stdout
    record = json.loads(digitcli("doctor", "fast", "--format", "json").stdout)
    assert record["subject"] == "model fast" and record["findings"] == []


def test_a_name_in_brackets_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("unreadable_files", "warning", "[red]a.png cannot be used.", "Repair [b].", "rm [red]a")
    console.show_table(draw(Diagnosis("dataset [bold]", findings=(finding,))))
    shown = capsys.readouterr().out
    assert all(text in shown for text in (finding.evidence, finding.remedy, "rm [red]a"))


def test_a_run_and_a_learning_rate_for_it(digitcli: Run, few_digits: Path, tmp_path: Path) -> None:
    config = train_config(few_digits, "softmax", recipe={"lr": 1e-7, "epochs": 9, "batch_size": 16})
    trainer.train(config, out=tmp_path / "run")
    assert "error: learning_rate_too_low" in digitcli("doctor", "run").stdout
    record = json.loads(digitcli("doctor", "run", "--lr-range", "--format", "json").stdout)
    assert record["findings"] == [] and record["facts"]["learning rate of the run"] == "1e-07"


def test_a_picture_with_its_label(digitcli: Run) -> None:
    done = digitcli("doctor", str(ROOT / "image.png"), "--label", "4")
    assert done.returncode == 0 and "Nothing is wrong with the picture" in done.stdout


def test_doubtful_labels_are_drawn_and_written(digitcli: Run, few_digits: Path) -> None:
    arrays = dict(np.load(few_digits))
    arrays["labels"][:20] = (arrays["labels"][:20] + 5) % 10
    np.savez("wrong.npz", **arrays)
    done = digitcli("doctor", "wrong.npz", "-o", "corrections.csv", "--save", "sheet.html")
    assert done.returncode == 0 and "label_errors" in done.stdout and ", rather " in done.stdout
    rows = Path("corrections.csv").read_text().splitlines()
    assert rows[0] == "part,index,label,given,suggestion,probability,error,file"
    words = " ".join(done.stdout.split())
    assert f"{len(rows) - 1} of 600 labels are doubtful" in words
    assert f"All {len(rows) - 1} are in corrections.csv; its column label is unchanged" in words
    assert "because the networks agree with only" in words
    assert digitcli("doctor", "wrong.npz", "-o", "corrections.csv").returncode == 7
    for file, code in (("sheet.pdf", 2), ("none/sheet.png", 7)):
        assert digitcli("doctor", "wrong.npz", "--save", file).returncode == code
    assert f"{len(rows) - 1} doubtful labels in the train part of wrong.npz" in Path("sheet.html").read_text()
    trained = digitcli(
        "train", "--data", "wrong.npz", "--corrections", "corrections.csv", "--dry-run", "-a", "softmax"
    )
    assert trained.returncode == 0
    assert "The corrections change nothing" in trained.stderr


def test_what_does_not_fit_is_refused(digitcli: Run) -> None:
    for arguments, words in (
        (("no-such-thing",), "no-such-thing is no run folder"),
        (("--label", "4"), "--label has no effect on the examination of the installation"),
        (("--device", "cpu"), "--device has no effect"),
        (("fast", "--label", "4"), "--label has no effect on the examination of a model"),
        (("fast", "--lr-range", "-o", "c.csv"), "--output has no effect on the examination of a learning"),
        (("fast", "--save", "sheet.png"), "--output has no effect on the examination of a model"),
        (("no_such_arch", "--lr-range"), "no_such_arch"),
        (("photo.jpg", "--label", "4x"), "--label"),
        (("photo.jpg", "--label", "\u0664"), "--label is"),  # an Arabic-Indic 4, which no model answers
        (("fast", "--device", "tpu"), "tpu"),
    ):
        done = digitcli("doctor", *arguments)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, arguments
