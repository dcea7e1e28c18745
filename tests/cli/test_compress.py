"""`digitcli compress` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

from digitcli.training.run_folder import existing_run
from tests.support.processes import Run


def test_a_table_json_and_a_model_for_the_other_commands(digitcli: Run, other_digits: Path) -> None:
    arguments = ("compress", "micro", "--steps", "fold,int8", "--data", other_digits, "-o", "small")
    shown = digitcli(*arguments)
    assert shown.returncode == 0, shown.stderr
    assert "fold,int8 " in shown.stdout and "times smaller than micro@" in shown.stdout
    assert "1 of 2: fold\n2 of 2: fold,int8\n" in shown.stderr and "test before" in shown.stdout
    record = json.loads(digitcli(*arguments, "--format", "json").stdout)
    assert [each["steps"] for each in record["tried"]] == ["original", "fold", "fold,int8"]
    assert record["chosen"] == 2
    of_test = ("--data", other_digits, "--split", "test", "--format", "json")
    evaluated = json.loads(digitcli("evaluate", "small", *of_test).stdout)
    assert evaluated["accuracy"] == record["test"]["accuracy"]
    assert evaluated["model"].startswith("small-int8@")
    (_, *rows) = digitcli(*arguments, "--format", "csv").stdout.splitlines()
    assert [row.split(",")[0].strip('"') for row in rows] == ["original", "fold", "fold"]
    described = " ".join(digitcli("models", "small").stdout.split())
    assert f"small ({evaluated['model']})" in described
    assert "batch normalization folded, inputs of layers in 8 bits, weights in 8 bits" in described
    with existing_run(Path("small")):
        second = digitcli(*arguments)
    assert second.returncode == 7 and "small is in use by another run" in second.stderr


def test_mistakes_have_an_exit_code(digitcli: Run) -> None:
    Path("there").mkdir()
    Path("there", "notes.txt").touch()
    for arguments, code, message in [
        (("fast",), 2, "--steps names 0 steps"),
        (("fast", "--steps", "shrink"), 2, "There is no step 'shrink'"),
        (("fist", "--steps", "int8"), 5, "There is no model 'fist'"),
        (("fast", "--steps", "int8", "--data", "no.npz"), 3, "no.npz"),
        (("fast", "--steps", "int8", "-o", "there"), 7, "there holds other files"),
    ]:
        failed = digitcli("compress", *arguments)
        assert failed.returncode == code and message in failed.stderr, failed.stderr
        assert not Path("runs").exists() or not list(Path("runs").rglob("*.safetensors"))
