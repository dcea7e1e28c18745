"""The rows of a benchmark, and the calls behind them. No test depends on the speed of the machine."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.benchmarking import benchmark as measurement
from digitcli.benchmarking.benchmark import PreparedModel, _prepare, median_and_p95, time_calls
from digitcli.benchmarking.benchmark_results import (
    BenchmarkReport,
    Candidate,
    Measuring,
)
from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault, ModelError, UsageError
from digitcli.evaluation.metrics import accuracy
from digitcli.export.export import runtime_graph
from digitcli.inference.checkpoint import Header, read_header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model, shipped_models
from digitcli.inference.torch_runtime import infer, load_model
from digitcli.threads import use_threads
from tests.support.benchmarks import FEW, NO_MEMORY, notices, run

CPU = torch.device("cpu")
Calls = tuple[list[float], int | None]
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
        assert row.accuracy is row.model is None
    softmax = report.results[0]
    assert (softmax.parameters, softmax.macs, softmax.size_bytes) == (7850, 7840, 4 * 7850)
    assert Measuring("mlp", "torch, batch 4", 1, 2) in events


def test_a_model_that_cannot_be_exported_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> Any:
        raise RuntimeError("no graph\nof it")

    monkeypatch.setattr(measurement, "open_graph", failing)
    report, events = run("softmax", batch_sizes=(1,), runtimes=("onnxruntime", "torch"))
    assert [row.runtime for row in report.results] == ["torch"]
    (note,) = (note for note in notices(events) if "left out" in note)
    assert note == "softmax with onnxruntime is left out: RuntimeError: no graph"


def test_models_are_measured_with_every_combination_that_can_run_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    report, events = run("cnn", "softmax", runtimes=("torch", "onnxruntime", "torch"))
    assert [(row.name, row.runtime) for row in report.results] == [
        ("cnn", "torch"), ("cnn", "onnxruntime"), ("softmax", "torch"),
    ]  # fmt: skip
    assert report.results[0].accuracy == report.results[1].accuracy
    left_out = [re.sub(" is left out.*", "", message) for message in notices(events) if "left out" in message]
    assert left_out == ["softmax with onnxruntime"]
    assert Measuring("cnn", "onnxruntime, batch 1", 0, 2) in events


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


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def measure(size: int) -> Calls:
        tried.append(size)
        if size > 3:
            raise NO_MEMORY
        return [0.5], 7

    fake_calls(monkeypatch, measure)
    report, events = run("softmax", batch_sizes=(16,))
    assert tried == [16, 8, 4, 2]
    assert [row.batch_size for row in report.results] == [2]
    assert report.results[0].images_per_second == 4.0 and report.results[0].peak_memory_bytes == 7
    assert len(notices(events)) == 3 and "16" in notices(events)[0] and "8" in notices(events)[0]


def test_a_lack_of_memory_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (NO_MEMORY, MemoryError()):
        monkeypatch.setattr(measurement, "measure_calls", raising(error))
        with pytest.raises(EnvironmentFault, match="memory") as caught:
            run("softmax", batch_sizes=(2,))
        assert "smaller model" in caught.value.remedy
    monkeypatch.setattr(measurement, "measure_calls", raising(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes"):  # a fault of the network
        run("softmax")
    with pytest.raises(EnvironmentFault, match="onnxruntime cannot run micro .* shapes") as caught:
        run("micro", runtimes=("onnxruntime",))
    assert caught.value.remedy == "Give --runtime torch."


def raising(error: BaseException) -> Callable[..., Calls]:
    def measure(model: object, size: int) -> Calls:
        raise error

    return measure


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
        ("resnet", CPU, "tflite", "cannot hold resnet: it has"),
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


class Witness(torch.nn.Module):
    """A network that records how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        self.inference: set[bool] = set()
        self.threads: set[int] = set()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        self.inference.add(torch.is_inference_mode_enabled())
        self.threads.add(torch.get_num_threads())
        return torch.zeros(len(images), 10)


class Clock:
    """A clock that only tests advance."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


def prepared(network: torch.nn.Module, device: torch.device = CPU) -> PreparedModel:
    return PreparedModel(Candidate("witness", None), network, device, "torch", 0, 0, 0)


def witnessed(batch_size: int = 4, network: Witness | None = None) -> tuple[Witness, list[float], int | None]:
    """Measure a network; return it and its calls."""
    network = network or Witness()
    return network, *measurement.measure_calls(prepared(network), batch_size)


def time_fake_calls(durations: Iterable[float]) -> list[float]:
    """Time calls that take these durations: at least 20 calls in at least a second."""
    clock, remaining = Clock(), iter(durations)

    def call() -> None:
        clock.now += next(remaining)

    return time_calls(call, clock, min_calls=20, min_seconds=1.0)


def test_networks_are_called_in_inference_mode_with_the_whole_batch_after_a_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measurement, "synchronized_clock", lambda device: Clock())
    wanted = torch.get_num_threads() + 1
    with use_threads(wanted):
        network, seconds, peak_memory = witnessed(batch_size=4)
    assert network.inference == {True} and network.threads == {wanted}
    assert set(network.shapes) == {(4, 1, 28, 28)}
    assert len(network.shapes) == measurement.WARM_UP_CALLS + 20
    assert seconds == [0.0] * 20 and peak_memory is None


def test_the_clock_is_read_directly_before_and_after_each_call() -> None:
    clock = Clock()
    reads: list[int] = []
    time_calls(lambda: reads.append(clock.reads), clock, min_calls=3, min_seconds=0.0)
    assert reads == [2, 4, 6] and clock.reads == 7


@pytest.mark.parametrize(("duration", "calls"), [(2.0**-10, 1024), (0.0625, 20), (0.5, 10), (8.0, 6)])
def test_calls_take_their_least_time_and_number_or_five_seconds_and_six_calls(
    monkeypatch: pytest.MonkeyPatch, duration: float, calls: int
) -> None:
    monkeypatch.setattr(measurement, "MAX_SECONDS", 5.0)
    assert time_fake_calls(itertools.repeat(duration)) == [duration] * calls


def test_a_slow_call_shows_in_the_tail() -> None:
    median, p95 = median_and_p95(time_fake_calls([0.05] * 18 + [0.1] * 2))
    assert median == pytest.approx(0.05) and p95 == pytest.approx(0.1)
    for samples, expected in [
        ([float(value) for value in range(101, 0, -1)], (51, 96)),
        ([1.0] * 19 + [101.0], (1, 6)),  # a twentieth of the way from 1 to 101
        ([3.0], (3, 3)),
        ([1.0, 3.0], (2, 2.9)),
    ]:
        assert median_and_p95(samples) == pytest.approx(expected)


def test_tf32_is_switched_off_and_the_setting_restored() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision
    with pytest.raises(KeyboardInterrupt), measurement.without_tf32():
        assert cudnn.conv.fp32_precision != "tf32" and not cudnn.allow_tf32
        raise KeyboardInterrupt
    assert cudnn.conv.fp32_precision == before == "tf32"


def test_peak_memory_is_measured_on_cuda_after_earlier_networks_are_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(measurement.gc, "collect", lambda: steps.append("collect"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: steps.append(str(device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000 + device.index)
    monkeypatch.setattr(PreparedModel, "call_with", lambda model, batch_size: lambda: None)
    monkeypatch.setattr(measurement, "synchronized_clock", lambda device: time.perf_counter)
    model = prepared(Witness(), torch.device("cuda:1"))
    assert measurement.measure_calls(model, 1)[1] == 1001
    assert steps == ["collect", "cuda:1"]
