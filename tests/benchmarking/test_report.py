"""A benchmark is compared with a baseline."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.benchmarking.environment import describe_environment
from digitcli.benchmarking.measurement import interval_of_median
from digitcli.benchmarking.report import (
    BenchmarkReport,
    BenchmarkResult,
    describe_differences,
    find_slowdowns,
    read_baseline,
)
from digitcli.errors import InputError, UsageError
from tests.support.benchmarks import ROW


def report_of(*rows: BenchmarkResult) -> BenchmarkReport:
    return BenchmarkReport(1, describe_environment(torch.device("cpu")), rows)


def baseline_of(path: Path, *rows: BenchmarkResult) -> BenchmarkReport:
    path.write_text(json.dumps(dataclasses.asdict(report_of(*rows))))
    return read_baseline(path)


def with_row(**changes: Any) -> str:
    """A baseline as JSON, with one row that has other values."""
    report = dataclasses.asdict(report_of(ROW))
    return json.dumps(report | {"results": [report["results"][0] | changes]})


def test_rows_are_matched_by_model_runtime_and_batch(tmp_path: Path) -> None:
    other = dataclasses.replace(ROW, batch_size=7)
    baseline = baseline_of(tmp_path / "baseline.json", dataclasses.replace(ROW, latency_ms_median=8.0), other)
    now = report_of(dataclasses.replace(ROW, runtime="onnxruntime"), ROW)
    [slowdown] = find_slowdowns(now, baseline)
    assert slowdown.row == ROW
    assert slowdown.ratio == pytest.approx(10 / 8)
    with pytest.raises(UsageError, match="baseline"):
        find_slowdowns(report_of(dataclasses.replace(ROW, name="other")), baseline)


def test_a_baseline_of_another_machine_is_told(tmp_path: Path) -> None:
    baseline = baseline_of(tmp_path / "baseline.json", ROW)
    assert describe_differences(report_of(ROW), baseline) is None
    older = dataclasses.replace(baseline.environment, cpu="Zero", cores=99, torch="1.0", onnxruntime=None)
    told = describe_differences(report_of(ROW), dataclasses.replace(baseline, environment=older))
    assert (
        told is not None
        and "cpu Zero, now " in told
        and "cores 99, now " in told
        and "torch 1.0, now " in told
        and "onnx" not in told
    )


def test_a_baseline_with_other_threads_is_refused(tmp_path: Path) -> None:
    baseline = baseline_of(tmp_path / "baseline.json", ROW)
    other_threads = dataclasses.replace(baseline.environment, threads=99)
    with pytest.raises(UsageError, match="99") as caught:
        find_slowdowns(report_of(ROW), dataclasses.replace(baseline, environment=other_threads))
    assert "--threads 99" in caught.value.remedy


def test_the_interval_includes_the_spread_of_both(tmp_path: Path) -> None:
    wide = dataclasses.replace(ROW, latency_ms_median=10.0, latency_ms_low=8.0, latency_ms_high=12.5)
    narrow = dataclasses.replace(wide, latency_ms_low=10.0, latency_ms_high=10.0)
    baseline = baseline_of(tmp_path / "baseline.json", wide)
    [both] = find_slowdowns(report_of(wide), baseline)
    [one] = find_slowdowns(report_of(narrow), baseline)
    assert one.low == pytest.approx(0.8) and one.high == pytest.approx(1.25)
    assert both.high == pytest.approx(math.exp(math.sqrt(2) * math.log(1.25)))
    assert both.low == pytest.approx(1 / both.high)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"results": [{}]}',
        '{"results": [1]}',
        '{"results": []}',
        "[" * 100_000,
        with_row(name=["x"]),
        with_row(latency_ms_low=10**400),
        with_row(latency_ms_low=0),
        with_row(latency_ms_high=0),
        with_row(latency_ms_low=None),
        json.dumps({"results": [dataclasses.asdict(ROW)]}),
    ],
)
def test_a_file_that_is_no_benchmark_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "saved.json").write_text(text)
    with pytest.raises(InputError, match="is not a benchmark") as caught:
        read_baseline(tmp_path / "saved.json")
    assert "--format json" in caught.value.remedy
    with pytest.raises(InputError):
        read_baseline(tmp_path / "none.json")


@pytest.mark.parametrize(("n", "low", "high"), [(1, 0, 0), (5, 0, 4), (20, 5, 15), (101, 40, 61)])
def test_the_interval_of_a_median_is_at_ranks(n: int, low: int, high: int) -> None:
    assert interval_of_median([float(value) for value in range(n)][::-1]) == (low, high)
