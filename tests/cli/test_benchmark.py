"""`digitcli benchmark` as a person or a program meets it: exit codes, streams, formats."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from digitcli.architectures.registry import create_model
from digitcli.benchmarking import benchmark as benchmarking
from digitcli.benchmarking import measurement, report
from digitcli.benchmarking.measurement import Calls
from digitcli.benchmarking.report import (
    BenchmarkConfig,
    BenchmarkReport,
    BenchmarkResult,
    Candidate,
    describe_environment,
)
from digitcli.cli import exit_code_of_run
from digitcli.cli.benchmark import results_table
from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault, Interrupted, ModelError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from tests.support.benchmarks import measure_quickly
from tests.support.forked import in_background
from tests.support.models import saved
from tests.support.processes import Run, read_until
from tests.support.terminal import Terminal

KEYS = [
    "architecture", "device", "dtype", "runtime", "batch_size", "latency_ms_median", "latency_ms_p95",
    "images_per_second", "parameters", "macs", "size_bytes", "peak_memory_bytes", "accuracy",
]  # fmt: skip


ROW = BenchmarkResult(
    architecture="resnet", device="cpu", dtype="float32", runtime="torch", batch_size=1_000_000,
    latency_ms_median=0.0373, latency_ms_p95=123_456.7, images_per_second=26_800, parameters=3_274_634,
    macs=13_900_000, size_bytes=31_400, peak_memory_bytes=417_000_000, accuracy=0.9954,
    training_images_per_second=14_500, runs=20, latency_ms_low=0.0372, latency_ms_high=0.0375,
    measured="calls", name="resnet", model="resnet@1a2b3c4d",
)  # fmt: skip
LONG_NAME = "runs/the-best-of-them/checkpoint,2.safetensors"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    """Let commands measure quickly that run in the process of the test."""
    measure_quickly(monkeypatch, digits)
    monkeypatch.setattr(benchmarking, "TRAINING_SECONDS", 0.1)


def test_only_json_goes_to_stdout_and_it_has_the_keys_of_the_contract(digitcli: Run) -> None:
    arguments = ["--arch", "softmax,softmax", "-b", "3,1,3", "-d", "cpu", "--threads", "1"]
    done = digitcli("benchmark", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema"] == 1
    assert report["environment"].keys() >= {"digitcli", "torch", "python", "platform", "cpu", "device"}
    assert report["environment"]["threads"] == 1
    assert [row["batch_size"] for row in report["results"]] == [3, 1]
    assert all(list(row)[: len(KEYS)] == KEYS for row in report["results"])
    assert re.search(r"softmax  batch 3  \S+ ms  \S+ images/s\n", done.stderr)


def test_csv_has_a_row_for_each_result_and_the_environment_is_on_stderr(digitcli: Run) -> None:
    done = digitcli("benchmark", "-a", "softmax", "-b", "1", "-b", "2", "-d", "cpu", "--format", "csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["batch_size"] for row in rows] == ["1", "2"]
    assert list(rows[0])[: len(KEYS)] == KEYS
    assert rows[0]["accuracy"] == "" and float(rows[0]["latency_ms_median"]) > 0
    assert "versions" in done.stderr and "torch" in done.stderr


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


def test_a_table_in_a_pipe_is_plain_text_for_100_columns(digitcli: Run) -> None:
    done = digitcli("benchmark", "-a", "sigmoid_mlp", "-b", "1", "-d", "cpu", env={"COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"^sigmoid_mlp +1 .* 79\.5 k +79\.4 k +318 kB", done.stdout, re.MULTILINE)
    assert "threads" in done.stdout and "versions" in done.stdout
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 100
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "untrained"])
@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_name_and_no_number_is_cut_in_a_narrow_terminal(width: int, trained: bool) -> None:
    row = ROW if trained else replace(ROW, training_images_per_second=None)
    table, left_out = results_table((row, replace(row, name=LONG_NAME)), width)
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= width and "…" not in shown
    first_words = [line.split(" ")[0] for line in lines]
    assert "".join(first_words) == f"architectureresnet{LONG_NAME}"
    least = {"batch": "1,000,000", "median": "0.0373", "images/s": "26.8 k"}
    more = {
        "MACs": "13.9 M", "params": "3.27 M", "size": "31.4 kB", "peak memory": "417 MB",
        "p95 ms": "123,457", "accuracy": "99.54 %", "training images/s": "14.5 k",
    }  # fmt: skip
    if not trained:
        del more["training images/s"]
    texts = {text for column, text in {**least, **more}.items() if column not in left_out}
    for text in texts:
        assert shown.count(text) == 2, text
    assert not left_out or width < 120
    assert "training images/s" not in left_out and ("accuracy" not in left_out or width < 80)


def test_columns_that_do_not_fit_are_named(digitcli: Run) -> None:
    done = digitcli("benchmark", "-a", "softmax", "-b", "1", "-d", "cpu", env={"COLUMNS": "50"})
    assert done.returncode == 0, done.stderr
    assert "do not fit: MACs, params" in done.stderr and "--format csv" in done.stderr
    assert re.search(r"^softmax +1 ", done.stdout, re.MULTILINE) and "MACs" not in done.stdout


def rows_of(form: str, shown: str) -> list[str]:
    """Return the batch sizes of the rows in the shown table, which must be whole."""
    if form == "json":
        return [str(row["batch_size"]) for row in json.loads(shown)["results"]]
    if form == "csv":
        return [row["batch_size"] for row in csv.DictReader(io.StringIO(shown))]
    return re.findall(r"^resnet +(\d+) ", shown, re.MULTILINE)


@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize(
    "error",
    [ModelError("It broke."), EnvironmentFault("No memory."), Interrupted(signal.SIGHUP, "Stopped.")],
    ids=repr,
)
def test_rows_measured_before_an_error_are_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: str, error: Any
) -> None:
    def fail_late(
        config: BenchmarkConfig,
        candidates: Sequence[Candidate],
        *,
        on_event: Callable[[Any], None],
        **of: Any,
    ) -> BenchmarkReport:
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


@pytest.mark.parametrize(("before", "code"), [(0.01, 8), (0.0373, 0), (10.0, 0)])
def test_a_row_that_is_clearly_slower_than_the_baseline_ends_with_code_8(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    before: float,
    code: int,
) -> None:
    def measure(
        config: BenchmarkConfig,
        candidates: Sequence[Candidate],
        *,
        on_event: Callable[[Any], None],
        **of: Any,
    ) -> BenchmarkReport:
        on_event(now)
        return now

    times = {"latency_ms_median": before, "latency_ms_low": 0.98 * before, "latency_ms_high": 1.02 * before}
    baseline = tmp_path / "baseline.json"
    now = BenchmarkReport(1, describe_environment(torch.device("cpu")), (ROW,))
    rows = [dataclasses.asdict(ROW) | times]
    baseline.write_text(json.dumps(dataclasses.asdict(now) | {"results": rows}))
    monkeypatch.setattr(benchmarking, "benchmark", measure)
    arguments = ["-a", "resnet", "--baseline", str(baseline), "--max-slowdown", "1.2", "--format", "json"]
    monkeypatch.setattr(sys, "argv", ["digitcli", "benchmark", *arguments])
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


def test_a_path_with_a_comma_is_a_path(digitcli: Run, tmp_path: Path) -> None:
    weights = create_model("softmax").state_dict()
    write_checkpoint(tmp_path / "a,b.safetensors", Header(architecture="softmax"), weights)
    done = digitcli("benchmark", "-a", "a,b.safetensors", "-b", "1", "-d", "cpu", "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["a,b.safetensors"]


def test_on_a_terminal_a_status_names_the_current_measurement(on_terminal: Terminal) -> None:
    code, shown = on_terminal("benchmark", "-a", "softmax", "-b", "1", "-d", "cpu", NO_COLOR="1")
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
        (["--batch-size", "1,,2"], 2, "whole number"),
        (["--batch-size", "9" * 18], 2, "from 1 to 1000000"),
        (["-o", "speed.txt"], 2, "ends in .json or .csv"),
        (["-o", "nowhere/speed.json"], 7, "cannot be written"),
        (["--dtype", "floot16"], 2, "Did you mean float16"),
        (["--cold-start", "--threads", "1"], 2, "--cold-start"),
        (["--threads", "0"], 2, "--threads"),
        (["--device", "gpu"], 2, "cuda"),
        (["--train", "--runtime", "torch.compile"], 2, "--train"),
        (["--runtime", "onnx"], 2, "Did you mean onnxruntime"),
        (["--runtime", "tflight"], 2, "Did you mean tflite"),
        (["-a", "mlp", "--runtime", "onnxruntime", "--dtype", "float16", "-d", "cpu"], 2, "--runtime torch"),
        (["--format", "xml"], 2, "csv"),
        (["--max-slowdown", "1.1"], 2, "--baseline"),
        (["--baseline", "none.json", "--max-slowdown", "0"], 2, "--max-slowdown"),
        (["--baseline", "none.json"], 3, "-o baseline.json"),
        (["--arch", "none.safetensors"], 5, "none.safetensors"),
        (["--device", "cuda:99"], 6, "It has:"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_mistake_has_a_cause_a_remedy_and_an_exit_code(
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


def test_the_header_of_a_model_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names: list[str] = []

    def resolve(name: str) -> ResolvedModel:
        names.append(name)
        return resolve_model(name)

    def measure(model: object, size: int) -> Calls:
        return Calls([0.5], None)

    path = str(saved(tmp_path / "model.safetensors"))
    monkeypatch.setattr(report, "resolve_model", resolve)
    monkeypatch.setattr(measurement, "measure_calls", measure)
    monkeypatch.setattr(measurement, "measure_accuracy", lambda model, trained: 0.5)
    arguments = ["benchmark", "-a", path, "-d", "cpu", "-b", "1", "--format", "json"]
    monkeypatch.setattr(sys, "argv", ["digitcli", *arguments])
    assert exit_code_of_run() == 0
    assert names == [path]
