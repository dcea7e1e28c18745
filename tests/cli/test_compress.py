"""`digitcli compress` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from digitcli.compression import speed
from tests.support.processes import Run


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time few calls."""
    for name in ("WARM_UP_SECONDS", "MIN_SECONDS"):
        monkeypatch.setattr(speed, name, 0.0)
    monkeypatch.setattr(speed, "MIN_CALLS", 2)
    monkeypatch.setattr(speed, "BATCH_SIZE", 8)


def test_a_table_json_and_a_model_for_the_other_commands(digitcli: Run, other_digits: Path) -> None:
    pytest.importorskip("onnxscript")
    arguments = ("compress", "fast", "--steps", "fold,int8", "--data", other_digits, "-o", "small")
    shown = digitcli(*arguments)
    assert shown.returncode == 0, shown.stderr
    assert "fold,int8 *" in shown.stdout and "times smaller than fast@" in shown.stdout
    record = json.loads(digitcli(*arguments, "--format", "json").stdout)
    assert [each["steps"] for each in record["tried"]] == ["original", "fold", "fold,int8"]
    assert {each["runtime"] for each in record["tried"][2]["speeds"]} >= {"torch", "onnxruntime"}
    assert record["chosen"] == 2 and 2 in record["front"]
    evaluated = json.loads(digitcli("evaluate", "small", "--data", other_digits, "--format", "json").stdout)
    assert evaluated["accuracy"] == record["test"]["accuracy"]
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
    ("arguments", "code", "message"),
    [
        (("fast",), 2, "Neither steps nor goals are given"),
        (("fast", "--steps", "int8", "--max-size", "9kB"), 2, "Steps and goals are given"),
        (("fast", "--steps", "shrink"), 2, "There is no step 'shrink'"),
        (("fast", "--max-size", "big"), 2, "--max-size is 'big'"),
        (("fast", "--max-accuracy-loss", "-1"), 2, "--max-accuracy-loss"),
        (("fist", "--steps", "int8"), 5, "There is no model 'fist'"),
        (("finder", "--steps", "distill=tiny"), 2, "Teachers are for single digits"),
        (("fast", "--steps", "int8", "--data", "no.npz"), 3, "no.npz"),
    ],
)
def test_mistakes_have_an_exit_code(
    digitcli: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    failed = digitcli("compress", *arguments)
    assert failed.returncode == code and message in failed.stderr, failed.stderr
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.safetensors"))
