"""How a network is measured: what is called, how often, with which settings, and what is counted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch.utils.benchmark import Timer

from digitcli.benchmarking import measurement
from digitcli.benchmarking.configuration import Candidate
from digitcli.benchmarking.measurement import PreparedModel, median_and_p95, time_calls, warm_up
from tests.support.benchmarks import run

CPU = torch.device("cpu")


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


class FakeTimer:
    """A timer of calls with given durations, each after two calls of equal length that are not timed."""

    def __init__(self, durations: Iterable[float], clock: Clock) -> None:
        self.durations, self.clock = iter(durations), clock

    def timeit(self, number: int) -> Any:
        assert number == 1
        duration = next(self.durations)
        self.clock.now += 3 * duration
        return type("Measurement", (), {"raw_times": [duration]})


def prepared(network: torch.nn.Module, device: torch.device = CPU) -> PreparedModel:
    return PreparedModel(Candidate("witness", None), network, device, "float32", "torch", 0, 0, 0)


def witnessed(batch_size: int = 4, network: Witness | None = None) -> tuple[Witness, measurement.Calls]:
    """Measure a network; return it and its calls."""
    network = network or Witness()
    return network, measurement.measure_calls(prepared(network), batch_size)


def time_fake_calls(durations: Iterable[float]) -> list[float]:
    clock = Clock()
    timer: Any = FakeTimer(durations, clock)
    return time_calls(timer, clock)


def test_networks_are_called_in_inference_mode_with_the_whole_batch() -> None:
    network, calls = witnessed(batch_size=4)
    assert network.inference == {True}
    assert set(network.shapes) == {(4, 1, 28, 28)}
    assert len(calls.seconds) == 20


def test_networks_are_called_with_the_chosen_threads() -> None:
    wanted = torch.get_num_threads() + 1  # the default of a Timer is 1
    with measurement.use_threads(wanted):
        network, _ = witnessed()
    assert network.threads == {wanted}


def test_calls_are_timed_by_the_clock_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, devices, timers = Clock(), [], []

    def clock_of(device: torch.device) -> Clock:
        devices.append(device)
        return clock

    def timer(*arguments: Any, **settings: Any) -> Timer:
        timers.append(settings["timer"])
        return Timer(*arguments, **settings)

    monkeypatch.setattr(measurement, "synchronized_clock", clock_of)
    monkeypatch.setattr(measurement, "Timer", timer)
    _, calls = witnessed()
    assert devices == [CPU] and timers == [clock]
    assert calls.seconds == [1e-9] * 20  # the smallest time that a Timer gives


def test_the_first_calls_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[int] = []

    def stop_at_once(timer: Timer, clock: Callable[[], float]) -> list[float]:
        before.append(len(network.shapes))
        return [0.5]

    network = Witness()
    monkeypatch.setattr(measurement, "time_calls", stop_at_once)
    witnessed(network=network)
    assert before == [len(network.shapes)] == [3]


def test_warming_up_waits_for_the_device_after_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    read: list[int] = []
    warm_up(lambda: read.append(clock.reads), clock)
    assert len(read) == 3 and all(later > sooner for sooner, later in itertools.pairwise(read))


@pytest.mark.parametrize(("duration", "calls"), [(2.0**-6, 16), (0.125, 3), (1.0, 3), (8.0, 1)])
def test_warming_up_takes_its_minimal_time_and_three_calls_or_five_seconds(
    monkeypatch: pytest.MonkeyPatch, duration: float, calls: int
) -> None:
    monkeypatch.setattr(measurement, "WARM_UP_SECONDS", 0.25)
    monkeypatch.setattr(measurement, "MAX_SECONDS", 5.0)
    clock, done = Clock(), []

    def call() -> None:
        done.append(duration)
        clock.now += duration

    warm_up(call, clock)
    assert len(done) == calls


@pytest.mark.parametrize(("duration", "calls"), [(2.0**-10, 342), (0.0625, 20), (0.5, 4), (8.0, 1)])
def test_a_row_takes_its_minimal_time_and_twenty_calls_or_five_seconds(
    monkeypatch: pytest.MonkeyPatch, duration: float, calls: int
) -> None:
    monkeypatch.setattr(measurement, "MIN_SECONDS", 1.0)
    monkeypatch.setattr(measurement, "MAX_SECONDS", 5.0)
    assert time_fake_calls(itertools.repeat(duration)) == [duration] * calls


def test_a_slow_call_shows_in_the_tail() -> None:
    median, p95 = median_and_p95(time_fake_calls([0.001] * 18 + [0.064] * 2))
    assert median == pytest.approx(0.001) and p95 == pytest.approx(0.064)


@pytest.mark.parametrize(
    ("samples", "median", "p95"),
    [
        ([float(value) for value in range(101, 0, -1)], 51, 96),
        ([1.0] * 19 + [101.0], 1, 6),  # a twentieth of the way from 1 to 101
        ([3.0], 3, 3),
        ([1.0, 3.0], 2, 2.9),
    ],
)
def test_percentiles(samples: list[float], median: float, p95: float) -> None:
    assert median_and_p95(samples) == pytest.approx((median, p95))


def test_tf32_is_switched_off_and_the_setting_restored() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision
    with pytest.raises(KeyboardInterrupt), measurement.without_tf32():
        assert cudnn.conv.fp32_precision != "tf32" and not cudnn.allow_tf32
        raise KeyboardInterrupt
    assert cudnn.conv.fp32_precision == before == "tf32"


def test_tf32_is_off_for_rows_and_accuracy_but_not_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[tuple[str, bool]] = []

    def note(what: str, value: Any) -> Callable[..., Any]:
        return lambda *arguments, **options: settings.append((what, torch.backends.cudnn.allow_tf32)) or value

    monkeypatch.setattr(measurement, "measure_accuracy", note("accuracy", 0.5))
    monkeypatch.setattr(measurement, "measure_calls", note("row", measurement.Calls([0.5], None)))
    monkeypatch.setattr("digitcli.training.trainer.training_speed", note("training", 1.0))
    run("cnn", train=True)
    assert settings == [("accuracy", False), ("row", False), ("training", True)]


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
    assert measurement.measure_calls(model, 1).peak_memory_bytes == 1001
    assert steps == ["collect", "cuda:1"]


def test_peak_memory_is_unknown_on_the_cpu() -> None:
    assert witnessed()[1].peak_memory_bytes is None


def test_the_clock_waits_for_the_device_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    measurement.synchronized_clock(CPU)()
    assert waited == []
    measurement.synchronized_clock(torch.device("cuda:1"))()
    assert waited == [torch.device("cuda:1")]
