"""The rows of a benchmark. No test depends on the speed of the machine."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.architectures.registry import create_model
from digitcli.benchmarking import measurement
from digitcli.benchmarking.benchmark import benchmark
from digitcli.benchmarking.measurement import Calls
from digitcli.benchmarking.report import (
    BenchmarkConfig,
    BenchmarkReport,
    Event,
    Measuring,
    describe_environment,
)
from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault, ModelError, UsageError
from digitcli.evaluation.metrics import accuracy
from digitcli.inference.checkpoint import Header, read_header, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, shipped_models
from digitcli.inference.onnx_runtime import OnnxRuntime, open_onnx_runtime
from digitcli.inference.torch_runtime import infer, load_model
from tests.support.benchmarks import FEW, NO_MEMORY, notices, run
from tests.support.models import saved

CPU = torch.device("cpu")
DIGIT_MODELS = {name for name, path in shipped_models().items() if read_header(path).task == "digit"}


def fake_calls(monkeypatch: pytest.MonkeyPatch, measure: Callable[[int], Calls]) -> None:
    """Let rows be measured by a function of the batch size."""
    monkeypatch.setattr(measurement, "measure_calls", lambda model, size: measure(size))


def test_every_result_follows_from_its_calls() -> None:
    report, events = run("softmax", "mlp", batch_sizes=(4, 1, 4))
    assert report.schema == 1
    reports = [event for event in events if isinstance(event, BenchmarkReport)]
    assert [event.results for event in reports] == [report.results[:count] for count in (1, 2, 3, 4)]
    assert [(row.architecture, row.batch_size) for row in report.results] == [
        ("softmax", 4), ("softmax", 1), ("mlp", 4), ("mlp", 1),
    ]  # fmt: skip
    for row in report.results:
        assert 0 < row.latency_ms_median <= row.latency_ms_p95
        assert row.images_per_second == pytest.approx(1000 * row.batch_size / row.latency_ms_median)
        assert (row.device, row.dtype, row.runtime) == ("cpu", "float32", "torch")
        assert row.runs == 20
        assert row.training_images_per_second is row.accuracy is row.model is None
    softmax = report.results[0]
    assert (softmax.parameters, softmax.macs, softmax.size_bytes) == (7850, 7840, 4 * 7850)
    assert Measuring("mlp", "torch float32, batch 4", 1, 2) in events


def test_a_model_that_cannot_be_exported_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = measurement.prepare_model

    def failing(candidate: Any, device: torch.device, dtype: str, runtime: str, *rest: Any) -> Any:
        if (candidate.name, runtime) == ("softmax", "onnxruntime"):
            raise RuntimeError("no graph\nof it")
        return prepare(candidate, device, dtype, runtime, *rest)

    monkeypatch.setattr(measurement, "prepare_model", failing)
    report, events = run("softmax", "mlp", batch_sizes=(1,), runtimes=("torch", "onnxruntime"))
    assert [(row.name, row.runtime) for row in report.results] == [
        ("softmax", "torch"), ("mlp", "torch"), ("mlp", "onnxruntime"),
    ]  # fmt: skip
    assert any(
        "softmax with onnxruntime in float32 is left out: RuntimeError: no graph" in note
        for note in notices(events)
    )


def test_models_are_measured_with_every_combination_that_can_run_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    ways = {"runtimes": ("torch", "onnxruntime"), "dtypes": ("auto", "bfloat16", "float32")}
    report, events = run("cnn", "softmax", **ways)
    assert [(row.name, row.runtime, row.dtype) for row in report.results] == [
        ("cnn", "torch", "float32"), ("cnn", "torch", "bfloat16"), ("cnn", "onnxruntime", "float32"),
        ("softmax", "torch", "float32"), ("softmax", "torch", "bfloat16"),
    ]  # fmt: skip
    assert report.results[0].accuracy == report.results[2].accuracy
    left_out = [re.sub(" is left out.*", "", message) for message in notices(events) if "left out" in message]
    assert left_out == [
        "cnn with onnxruntime in bfloat16",
        "softmax with onnxruntime in float32",
        "softmax with onnxruntime in bfloat16",
    ]
    assert Measuring("cnn", "onnxruntime float32, batch 1", 0, 2) in events


def test_no_model_that_can_be_measured_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    write_checkpoint(
        tmp_path / "own.safetensors", Header(architecture="softmax"), create_model("softmax").state_dict()
    )
    with pytest.raises(UsageError, match="onnxruntime"):
        run(str(tmp_path / "own.safetensors"), runtimes=("onnxruntime",))


def test_a_cold_start_is_measured_for_trained_models(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def answered(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        assert Path(command[4]).exists()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(measurement.subprocess, "run", answered)
    monkeypatch.setitem(sys.modules, "onnx", None)
    report, events = run("cnn", "softmax", cold_start=True, runtimes=("onnxruntime", "torch"))
    assert [(row.name, row.runtime, row.measured) for row in report.results] == [
        ("cnn", "onnxruntime", "calls"), ("cnn", "onnxruntime", "cold_start"),
        ("cnn", "torch", "calls"), ("cnn", "torch", "cold_start"), ("softmax", "torch", "calls"),
    ]  # fmt: skip
    assert report.results[1].runs == 9 and len(commands) == 2 * 10
    assert commands[0][:4] == [sys.executable, "-m", "digitcli", "predict"]
    assert commands[0][-3:] == ["onnxruntime", "--format", "jsonl"]
    assert any("cold start of softmax" in message for message in notices(events))
    failed = subprocess.CompletedProcess([], 1, "", "it broke\n")
    monkeypatch.setattr(measurement.subprocess, "run", lambda command, **settings: failed)
    with pytest.raises(EnvironmentFault, match="it broke"):
        run("cnn", cold_start=True)


def test_a_graph_computes_with_the_threads_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[int] = []

    def opened(model: ResolvedModel, threads: int) -> OnnxRuntime:
        requested.append(threads)
        return open_onnx_runtime(model, threads)

    monkeypatch.setattr(measurement, "open_onnx_runtime", opened)
    run("cnn", runtimes=("onnxruntime",), threads=3)
    assert requested == [3]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ModelError("late"), NO_MEMORY], ids=repr)
def test_rows_survive_a_later_failure(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def measure(size: int) -> Calls:
        if size == 1:
            raise error
        return Calls([0.5], None)

    fake_calls(monkeypatch, measure)
    events: list[Event] = []
    config = BenchmarkConfig(archs=("softmax",), device="cpu", batch_sizes=(4, 1))
    with pytest.raises((KeyboardInterrupt, ModelError, EnvironmentFault)):
        benchmark(config, on_event=events.append)
    (report,) = [event for event in events if isinstance(event, BenchmarkReport)]
    assert [row.batch_size for row in report.results] == [4]
    assert report.environment == describe_environment(CPU)


def test_every_model_is_opened_before_the_first_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "holed.safetensors"
    write_checkpoint(path, Header(architecture="softmax"), {"weight": torch.zeros(1)})
    fake_calls(monkeypatch, lambda size: pytest.fail("a row was measured"))
    with pytest.raises(ModelError, match="does not fit its architecture"):
        run("softmax", str(path))


def test_the_shipped_models_are_measured_if_none_is_named(digits: Digits) -> None:
    report, _ = run()
    assert {row.name for row in report.results} == DIGIT_MODELS
    row = report.results[0]
    logits = infer(load_model(row.name), digits.images[:FEW])
    assert row.accuracy == accuracy(logits, torch.from_numpy(digits.labels[:FEW]))
    assert row.size_bytes == shipped_models()[row.name].stat().st_size
    assert row.model is not None and row.model.startswith(row.name + "@")


def test_accuracy_is_measured_once_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[str] = []
    monkeypatch.setattr(
        measurement, "measure_accuracy", lambda model, trained: requested.append(trained.name) or 0.5
    )
    report, _ = run("cnn", batch_sizes=(1, 2, 3))
    assert requested == ["cnn"]
    assert [row.accuracy for row in report.results] == [0.5, 0.5, 0.5]


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def measure(size: int) -> Calls:
        tried.append(size)
        if size > 3:
            raise NO_MEMORY
        return Calls([0.5], 7)

    fake_calls(monkeypatch, measure)
    report, events = run("softmax", batch_sizes=(16,))
    assert tried == [16, 8, 4, 2]
    assert [row.batch_size for row in report.results] == [2]
    assert report.results[0].images_per_second == 4.0 and report.results[0].peak_memory_bytes == 7
    assert len(notices(events)) == 3 and "16" in notices(events)[0] and "8" in notices(events)[0]


def test_the_dtype_applies_to_speed_and_accuracy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dtypes: set[torch.dtype] = set()
    forward = measurement.InDtype.forward

    def spy(self: measurement.InDtype, images: torch.Tensor) -> torch.Tensor:
        logits = forward(self, images)
        dtypes.add(logits.dtype)
        return logits

    monkeypatch.setattr(measurement.InDtype, "forward", spy)
    (row,) = run("cnn", dtypes=("bfloat16",))[0].results
    assert dtypes == {torch.bfloat16}
    assert row.dtype == "bfloat16" and row.accuracy is not None and row.accuracy > 0.98
    assert row.size_bytes == shipped_models()["cnn"].stat().st_size


def test_compiled_networks_meet_one_shape_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []

    def compile_nothing(network: torch.nn.Module, *, dynamic: bool) -> torch.nn.Module:
        compiled.append(dynamic)
        return network

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    report, _ = run("cnn", batch_sizes=(1, 2), runtimes=("torch.compile",))
    assert [row.runtime for row in report.results] == ["torch.compile"] * 2
    assert compiled == [False] * 3  # for the accuracy and for each batch size
    assert 10_000 % measurement.ACCURACY_BATCH_SIZE == 0


def test_faults_of_the_environment_have_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    no_half = NotImplementedError("\"conv\" not implemented for 'Half'\nmore that nobody wants to read")
    no_compiler = RuntimeError("InvalidCxxCompiler: no working C++ compiler found")
    for error, settings, words, remedy in [
        (no_half, {"dtypes": ("float16",)}, "cpu .* softmax .*float16.* 'Half'$", "--dtype float32"),
        (no_compiler, {"runtimes": ("torch.compile",)}, "torch.compile.*InvalidCxx", "--runtime torch"),
        (NO_MEMORY, {"batch_sizes": (2,)}, "memory", "smaller model"),
        (MemoryError(), {"batch_sizes": (2,)}, "memory", "smaller model"),
    ]:
        monkeypatch.setattr(measurement, "measure_calls", raising(error))
        with pytest.raises(EnvironmentFault, match=words) as caught:
            run("softmax", **settings)  # type: ignore[arg-type]
        assert remedy in caught.value.remedy
    monkeypatch.setattr(measurement, "measure_calls", raising(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes"):  # a fault of the network
        run("softmax")


def raising(error: BaseException) -> Callable[..., Calls]:
    def measure(model: object, size: int) -> Calls:
        raise error

    return measure


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=repr)
def test_threads_are_set_and_restored(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    before = torch.get_num_threads()

    def measure(size: int) -> Calls:
        assert torch.get_num_threads() == before + 1
        if error:
            raise error
        return Calls([0.5], None)

    fake_calls(monkeypatch, measure)
    with contextlib.suppress(KeyboardInterrupt):
        report, _ = run("softmax", threads=before + 1)
        assert report.environment.threads == before + 1
        assert f"{before + 1} threads" in report.environment.device
    assert torch.get_num_threads() == before


def test_a_checkpoint_is_measured_under_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_calls(monkeypatch, lambda size: Calls([0.5], None))
    path = saved(tmp_path / "own.safetensors")
    (row,) = run(str(path))[0].results
    assert (row.architecture, row.name, row.size_bytes) == ("softmax", str(path), path.stat().st_size)
    assert row.accuracy is not None
