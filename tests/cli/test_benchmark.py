"""`digitcli benchmark` as a person or a program meets it: exit codes, streams, formats."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from digitcli.benchmarking import benchmark as benchmarking
from digitcli.benchmarking.benchmark_results import (
    BenchmarkReport,
    BenchmarkResult,
    describe_environment,
)
from digitcli.cli import exit_code_of_run
from digitcli.cli.benchmark import results_table
from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault, Interrupted, ModelError
from tests.support.benchmarks import measure_quickly
from tests.support.forked import in_background
from tests.support.processes import Run, read_until

KEYS = [
    "architecture", "device", "dtype", "runtime", "batch_size", "latency_ms_median", "latency_ms_p95",
    "images_per_second", "parameters", "macs", "size_bytes", "peak_memory_bytes", "accuracy",
]  # fmt: skip


ROW = BenchmarkResult(
    architecture="resnet", device="cpu", dtype="float32", runtime="torch", batch_size=1_000_000,
    latency_ms_median=0.0373, latency_ms_p95=123_456.7, images_per_second=26_800, parameters=3_274_634,
    macs=13_900_000, size_bytes=31_400, peak_memory_bytes=417_000_000, accuracy=0.9954,
    runs=20, latency_ms_low=0.0372, latency_ms_high=0.0375,
    name="resnet", model="resnet@1a2b3c4d",
)  # fmt: skip
LONG_NAME = "runs/the-best-of-them/checkpoint,2.safetensors"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    """Let commands measure quickly that run in the process of the test."""
    measure_quickly(monkeypatch, digits)


def test_only_json_goes_to_stdout_and_it_has_the_keys_of_the_contract(digitcli: Run) -> None:
    arguments = ["--arch", "softmax,softmax", "-b", "3,1,3", "-d", "cpu"]
    done = digitcli("benchmark", *arguments, "--format", "json", env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema"] == 1
    assert report["environment"].keys() >= {"digitcli", "torch", "python", "platform", "cpu", "device"}
    assert report["environment"]["threads"] == 1
    assert [row["batch_size"] for row in report["results"]] == [3, 1]
    assert all(list(row)[: len(KEYS)] == KEYS for row in report["results"])
    assert re.search(r"softmax  batch 3  \S+ ms  \S+ images/s\n", done.stderr)


def test_the_result_is_written_to_a_file_that_serves_as_a_baseline(digitcli: Run) -> None:
    arguments = ("benchmark", "-a", "softmax", "-b", "1", "-d", "cpu")
    done = digitcli(*arguments, "-o", "speed.json")
    assert done.returncode == 0 and "softmax" in done.stdout, done.stderr
    assert digitcli(*arguments, "-o", "speed.json").returncode == 7
    done = digitcli(*arguments, "-o", "speed.csv", "--baseline", "speed.json")
    assert done.returncode == 0 and "latency of the baseline" in done.stderr, done.stderr
    assert Path("speed.csv").read_text().startswith(",".join(KEYS))
    done = digitcli(*arguments, "-o", "-")
    assert json.loads(done.stdout)["schema"] == 1 and "softmax" in done.stderr


def test_no_name_and_no_number_is_cut_in_a_narrow_terminal() -> None:
    for width in (60, 80, 120):
        table, left_out = results_table((ROW, replace(ROW, name=LONG_NAME, accuracy=None)), width)
        console = Console(file=io.StringIO(), width=width)
        console.print(table)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        lines = [line.rstrip() for line in shown.splitlines()]
        assert max(map(len, lines)) <= width and "…" not in shown
        assert "".join(line.split(" ")[0] for line in lines) == f"architectureresnet{LONG_NAME}"
        texts = {
            "batch": "1,000,000", "median": "0.0373", "images/s": "26.8 k", "MACs": "13.9 M",
            "params": "3.27 M", "size": "31.4 kB", "peak memory": "417 MB", "p95 ms": "123,457",
        }  # fmt: skip
        for column, text in texts.items():
            assert shown.count(text) == (0 if column in left_out else 2), (width, column)
        assert ("99.54 %" in shown) == ("not trained" in shown) == ("accuracy" not in left_out)
        assert not left_out or width < 120


def rows_of(form: str, shown: str) -> list[str]:
    """Return the batch sizes of the rows in the shown table, which must be whole."""
    if form == "json":
        return [str(row["batch_size"]) for row in json.loads(shown)["results"]]
    if form == "csv":
        return [row["batch_size"] for row in csv.DictReader(io.StringIO(shown))]
    return re.findall(r"^resnet +(\d+) ", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("table", ModelError("It broke.")),
        ("json", EnvironmentFault("No memory.")),
        ("csv", Interrupted(signal.SIGHUP, "Stopped.")),
    ],
)
def test_rows_measured_before_an_error_are_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: str, error: Any
) -> None:
    def fail_late(*arguments: Any, on_event: Callable[[Any], None], **of: Any) -> BenchmarkReport:
        rows = tuple(replace(ROW, batch_size=size) for size in (1, 8))
        for count in (1, 2):
            on_event(BenchmarkReport(1, describe_environment(torch.device("cpu")), rows[:count]))
        raise error

    monkeypatch.setattr(benchmarking, "benchmark", fail_late)
    monkeypatch.setattr(sys, "argv", ["digitcli", "benchmark", "-a", "softmax", "--format", form])
    assert exit_code_of_run() == error.exit_code
    shown = capfd.readouterr()
    assert rows_of(form, shown.out) == ["1", "8"]
    assert error.cause in shown.err and shown.err.count("resnet  batch 8 ") == 1


def test_a_row_that_is_clearly_slower_than_the_baseline_ends_with_code_8(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def measure(*arguments: Any, on_event: Callable[[Any], None], **of: Any) -> BenchmarkReport:
        on_event(now)
        return now

    now = BenchmarkReport(1, describe_environment(torch.device("cpu")), (ROW,))
    monkeypatch.setattr(benchmarking, "benchmark", measure)
    baseline = tmp_path / "baseline.json"
    arguments = ["-a", "resnet", "--baseline", str(baseline), "--max-slowdown", "1.2", "--format", "json"]
    monkeypatch.setattr(sys, "argv", ["digitcli", "benchmark", *arguments])
    for before, code in [(0.01, 8), (0.0373, 0), (10.0, 0)]:
        times = {
            "latency_ms_median": before,
            "latency_ms_low": 0.98 * before,
            "latency_ms_high": 1.02 * before,
        }
        rows = [dataclasses.asdict(ROW) | times]
        baseline.write_text(json.dumps(dataclasses.asdict(now) | {"results": rows}))
        assert exit_code_of_run() == code
        shown = capfd.readouterr()
        assert json.loads(shown.out)["results"] and f"{0.0373 / before:.2f}" in shown.err
        assert ("--max-slowdown" in shown.err) == (code == 8)


def test_rows_measured_before_a_signal_are_shown() -> None:
    number = signal.SIGTERM
    batch_sizes = ",".join(map(str, range(1, 41)))
    arguments = ["benchmark", "-a", "softmax", "-b", batch_sizes, "-d", "cpu", "--format", "json"]
    with in_background(*arguments) as process:
        read_until("softmax  batch 1 ", process.stderr)
        process.send_signal(number)
        shown, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert rows_of("json", shown)[0] == "1" and "Stopped." in errors


def test_a_mistake_has_a_cause_a_remedy_and_an_exit_code(digitcli: Run, tmp_path: Path) -> None:
    cases: list[tuple[list[str], int, str]] = [
        (["--arch", "lenet"], 2, "Did you mean lenet5"),
        (["--arch", "cnn,"], 2, "''"),
        (["--batch-size", "0"], 2, "--batch-size is 0"),
        (["--batch-size", "x"], 2, "'x'"),
        (["--batch-size", "1,,2"], 2, "whole number"),
        (["--batch-size", "9" * 18], 2, "from 1 to 1000000"),
        (["-o", "speed.txt"], 2, "ends in .json or .csv"),
        (["-o", "nowhere/speed.json"], 7, "cannot be written"),
        (["--device", "gpu"], 2, "cuda"),
        (["--runtime", "onnx"], 2, "Did you mean onnxruntime"),
        (["--runtime", "tflight"], 2, "Did you mean tflite"),
        (["--format", "xml"], 2, "csv"),
        (["--max-slowdown", "1.1"], 2, "--baseline"),
        (["--baseline", "none.json", "--max-slowdown", "0"], 2, "--max-slowdown"),
        (["--baseline", "none.json"], 3, "-o baseline.json"),
        (["--arch", "none.safetensors"], 5, "none.safetensors"),
        (["--device", "cuda:99"], 6, "It has:"),
    ]
    for arguments, code, words in cases:
        done = digitcli("benchmark", *arguments)
        assert done.returncode == code and words in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []
