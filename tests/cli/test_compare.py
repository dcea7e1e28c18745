"""`digitcli compare` as a person or a program meets it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from digitcli.cli import compare as command
from digitcli.cli.compare import CompareOptions
from digitcli.comparison.compare import Comparison
from digitcli.errors import OutputError, PartialInputError
from tests.support.comparisons import model_with
from tests.support.processes import Run

TWO = ("softmax:epochs=1", "softmax:epochs=6")


def test_a_table_for_people_and_records_for_programs(digitcli: Run, tmp_path: Path, few_digits: Path) -> None:
    shown = digitcli("compare", *TWO, "--seeds", "2", "--data", few_digits)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.splitlines()[0].startswith("1/4  softmax:epochs=1  seed 0  ")
    assert "softmax:epochs=6" in shown.stdout and "test images" in shown.stdout
    assert len(list((tmp_path / "runs" / "compare").iterdir())) == 4

    options = ("--seeds", "2", "--data", few_digits, "--format", "json", "--plot", "two.svg")
    again = digitcli("compare", *TWO, *options, "--save", "two.json")
    assert again.returncode == 0 and again.stderr.count("reused") == 4
    record = json.loads(again.stdout)
    assert [model["label"] for model in record["models"]] == list(TWO)
    assert all(model["latency_ms"] > 0 for model in record["models"])
    texts = [text.text for text in ElementTree.parse(tmp_path / "two.svg").iter()]
    assert all(any(label in (text or "") for text in texts) for label in TWO)
    assert record["best"] in TWO and record["images"] > 0 and isinstance(record["missed"], list)


def test_a_saved_comparison_is_shown_without_training(
    digitcli: Run, tmp_path: Path, few_digits: Path
) -> None:
    """Saved files alone say on which digits they are compared."""
    shutil.copy(few_digits, tmp_path / "my.npz")
    choice = ("--seeds", "2", "--data", "my.npz", "--split", "validation")
    first = digitcli("compare", *TWO, *choice, "--save", "two.json")
    assert first.returncode == 0, first.stderr
    again = digitcli("compare", "two.json", "--out", "none")
    assert again.returncode == 0 and "seed" not in again.stderr and "validation accuracy" in again.stdout
    assert first.stdout.splitlines()[1].split()[:4] == again.stdout.splitlines()[1].split()[:4]
    for arguments, code, words in (
        (("two.json", "--data", "mnist"), 2, "--data"),
        (("two.json", "--split", "test"), 2, "--split"),
        (("two.json", "--seeds", "3"), 2, "--seeds needs an architecture"),
        ((*TWO, "--data", few_digits, "--save", "two.json"), 7, "--force"),
    ):
        done = digitcli("compare", *arguments)
        assert done.returncode == code and words in done.stderr, done.stderr
    (tmp_path / "my.npz").unlink()
    lost = digitcli("compare", "two.json")
    assert lost.returncode == 3 and "with --data" in lost.stderr
    assert not (tmp_path / "none").exists()


def test_the_figures_are_shown_even_if_the_plot_cannot_be_written(
    tmp_path: Path, few_digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OutputError("The disk is full.", "")

    monkeypatch.setattr(command, "write_whole", full)
    with pytest.raises(OutputError):
        command.compare(
            CompareOptions(
                models=(TWO[0],), seeds=1, data=str(few_digits), runs=tmp_path, output=(tmp_path / "x.svg",),
                format="csv",
            )
        )  # fmt: skip
    assert capsys.readouterr().out.startswith("label,")


def test_unreadable_files_of_a_dataset_are_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for digit in range(10):
        (tmp_path / "set" / str(digit)).mkdir(parents=True)
        for number in range(14):
            pixels = np.zeros((28, 28), np.uint8)
            pixels[4:24, 3 + digit : 5 + digit + number // 5] = 255
            Image.fromarray(pixels).save(tmp_path / "set" / str(digit) / f"{number}.png")
    (tmp_path / "set" / "3" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(PartialInputError):
        command.compare(
            CompareOptions(
                models=("softmax:epochs=1",), seeds=2, data=str(tmp_path / "set"), runs=tmp_path / "runs"
            )
        )
    shown = capsys.readouterr()
    assert shown.err.count("Left out of") == 1 and "bad.png" in shown.err
    assert "25.00 %" in shown.out


def test_the_other_models_are_shown_when_one_diverges(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    wild = "mlp:epochs=1,optimizer=sgd,lr=1e30"
    done = digitcli("compare", TWO[0], wild, "--seeds", "1", "--data", few_digits, "--format", "csv")
    assert done.returncode == 9 and done.stdout.splitlines()[1].startswith(TWO[0])
    assert wild in done.stderr


def drawn(width: int, **worse: Any) -> tuple[list[str], list[str]]:
    """Return the lines of a table of two models, and the columns that are left out."""
    fields = {"parameters": 3_274_634, "macs": 13_900_000, "train_seconds": 65.0}
    models = (
        model_with("cnn", 0.9953, 0.9955, **fields),
        model_with("resnet:augment=off", 0.9943, 0.9941, **fields, **worse),
    )
    result = Comparison("mnist", "", "test", 10_000, models, "cnn", None, (), (), 0, np.zeros(3, np.int64))
    table, left_out = command._table(result, width)
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue().splitlines(), left_out


def test_a_narrow_terminal_loses_columns_but_no_name() -> None:
    worse = {"behind": 0.0012, "behind_low": 0.0001, "behind_high": 0.0023}
    for width in (40, 60, 80, 100, 200):
        lines, left_out = drawn(width, p=0.0456, **worse)
        assert max(map(len, lines)) <= width and "…" not in "".join(lines)
        assert "".join(line.split()[0] for line in lines[2:]) == "resnet:augment=off"
        assert "99.54 %" in lines[1] and ("p" in left_out) == (width < 80), left_out
    assert drawn(200, p=0.0, **worse)[0][2].rstrip().endswith("<1e-300")  # a probability that underflows


MISTAKES = {
    ("compare",): 2,
    ("compare", "cmm"): 2,
    ("compare", "cnn", "--seeds", "0"): 2,
    ("compare", "cnn", "--data", "none"): 2,
    ("compare", "cnn", "--device", "abacus"): 2,
    ("compare", "cnn", "-o", "zoo.png"): 2,
    ("compare", "cnn", "--force"): 2,
    ("compare", "none.json"): 3,
    ("compare", "fast:synthetic=1,fonts=none"): 3,
    ("compare", "none/model.safetensors"): 5,
    ("compare", "cnn", "--plot", "none/zoo.svg"): 7,
}


def test_a_mistake_has_its_exit_code_and_leaves_no_file(digitcli: Run, tmp_path: Path) -> None:
    for arguments, code in MISTAKES.items():
        done = digitcli(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and done.stdout == "" and not list(tmp_path.iterdir())
