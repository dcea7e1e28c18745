"""`digitcli benchmark` as a person or a program meets it: exit codes, streams, formats."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from tests.cli.test_train import read_terminal
from tests.conftest import Run

KEYS = [
    "architecture", "device", "dtype", "runtime", "batch_size", "latency_ms_median", "latency_ms_p95",
    "images_per_second", "parameters", "macs", "size_bytes", "peak_memory_bytes", "accuracy",
]  # fmt: skip


def test_json_goes_to_stdout_alone_and_has_the_keys_of_the_design(digitcli: Run) -> None:
    arguments = ["--arch", "softmax,softmax", "-b", "3,1", "-d", "cpu", "--threads", "1", "--format", "json"]
    done = digitcli("benchmark", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema"] == 1
    assert report["environment"].keys() >= {"digitcli", "torch", "python", "platform", "cpu", "device"}
    assert report["environment"]["threads"] == 1
    assert [row["batch_size"] for row in report["results"]] == [3, 1]
    assert all(list(row)[: len(KEYS)] == KEYS for row in report["results"])
    assert re.search(r"softmax  batch 3  \S+ ms  \S+ images/s\n", done.stderr)


def test_csv_has_a_row_a_result_and_tells_the_environment_on_stderr(digitcli: Run) -> None:
    done = digitcli("benchmark", "-a", "softmax", "-b", "1", "-b", "2", "-d", "cpu", "--format", "csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["batch_size"] for row in rows] == ["1", "2"]
    assert list(rows[0])[: len(KEYS)] == KEYS
    assert rows[0]["accuracy"] == "" and float(rows[0]["latency_ms_median"]) > 0
    assert "versions" in done.stderr and "torch" in done.stderr


def test_a_table_in_a_pipe_is_plain_text_for_100_columns(digitcli: Run) -> None:
    done = digitcli("benchmark", "-a", "sigmoid_mlp", "-b", "1", "-d", "cpu", env={"COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"^sigmoid_mlp +1 .* 79\.5 k +79\.4 k +318 kB ", done.stdout, re.MULTILINE)
    assert "threads" in done.stdout and "versions" in done.stdout
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 100
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr


def test_on_a_terminal_a_status_says_what_is_measured(tmp_path: Path) -> None:
    arguments = ["benchmark", "-a", "softmax", "-b", "1", "-d", "cpu"]
    code, shown = read_terminal(arguments, tmp_path, {"NO_COLOR": "1"})
    assert code == 0, shown
    assert "Measuring softmax" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--arch", "lenet"], 2, "Did you mean lenet5"),
        (["--arch", "cnn,"], 2, "''"),
        (["--batch-size", "0"], 2, "--batch-size is 0"),
        (["--batch-size", "x"], 2, "'x'"),
        (["--batch-size", "1,,2"], 2, "whole numbers"),
        (["--dtype", "int3"], 2, "bfloat16"),
        (["--threads", "0"], 2, "--threads"),
        (["--device", "gpu"], 2, "cuda"),
        (["--train", "--compile"], 2, "--train"),
        (["--format", "xml"], 2, "csv"),
        (["--arch", "none.safetensors"], 5, "none.safetensors"),
        (["--device", "cuda:99"], 6, "It has:"),
    ],
    ids=str,
)
def test_a_mistake_is_a_cause_a_remedy_and_an_exit_code(
    digitcli: Run, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = digitcli("benchmark", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_ends_with_code_5(digitcli: Run, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    done = digitcli("benchmark", "--arch", "model.safetensors")
    assert done.returncode == 5 and "not written by digitcli" in done.stderr
