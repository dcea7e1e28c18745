"""`digitcli compress` as a person or a program meets it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from digitcli.cli.compress import show_compression
from digitcli.compression import compressor, results
from digitcli.compression.results import CompressionResult, Goals, TriedModel, draw_pareto
from digitcli.data.dataset import Digits
from digitcli.training.run_folder import existing_run
from tests.support.benchmarks import measure_quickly
from tests.support.models import saved
from tests.support.processes import Run


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    """Time few calls."""
    measure_quickly(monkeypatch, digits)
    for name in ("WARM_UP_SECONDS", "MIN_SECONDS"):
        monkeypatch.setattr(compressor, name, 0.0)
    monkeypatch.setattr(compressor, "ROUNDS", 2)
    monkeypatch.setattr(compressor, "BATCH_SIZES", {"digit": 8})


def test_a_table_json_and_a_model_for_the_other_commands(digitcli: Run, other_digits: Path) -> None:
    pytest.importorskip("onnxscript")
    arguments = ("compress", "fast", "--steps", "fold,int8", "--data", other_digits, "-o", "small")
    shown = digitcli(*arguments)
    assert shown.returncode == 0, shown.stderr
    assert "fold,int8 *" in shown.stdout and "times smaller than fast@" in shown.stdout
    assert "µs (range)" in shown.stdout
    assert re.search(r"1 of 2: fold\n2 of 2: fold,int8  \(0:\d\d so far, about 0:\d\d left\)\n", shown.stderr)
    record = json.loads(digitcli(*arguments, "--format", "json").stdout)
    assert [each["steps"] for each in record["tried"]] == ["original", "fold", "fold,int8"]
    assert {each["runtime"] for each in record["tried"][2]["speeds"]} >= {"torch", "onnxruntime"}
    assert record["chosen"] == 2 and 2 in record["front"]
    of_test = ("--data", other_digits, "--split", "test", "--format", "json")
    evaluated = json.loads(digitcli("evaluate", "small", *of_test).stdout)
    assert evaluated["accuracy"] == record["test"]["accuracy"]
    assert evaluated["model"].startswith("small-int8@")
    assert f"small ({evaluated['model']})" in digitcli("models", "small").stdout
    (_, *rows) = digitcli(*arguments, "--format", "csv").stdout.splitlines()
    assert [row.split(",")[0].strip('"') for row in rows] == ["original", "fold", "fold"]
    for command in (
        ("models", "small"),
        ("benchmark", "--arch", "small", "--batch-size", "1"),
        ("compare", "small", "shipped/fast", "--data", other_digits),
    ):
        done = digitcli(*command)
        assert done.returncode == 0, done.stderr
    described = digitcli("models", "small").stdout
    assert "batch normalization folded, inputs of layers in 8 bits, weights in 8 bits" in " ".join(
        described.split()
    )


@pytest.mark.parametrize(
    ("validation", "test", "change"),
    [
        (0.9968, 0.9961, "unchanged on the validation digits, unchanged on the test digits"),
        (0.9968, 0.9963, "unchanged on the validation digits, higher by 0.02 points on the test digits"),
        (
            0.9868,
            0.9960,
            "lower by 1.00 points on the validation digits, lower by 0.01 points on the test digits",
        ),
    ],
)
def test_the_change_of_the_accuracy_is_told_in_words(
    validation: float, test: float, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = (
        TriedModel(steps, "", accuracy, 0.9, 1, None, 9, 9, 9, 9)
        for steps, accuracy in (("original", 0.9968), ("int8", validation))
    )
    tested, tested_before = (results.TestResult(accuracy, 0.9, 1, None) for accuracy in (test, 0.9961))
    show_compression(
        CompressionResult(
            "tiny@1", "f", "f/m", Goals(), "digit", 5000, (before, after), 1, tested, tested_before
        )
    )
    assert f"accuracy {change}" in " ".join(capsys.readouterr().out.split())  # wherever lines are broken


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fast",), 2, "Neither steps nor goals are given"),
        (("fast", "--steps", "int8", "--max-size", "9kB"), 2, "Steps and goals are given"),
        (("fast", "--steps", "shrink"), 2, "There is no step 'shrink'"),
        (("fast", "--max-size", "big"), 2, "--max-size is 'big'"),
        (("fast", "--max-size", "64"), 2, "with its unit, such as 900B, 64kB"),
        (("fast", "--max-accuracy-loss", "-1"), 2, "--max-accuracy-loss is '-1'"),
        (("fast", "--max-accuracy-loss", "101%"), 2, "0.3 or 0.3% allows 99.2 %"),
        (("fast", "--max-accuracy-loss", "little"), 2, "--max-accuracy-loss is 'little'"),
        (("fist", "--steps", "int8"), 5, "There is no model 'fist'"),
        (("finder", "--steps", "distill=tiny"), 2, "Teachers are for single digits"),
        (("fast", "--steps", "int8", "--data", "no.npz"), 3, "no.npz"),
        (("fast", "--steps", "int8", "-o", "there"), 7, "there holds other files"),
    ],
)
def test_mistakes_have_an_exit_code(
    digitcli: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    Path("there").mkdir()
    Path("there", "notes.txt").touch()
    failed = digitcli("compress", *arguments)
    assert failed.returncode == code and message in failed.stderr, failed.stderr
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.safetensors"))


def test_missed_goals_show_what_was_tried(digitcli: Run, other_digits: Path) -> None:
    saved(Path("softmax.safetensors"))
    missed = digitcli(
        "compress", "softmax.safetensors", "--max-size", "900B", "--max-accuracy-loss", "0.3%",
        "--epochs", "0", "--data", other_digits, "-o", "small",
    )  # fmt: skip
    assert missed.returncode == 8, missed.stderr
    assert "original" in missed.stdout and "small/pareto.svg" in missed.stdout
    assert "No model reaches a loss of 0.3 points or less and 900 bytes or less" in missed.stderr


def test_an_impossible_size_names_the_smallest_one() -> None:
    tried = TriedModel("original", "", 0.99, 0.9, 1, None, 4_296, 9, 9, 9)
    goals = Goals(max_bytes=100)
    missed = CompressionResult("tiny@1", "f", None, goals, "digit", 5, (tried,), None, None, None)
    assert "The smallest, original, has 4,296 bytes of weights." in missed.missed()[0]
    computed = replace(missed, computed_bytes={"prune=0.95,int4": 315, "int8": 1_168})
    cause, remedy = computed.missed()
    assert cause == (
        "No model reaches 100 bytes or less. The smallest, prune=0.95,int4, has 315 bytes of weights."
    )
    assert "--max-size 315B" in remedy and "--epochs" not in remedy
    chart = draw_pareto(replace(computed, chosen=0))
    assert "Compression of tiny@1, goal: 100 bytes or less (dotted)</text>" in chart
    assert "1 original (chosen)" in chart
    reachable = replace(computed, goals=Goals(0.1, 400))
    cause, remedy = reachable.missed()
    assert "--epochs" in remedy and "original reads most" in cause


def test_a_folder_in_use_is_refused(digitcli: Run, other_digits: Path) -> None:
    with existing_run(Path("small")):
        second = digitcli("compress", "micro", "--steps", "fold", "--data", other_digits, "-o", "small")
    assert second.returncode == 7 and "small is in use by another run" in second.stderr
