"""A benchmark is held against a saved one: by how much each row is slower, and when that counts."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from digitcli.benchmarking.benchmark import BenchmarkReport, BenchmarkResult
from digitcli.benchmarking.environment import describe_environment
from digitcli.benchmarking.measurement import interval_of_median
from digitcli.benchmarking.regression import Saved, read_saved, slowdowns
from digitcli.errors import InputError, UsageError
from tests.support.benchmarks import ROW


def report_of(*rows: BenchmarkResult) -> BenchmarkReport:
    return BenchmarkReport(1, describe_environment(torch.device("cpu")), rows)


def saved_rows(path: Path, *rows: BenchmarkResult) -> Saved:
    path.write_text(json.dumps(dataclasses.asdict(report_of(*rows))))
    return read_saved(path)


def test_rows_are_matched_by_what_was_measured(tmp_path: Path) -> None:
    other = dataclasses.replace(ROW, batch_size=7)
    saved = saved_rows(tmp_path / "saved.json", dataclasses.replace(ROW, latency_ms_median=8.0), other)
    now = report_of(dataclasses.replace(ROW, runtime="onnxruntime"), ROW)
    [row] = slowdowns(now, saved)
    assert (row.name, row.runtime, row.batch_size) == (ROW.name, "torch", ROW.batch_size)
    assert row.ratio == pytest.approx(10 / 8)
    with pytest.raises(UsageError, match="Nothing"):
        slowdowns(report_of(dataclasses.replace(ROW, name="other")), saved)


def test_other_threads_are_not_compared_with(tmp_path: Path) -> None:
    saved = saved_rows(tmp_path / "saved.json", ROW)
    with pytest.raises(UsageError, match="threads") as caught:
        slowdowns(report_of(ROW), dataclasses.replace(saved, threads=99))
    assert "--threads 99" in caught.value.remedy


def test_the_interval_holds_the_spread_of_both(tmp_path: Path) -> None:
    wide = dataclasses.replace(ROW, latency_ms_median=10.0, latency_ms_low=8.0, latency_ms_high=12.5)
    narrow = dataclasses.replace(wide, latency_ms_low=10.0, latency_ms_high=10.0)
    saved = saved_rows(tmp_path / "saved.json", wide)
    [both] = slowdowns(report_of(wide), saved)
    [one] = slowdowns(report_of(narrow), saved)
    assert one.ratio_low == pytest.approx(0.8) and one.ratio_high == pytest.approx(1.25)
    assert both.ratio_high == pytest.approx(math.exp(math.sqrt(2) * math.log(1.25)))
    assert both.ratio_low == pytest.approx(1 / both.ratio_high)


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
        json.dumps({"results": [dataclasses.asdict(ROW) | {"name": ["x"]}]}),
        json.dumps({"results": [dataclasses.asdict(ROW) | {"latency_ms_low": 10**400}]}),
        json.dumps({"results": [dataclasses.asdict(ROW)]}),
        json.dumps({"results": [dataclasses.asdict(ROW) | {"latency_ms_low": 0}]}),
        json.dumps({"results": [dataclasses.asdict(ROW) | {"latency_ms_low": None}]}),
    ],
)
def test_what_is_no_saved_benchmark_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "saved.json").write_text(text)
    with pytest.raises(InputError, match="no saved benchmark") as caught:
        read_saved(tmp_path / "saved.json")
    assert "--format json" in caught.value.remedy
    with pytest.raises(InputError):
        read_saved(tmp_path / "none.json")


@pytest.mark.parametrize(("n", "low", "high"), [(1, 0, 0), (5, 0, 4), (20, 5, 15), (101, 40, 61)])
def test_the_interval_of_a_median_is_at_ranks(n: int, low: int, high: int) -> None:
    assert interval_of_median([float(value) for value in range(n)][::-1]) == (low, high)
