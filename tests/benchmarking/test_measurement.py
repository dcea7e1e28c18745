"""The measurement of a network: its calls, their number, their settings and the counted memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import pytest
import torch

from digitcli.benchmarking import benchmark as measurement
from digitcli.benchmarking.benchmark import PreparedModel, median_and_p95, time_calls
from digitcli.benchmarking.benchmark_results import Candidate
from digitcli.threads import use_threads

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
