"""`digitcli compare` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from digitcli.cli import compare as command
from digitcli.errors import OutputError
from tests.conftest import Run

TWO = ("softmax:epochs=1", "softmax:epochs=6")


def test_a_table_for_people_and_records_for_programs(digitcli: Run, tmp_path: Path, few_digits: Path) -> None:
    shown = digitcli("compare", *TWO, "--seeds", "2", "--data", few_digits)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.splitlines()[0].startswith("1/4  softmax:epochs=1  seed 0  ")
    assert "softmax:epochs=6" in shown.stdout and "test images are read rightly by none" in shown.stdout
    assert len(list((tmp_path / "runs" / "compare").iterdir())) == 4

    options = ("--seeds", "2", "--data", few_digits, "--format", "json", "--picture", "two.svg")
    again = digitcli("compare", *TWO, *options)
    assert again.returncode == 0 and again.stderr.count("before") == 4
    record = json.loads(again.stdout)
    assert [model["label"] for model in record["models"]] == list(TWO)
    assert all(model["latency_ms"] > 0 for model in record["models"])
    texts = [text.text for text in ElementTree.parse(tmp_path / "two.svg").iter()]
    assert texts.count(TWO[0]) == 2 and "parameters" in texts and "milliseconds an image" in texts
    assert record["best"] in TWO and record["images"] > 0 and isinstance(record["missed"], list)


def test_a_picture_that_cannot_be_written_does_not_take_the_figures_with_it(
    tmp_path: Path, few_digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OutputError("The disk is full.", "")

    monkeypatch.setattr(command, "write_whole", full)
    with pytest.raises(OutputError):
        command.compare(
            [TWO[0]], seeds=1, data=str(few_digits), out=tmp_path, picture=tmp_path / "x.svg", format="csv"
        )
    assert capsys.readouterr().out.startswith("label,")


def test_files_that_could_not_be_used_are_named_once_and_end_with_their_code(
    digitcli: Run, tmp_path: Path
) -> None:
    for digit in range(10):
        (tmp_path / "set" / str(digit)).mkdir(parents=True)
        for number in range(14):
            pixels = np.zeros((28, 28), np.uint8)
            pixels[4:24, 3 + digit : 5 + digit + number // 5] = 255
            Image.fromarray(pixels).save(tmp_path / "set" / str(digit) / f"{number}.png")
    (tmp_path / "set" / "3" / "bad.png").write_bytes(b"no picture")
    done = digitcli("compare", "softmax:epochs=1", "--seeds", "2", "--data", "set")
    assert done.returncode == 4 and done.stderr.count("Left out of") == 1
    assert "softmax:epochs=1" in done.stdout


MISTAKES = {
    ("compare",): 2,
    ("compare", "cmm"): 2,
    ("compare", "cnn:epochs"): 2,
    ("compare", "cnn", "cnn"): 2,
    ("compare", "reader"): 2,
    ("compare", "cnn", "--seeds", "0"): 2,
    ("compare", "cnn", "--data", "none"): 2,
    ("compare", "cnn", "--device", "abacus"): 2,
    ("compare", "shipped/none"): 5,
    ("compare", "cnn", "--picture", "zoo.png"): 2,
    ("compare", "cnn", "--picture", "none/zoo.svg"): 7,
    ("compare", "none/model.safetensors"): 5,
    ("compare", "cnn", "--force"): 2,
    ("compare", "fast:drawn=1,fonts=none"): 3,
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_mistakes_end_with_their_code_and_leave_nothing(
    digitcli: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = digitcli(*arguments)
    assert done.returncode == MISTAKES[arguments], done.stderr
    assert "Traceback" not in done.stderr and done.stdout == "" and not list(tmp_path.iterdir())
