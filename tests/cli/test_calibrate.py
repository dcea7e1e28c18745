"""`digitcli calibrate` finds a threshold, and `digitcli predict` reads with the model that it wrote."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from digitcli.data.dataset import Digits
from digitcli.inference.model_resolution import shipped_models
from digitcli.synthesis.scenes import scene_composer
from tests.support.pictures import drawn, encoded
from tests.support.predictions import records
from tests.support.processes import Run

LOOSE = ("--max-error", "0.2", "--confidence", "0.78")  # 7 right answers suffice
PICTURES = 40
KEYS = {
    "folder", "model", "max_error", "confidence", "pictures", "unreadable", "unlabelled", "answers",
    "threshold", "answered", "wrong", "p_value", "share_answered", "guarantee", "least_answers",
    "first_answers", "groups", "groups_with_wrong", "more_pictures", "tests", "failures", "copies", "output",
}  # fmt: skip


@pytest.fixture(scope="module")
def composed(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of composed pictures of numbers, some of them hard, and their labels."""
    folder = tmp_path_factory.mktemp("composed")
    composer = scene_composer(digits, "train")
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "text"])
        for number in range(PICTURES):
            scene = composer.line(np.random.default_rng([7, number]))
            cv2.imwrite(str(folder / f"{number}.png"), scene.picture)
            rows.writerow([f"{number}.png", "".join(label.text for label in scene.labels)])
    return folder


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """A folder of ten digits."""
    folder = tmp_path / "ten"
    folder.mkdir()
    for digit in "0123456789":
        (folder / f"{digit}.png").write_bytes(encoded(drawn(digit)))
    (folder / "labels.csv").write_text(
        "file,text\n" + "".join(f"{digit}.png,{digit}\n" for digit in range(10))
    )
    return folder


def test_predict_uses_the_proven_threshold_and_reads_as_before(
    digitcli: Run, predict: Run, composed: Path
) -> None:
    strict = ("--max-error", "0.3", "--confidence", "0.6")
    done = digitcli("calibrate", composed, *strict, "-o", "my.safetensors", "--format", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() == KEYS
    assert result["output"] == "my.safetensors" and result["pictures"] == PICTURES
    assert 0 < result["answered"] < result["answers"] <= PICTURES
    names = sorted(map(str, composed.glob("*.png")))
    common = ("--format", "jsonl", "--device", "cpu")
    before = records(predict(*names, *common, "--min-confidence", "0"))
    mine = predict(*names, "-m", "my.safetensors", "--max-error", "0.3", *common)
    assert "calibrated" not in mine.stderr and "my.safetensors guarantees that at most 30 %" in mine.stderr
    assert "at most 30 % of the answers are wrong" in unwrapped(digitcli("models", "my.safetensors").stdout)
    changed = 0
    for old, new in zip(before, records(mine), strict=True):
        assert [model.split("@")[0] for model in new["model"].split("+")] == [
            "finder", "my", "grouper", "glance",
        ]  # fmt: skip
        assert (old["text"], old["raw"], old["confidence"]) == (new["text"], new["raw"], new["confidence"])
        is_sure = [number["confidence"] >= result["threshold"] for number in new["numbers"]]
        if old["status"] == "read":
            assert (new["status"] == "read") == all(is_sure)
            changed += not all(is_sure)
        else:
            assert new["status"] == old["status"]
    assert sum(record["status"] == "read" for record in records(mine)) == result["answered"]
    assert changed == result["answers"] - result["answered"] > 0
    default = predict(*names[:8], "-m", "my.safetensors", *common)
    assert "my.safetensors guarantees that at most 30 %" in default.stderr
    assert records(default) == records(mine)[:8]


def test_without_a_file_the_threshold_is_an_option(digitcli: Run, predict: Run, ten: Path) -> None:
    done = digitcli("calibrate", ten, "-m", "cnn", *LOOSE)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    threshold = words[words.index("--min-confidence") + 1]
    shown = unwrapped(done.stdout)
    assert "-m cnn --min-confidence" in shown and "10 of 10 pictures, 100.00 %" in shown
    assert "Without --max-error" not in shown
    read = records(
        predict(*ten.glob("*.png"), "-m", "cnn", "--min-confidence", threshold, "--format", "jsonl")
    )
    assert {record["status"] for record in read} == {"read"}


def unwrapped(text: str) -> str:
    """Return a text as it is where the terminal is wide."""
    return " ".join(text.split())


def test_several_models_are_named_again_beside_the_one_that_was_written(
    digitcli: Run, predict: Run, ten: Path
) -> None:
    done = digitcli("calibrate", ten, "-m", "cnn", "-m", "fast", *LOOSE, "-o", "my.safetensors")
    assert unwrapped(done.stdout).endswith("use digitcli predict PICTURES -m my.safetensors -m fast")
    arguments = (ten / "1.png", "-m", "my.safetensors", "--max-error", "0.2")
    assert "calibrated" not in predict(*arguments, "-m", "fast").stderr
    assert "together with other models" in predict(*arguments).stderr
    assert "without constraints" in predict(*arguments, "-m", "fast", "--single-digit").stderr


def test_too_few_pictures_miss_the_gate_and_the_needed_number_is_said(digitcli: Run, ten: Path) -> None:
    done = digitcli("calibrate", ten, "-m", "cnn", "-o", "my.safetensors")
    assert done.returncode == 8
    shown = unwrapped(done.stdout)
    assert "at least 299 answers" in shown and "give only 10" in shown
    assert "Label about" in done.stderr and "a confidence level of 95 %" in done.stderr
    assert "too few pictures" in done.stderr and "another model" not in done.stderr
    assert not Path("my.safetensors").exists()
    result = json.loads(digitcli("calibrate", ten, "-m", "cnn", "--format", "json").stdout)
    assert result["threshold"] is result["p_value"] is result["output"] is None
    assert result["least_answers"] == 299 and result["more_pictures"] > 289


def test_wrong_labels_miss_the_gate_and_groups_are_mentioned(digitcli: Run, ten: Path) -> None:
    table = ten / "labels.csv"
    table.write_text("file,text\n" + "".join(f"{digit}.png,77\n" for digit in range(10)))
    done = digitcli("calibrate", ten, "-m", "cnn", *LOOSE)
    assert done.returncode == 8 and "answers are wrong" in unwrapped(done.stdout)
    assert "another model" in done.stderr and "Label about" not in done.stderr
    rows = "".join(f"{digit}.png,{digit},{digit % 3}\n" for digit in range(9))
    table.write_text("file,text,group\n" + rows)
    done = digitcli("calibrate", ten, "-m", "cnn", *LOOSE)
    assert done.returncode == 0
    shown = unwrapped(done.stdout)
    assert "3, of which 0 have wrong answers" in shown and "of the same groups" in shown
    assert "1 picture in" in done.stderr and "without a label" in done.stderr


def test_some_failures_have_exit_code_4_and_only_failures_3(digitcli: Run, ten: Path) -> None:
    (ten / "0.png").unlink()
    (ten / "1.png").write_text("no picture")
    first, second = (Image.fromarray(drawn(digit)) for digit in "22")
    first.save(ten / "2.png", "TIFF", save_all=True, append_images=[second])
    done = digitcli("calibrate", ten, "-m", "cnn", *LOOSE, "--format", "json")
    assert done.returncode == 4 and "0.png" in done.stderr and "1.png" in done.stderr
    result = json.loads(done.stdout)
    assert [(failure["file"], failure["reason"]) for failure in result["failures"]] == [
        ("0.png", "not_found"), ("1.png", "not_an_image"), ("2.png", "unsupported_format"),
    ]  # fmt: skip
    assert result["pictures"] == 7 and result["unreadable"] == 3
    for path in ten.glob("*.png"):
        path.unlink()
    assert digitcli("calibrate", ten, "-m", "cnn").returncode == 3
    shutil.rmtree(ten)
    assert digitcli("calibrate", ten).returncode == 3


def test_options_are_checked_before_anything_is_read(digitcli: Run, ten: Path) -> None:
    Path("old.safetensors").write_bytes(b"old")
    Path("link.safetensors").symlink_to(shipped_models()["cnn"])
    for arguments, code, message in [
        (["--confidence", "95"], 2, "--confidence is 95"),
        (["--max-error", "0%"], 2, "--max-error is 0"),
        (["--confidence", "100%"], 2, "--confidence is 1"),
        (["--max-error", "0"], 2, "--max-error is 0"),
        (["--force"], 2, "--output"),
        (["-o", "my.onnx"], 2, "my.onnx"),
        (["-o", "old.safetensors"], 7, "--force"),
        (["-o", "link.safetensors", "--force"], 7, "shipped model"),
        (["-o", str(shipped_models()["reader"]), "--force"], 7, "shipped model"),
        (["--device", "abacus"], 2, "abacus"),
        (["-m", "nothing"], 5, "nothing"),
    ]:
        done = digitcli("calibrate", ten, *arguments)
        assert done.returncode == code and message in done.stderr
    assert Path("old.safetensors").read_bytes() == b"old"
