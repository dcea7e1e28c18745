"""How a network is measured: what is called, how often, under which settings, and what is counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.benchmark import Timer

from digitcli.benchmarking import measurement
from digitcli.benchmarking.measurement import Subject, median_and_p95, time_calls, warm_up, watch_memory
from tests.support.benchmarks import run

CPU = torch.device("cpu")


class Witness(torch.nn.Module):
    """A network that notes how it is called."""

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
    """A clock that stands still but for what is done with it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


class FakeTimer:
    """A timer of calls that take so long, each after two of the same that are not timed."""

    def __init__(self, durations: Iterable[float], clock: Clock) -> None:
        self.durations, self.clock = iter(durations), clock

    def timeit(self, number: int) -> Any:
        assert number == 1
        duration = next(self.durations)
        self.clock.now += 3 * duration
        return type("Measurement", (), {"raw_times": [duration]})


def witnessed(batch_size: int = 4, network: Witness | None = None) -> tuple[Witness, measurement.Calls]:
    """A network that has been measured."""
    network = network or Witness()
    subject = Subject("witness", "witness", network, CPU, "float32", "torch", None, 0, 0, 0)
    return network, measurement.measure_calls(subject, batch_size)


def time_fake_calls(durations: Iterable[float]) -> list[float]:
    clock = Clock()
    timer: Any = FakeTimer(durations, clock)
    return time_calls(timer, clock)


def test_networks_are_called_in_inference_mode_with_the_whole_batch() -> None:
    network, calls = witnessed(batch_size=4)
    assert network.inference == {True}
    assert set(network.shapes) == {(4, 1, 28, 28)}
    assert len(calls.seconds) == 20


def test_networks_are_called_with_the_threads_that_were_asked_for() -> None:
    wanted = torch.get_num_threads() + 1  # a Timer that is not told takes 1
    with measurement.threads(wanted):
        network, _ = witnessed()
    assert network.threads == {wanted}


def test_calls_are_timed_by_the_clock_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked, timers = Clock(), [], []

    def clock_of(device: torch.device) -> Clock:
        asked.append(device)
        return clock

    def timer(*arguments: Any, **settings: Any) -> Timer:
        timers.append(settings["timer"])
        return Timer(*arguments, **settings)

    monkeypatch.setattr(measurement, "synchronised_clock", clock_of)
    monkeypatch.setattr(measurement, "Timer", timer)
    _, calls = witnessed()
    assert asked == [CPU] and timers == [clock]
    assert calls.seconds == [1e-9] * 20  # the least that a Timer gives: the clock stands still


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
def test_warming_up_takes_its_least_time_and_three_calls_or_five_seconds(
    monkeypatch: pytest.MonkeyPatch, duration: float, calls: int
) -> None:
    monkeypatch.setattr(measurement, "WARM_UP_SECONDS", 0.25)
    monkeypatch.setattr(measurement, "MOST_SECONDS", 5.0)
    clock, done = Clock(), []

    def call() -> None:
        done.append(duration)
        clock.now += duration

    warm_up(call, clock)
    assert len(done) == calls


@pytest.mark.parametrize(("duration", "calls"), [(2.0**-10, 342), (0.0625, 20), (0.5, 4), (8.0, 1)])
def test_a_row_takes_its_least_time_or_twenty_calls_or_five_seconds_of_all_it_does(
    monkeypatch: pytest.MonkeyPatch, duration: float, calls: int
) -> None:
    monkeypatch.setattr(measurement, "LEAST_SECONDS", 1.0)
    monkeypatch.setattr(measurement, "MOST_SECONDS", 5.0)
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


def test_float32_is_computed_whole_and_the_setting_given_back() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision
    with pytest.raises(KeyboardInterrupt), measurement.whole_float32():
        assert cudnn.conv.fp32_precision != "tf32" and not cudnn.allow_tf32
        raise KeyboardInterrupt
    assert cudnn.conv.fp32_precision == before == "tf32"


def test_rows_and_accuracy_are_computed_whole_but_not_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def note(what: str, value: Any) -> Callable[..., Any]:
        return lambda *given, **more: seen.append((what, torch.backends.cudnn.allow_tf32)) or value

    monkeypatch.setattr(measurement, "accuracy_of", note("accuracy", 0.5))
    monkeypatch.setattr(measurement, "measure_calls", note("row", measurement.Calls([0.5], None, None)))
    monkeypatch.setattr("digitcli.training.trainer.training_speed", note("training", 1.0))
    run("cnn", train=True)
    assert seen == [("accuracy", False), ("row", False), ("training", True)]


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_what_was_dropped_is_gone_before_memory_is_watched(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    done: list[str] = []
    monkeypatch.setattr(measurement.gc, "collect", lambda: done.append("collected"))
    monkeypatch.setattr(measurement, "_trim_heap", lambda: done.append("watched"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: done.append("watched"))
    watch_memory(torch.device(device))
    assert done == ["collected", "watched"]


@pytest.mark.skipif(not measurement.CLEAR_REFS.exists(), reason="only Linux can")
def test_peak_memory_is_that_of_the_row_alone() -> None:
    peak = watch_memory(CPU)
    before = peak()
    torch.ones(25_000_000)  # 100 MB
    with_tensor = peak()
    after = watch_memory(CPU)()
    assert before is not None and with_tensor is not None and after is not None
    assert with_tensor - before > 90_000_000
    assert with_tensor - after > 90_000_000


def test_peak_memory_is_unknown_where_nobody_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measurement, "CLEAR_REFS", tmp_path / "none" / "such")
    assert watch_memory(CPU)() is None
    assert watch_memory(torch.device("mps"))() is None


def test_on_cuda_peak_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", done.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000 + device.index)
    assert watch_memory(torch.device("cuda:1"))() == 1001
    assert done == [torch.device("cuda:1")]


def test_the_clock_waits_for_the_device_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    measurement.synchronised_clock(CPU)()
    assert waited == []
    measurement.synchronised_clock(torch.device("cuda:1"))()
    assert waited == [torch.device("cuda:1")]


def test_waiting_for_a_core_is_unknown_where_nobody_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measurement, "THREADS", tmp_path)
    assert measurement.watch_waiting()() is None


def test_waiting_is_summed_over_all_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for thread, waited_ns in (("1", 2_000_000_000), ("2", 500_000_000)):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(f"77 {waited_ns} 9\n")
    monkeypatch.setattr(measurement, "THREADS", tmp_path)
    assert measurement._waited_seconds() == 2.5
