"""The settings of a benchmark, its machine, and its comparison with a baseline."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.architectures.registry import ARCHITECTURES
from digitcli.benchmarking.benchmark import interval_of_median
from digitcli.benchmarking.benchmark_results import (
    BenchmarkConfig,
    BenchmarkReport,
    BenchmarkResult,
    describe_differences,
    describe_environment,
    find_candidates,
    find_slowdowns,
    read_baseline,
)
from digitcli.errors import InputError, ModelError, UsageError
from digitcli.inference.checkpoint import Header, write_checkpoint
from tests.support.benchmarks import ROW


def report_of(*rows: BenchmarkResult) -> BenchmarkReport:
    return BenchmarkReport(1, describe_environment(torch.device("cpu")), rows)


def baseline_of(path: Path, *rows: BenchmarkResult) -> BenchmarkReport:
    path.write_text(json.dumps(dataclasses.asdict(report_of(*rows))))
    return read_baseline(path)


def with_row(**changes: Any) -> str:
    """A baseline as JSON, with one row that has other values."""
    saved = dataclasses.asdict(report_of(ROW))
    return json.dumps(saved | {"results": [saved["results"][0] | changes]})


def test_rows_are_matched_by_model_runtime_and_batch(tmp_path: Path) -> None:
    other = dataclasses.replace(ROW, batch_size=7)
    baseline = baseline_of(tmp_path / "baseline.json", dataclasses.replace(ROW, latency_ms_median=8.0), other)
    now = report_of(dataclasses.replace(ROW, runtime="onnxruntime"), ROW)
    [slowdown] = find_slowdowns(now, baseline)
    assert slowdown.row == ROW
    assert slowdown.ratio == pytest.approx(10 / 8)
    with pytest.raises(UsageError, match="baseline"):
        find_slowdowns(report_of(dataclasses.replace(ROW, name="other")), baseline)
    other_threads = dataclasses.replace(baseline.environment, threads=99)
    with pytest.raises(UsageError, match="99") as caught:
        find_slowdowns(now, dataclasses.replace(baseline, environment=other_threads))
    assert "OMP_NUM_THREADS to 99" in caught.value.remedy


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


def test_the_interval_includes_the_spread_of_both(tmp_path: Path) -> None:
    wide = dataclasses.replace(ROW, latency_ms_median=10.0, latency_ms_low=8.0, latency_ms_high=12.5)
    narrow = dataclasses.replace(wide, latency_ms_low=10.0, latency_ms_high=10.0)
    baseline = baseline_of(tmp_path / "baseline.json", wide)
    [both] = find_slowdowns(report_of(wide), baseline)
    [one] = find_slowdowns(report_of(narrow), baseline)
    assert one.low == pytest.approx(0.8) and one.high == pytest.approx(1.25)
    assert both.high == pytest.approx(math.exp(math.sqrt(2) * math.log(1.25)))
    assert both.low == pytest.approx(1 / both.high)


def test_a_file_that_is_no_benchmark_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    for text in (
        "", "[]", '{"results": [{}]}', '{"results": [1]}', '{"results": []}', "[" * 100_000,
        with_row(name=["x"]), with_row(latency_ms_low=10**400), with_row(latency_ms_low=0),
        with_row(latency_ms_high=0), with_row(latency_ms_low=None),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match="is not a benchmark") as caught:
            read_baseline(path)
        assert "-o baseline.json" in caught.value.remedy, text[:50]
    with pytest.raises(InputError):
        read_baseline(tmp_path / "none.json")


def test_the_interval_of_a_median_is_at_ranks() -> None:
    for n, low, high in [(1, 0, 0), (5, 0, 4), (20, 5, 15), (101, 40, 61)]:
        assert interval_of_median([float(value) for value in range(n)][::-1]) == (low, high), n


def test_names_stand_for_models_each_once() -> None:
    digit = {row.name for row in ARCHITECTURES if row.task == "digit"}
    names = [candidate.name for candidate in find_candidates(("cnn", "all", "cnn", "softmax"))]
    assert names[0] == "cnn" and digit <= set(names) and len(names) == len(set(names))


def test_a_name_of_no_model_is_refused() -> None:
    for name, error, words in [
        ("lenet", UsageError, "lenet5"), ("", UsageError, "all"), ("none.safetensors", ModelError, "cnn"),
        ("runs/none", ModelError, "cnn"),
    ]:  # fmt: skip
        with pytest.raises(error) as caught:
            find_candidates((name,))
        assert words in caught.value.remedy, name


def test_a_model_of_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "line.safetensors"
    write_checkpoint(path, Header(architecture="softmax", task="line"), {"weight": torch.zeros(1)})
    with pytest.raises(ModelError, match="reads lines"):
        find_candidates((str(path),))


def test_values_out_of_range_or_of_another_type_are_refused() -> None:
    settings: list[dict[str, Any]] = [
        {"batch_sizes": ()}, {"batch_sizes": (1, 0)}, {"batch_sizes": (10**12,)},
        {"runtimes": ("tvm",)}, {"runtimes": ()}, {"device": "abacus"}, {"archs": None},
        {"batch_sizes": 256},
        {"batch_sizes": "256"}, {"batch_sizes": (1.5,)}, {"batch_sizes": (True,)}, {"batch_sizes": ("1",)},
        {"device": None},
    ]  # fmt: skip
    for each in settings:
        with pytest.raises(UsageError) as caught:
            BenchmarkConfig(**each)
        assert caught.value.remedy, each
