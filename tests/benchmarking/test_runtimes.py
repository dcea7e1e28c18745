"""Runtimes beside PyTorch: the graph that each computes, its size, and what cannot be measured."""

from __future__ import annotations

import sys

import pytest
import torch

from digitcli.benchmarking.benchmark import _prepare
from digitcli.benchmarking.benchmark_results import Candidate
from digitcli.errors import EnvironmentFault, UsageError
from digitcli.export.export import runtime_graph
from digitcli.inference.model_resolution import resolve_model
from tests.support.benchmarks import notices, run


def test_each_runtime_has_a_row_with_its_accuracy_and_its_size() -> None:
    pytest.importorskip("ai_edge_litert")
    report, _ = run("fast", runtimes=("torch", "onnxruntime", "tflite"), batch_sizes=(1, 3))
    assert [(row.runtime, row.batch_size) for row in report.results] == [
        ("torch", 1), ("torch", 3), ("onnxruntime", 1), ("onnxruntime", 3), ("tflite", 1), ("tflite", 3),
    ]  # fmt: skip
    assert len({row.accuracy for row in report.results}) == 1 and report.results[0].accuracy
    model = resolve_model("fast")
    assert model.graph_path is not None
    checkpoint, graph = model.path.stat().st_size, model.graph_path.stat().st_size
    sizes = [row.size_bytes for row in report.results[::2]]
    assert sizes[:2] == [checkpoint, checkpoint + graph] and sizes[2] > 4 * 109_242
    assert report.environment.onnxruntime and report.environment.litert


def test_what_cannot_be_measured_has_a_reason() -> None:
    cuda = torch.device("cuda")
    for name, device, runtime, words in [
        ("softmax", cuda, "tflite", "tflite computes on the CPU"),
        ("softmax", cuda, "onnxruntime", "onnxruntime computes on the CPU"),
        ("resnet", torch.device("cpu"), "tflite", "cannot hold resnet: it has"),
    ]:
        reason = _prepare(Candidate(name, None), device, runtime, runtime_graph)
        assert isinstance(reason, str) and words in reason


def test_a_network_that_no_runtime_takes_is_an_error_that_names_it() -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(UsageError, match="resnet cannot be measured with tflite on cpu") as failure:
        run("resnet", runtimes=("tflite",))
    assert "--runtime torch" in failure.value.remedy
    _, events = run("resnet", "softmax", runtimes=("tflite",))
    assert any("resnet with tflite is left out" in message for message in notices(events))


def test_a_missing_package_ends_the_benchmark_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(EnvironmentFault, match="ai_edge_litert") as failure:
        run("softmax", runtimes=("torch", "tflite"))
    assert "pip install '.[tflite]'" in failure.value.remedy
