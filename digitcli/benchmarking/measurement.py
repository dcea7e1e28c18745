"""How a network is measured: speed, memory, accuracy."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from digitcli.architectures.registry import resolve_recipe
from digitcli.architectures.summary import summarize
from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist_test
from digitcli.errors import EnvironmentFault, ModelError, UsageError
from digitcli.evaluation.metrics import Z_95, accuracy
from digitcli.inference.checkpoint import Header
from digitcli.inference.model_index import open_or_create
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models
from digitcli.inference.onnx_runtime import OnnxRuntime, as_batch, open_onnx_runtime
from digitcli.inference.predictor import DigitClassifier
from digitcli.inference.runtime import Runtime
from digitcli.inference.torch_runtime import TorchRuntime, as_input, place_network
from digitcli.training.configuration import TrainConfig
from digitcli.training.network import architecture_arguments

T = TypeVar("T")
WARM_UP_CALLS, WARM_UP_SECONDS = 3, 0.2
QUICK_WARM_UP, QUICK_CALLS = 5, 30
LEAST_CALLS, LEAST_SECONDS, MOST_SECONDS = 20, 1.0, 5.0
ACCURACY_BATCH = 500  # divides 10,000, so that torch.compile meets one shape
CLEAR_REFS, STATUS, THREADS = (Path("/proc/self") / name for name in ("clear_refs", "status", "task"))


@dataclass(frozen=True)
class Subject:
    """A network on its device, ready to be measured; `model` is None for fresh weights."""

    name: str
    architecture: str
    network: nn.Module
    device: torch.device
    dtype: str
    runtime: str
    model: ResolvedModel | None
    parameters: int
    macs: int
    size_bytes: int
    graph: OnnxRuntime | None = None

    def runtime_for_digits(self) -> Runtime:
        """As the classifier runs it, compiled for one shape if need be."""
        return self.graph or TorchRuntime(_runnable(self), self.device)

    def call_with(self, batch_size: int) -> Callable[[], object]:
        """A call with so many test digits, which are on the device already."""
        digits = first_digits(batch_size)
        if self.graph is not None:
            compute, batch = self.graph.run_batch, as_batch(digits)
            return lambda: compute(batch)
        images = as_input(torch.from_numpy(digits).to(self.device)).to(getattr(torch, self.dtype))
        network = _runnable(self)
        return lambda: network(images)


@dataclass(frozen=True)
class Calls:
    """Seconds of each call, the most memory used in bytes, and the share of time spent waiting for a core."""

    seconds: list[float]
    peak_memory_bytes: int | None
    core_wait: float | None


class InDtype(nn.Module):
    """A network converted to a number format, which takes images as every network does.

    Converted once and not under autocast, which converts the weights anew in each call: for one image that
    takes longer than the network itself. What it costs in accuracy is measured beside it.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        logits: Tensor = self.network(images.to(self.dtype))
        return logits


def why_not(name: str, device: torch.device, runtime: str, dtype: str) -> str | None:
    """Why a model cannot be run so; None where it can, as far as is known beforehand."""
    if runtime != "onnxruntime":
        return None
    if dtype != "float32":
        return "its graphs compute in float32."
    if device.type != "cpu":
        return "it computes on the CPU."
    if name not in shipped_models() and not os.path.lexists(name):
        return "fresh weights have no graph."
    return None if resolve_model(name).graph_path else "it has no graph."


def open_subject(name: str, device: torch.device, dtype: str, runtime: str = "torch") -> Subject:
    """The model of that name, or the architecture with fresh weights, on a device in a number format.

    Raises:
        ModelError: no such model, or a damaged or foreign file.
        EnvironmentFault: MPS computes wrongly.
    """
    network, model = open_or_create(name)
    summary = summarize(network)
    network = place_network(network, device)
    if dtype != "float32":
        network = InDtype(network, getattr(torch, dtype)).eval()
    return Subject(
        name=name,
        architecture=model.header.architecture if model else name,
        network=network,
        device=device,
        dtype=dtype,
        runtime=runtime,
        model=model,
        parameters=summary.parameters,
        macs=summary.macs,
        size_bytes=model.path.stat().st_size if model else 4 * summary.parameters,
        graph=open_onnx_runtime(model, torch.get_num_threads())
        if model and runtime == "onnxruntime"
        else None,
    )


@functools.cache
def _test_digits() -> Digits:
    """Unpacked once, since unpacking takes more memory than most networks."""
    return load_mnist_test()


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within it PyTorch computes with that many threads of the CPU; None changes nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def whole_float32() -> Iterator[None]:
    """Within it cuDNN computes float32 with all its bits, where by default it rounds to TF32 on the way."""
    cudnn = torch.backends.cudnn
    # Reading `allow_tf32` fails where somebody has set `fp32_precision`; setting it does not.
    before = cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def measure_calls(subject: Subject, batch_size: int) -> Calls:
    """Call the network again and again with a batch of test digits that is on the device already."""
    _test_digits()
    peak_memory = watch_memory(subject.device)
    call = subject.call_with(batch_size)
    clock = synchronised_clock(subject.device)
    timer = Timer(
        "call()",
        globals={"call": call},
        num_threads=torch.get_num_threads(),
        timer=clock,
    )
    with torch.inference_mode():
        warm_up(call, clock)
        core_wait = watch_waiting()
        seconds = time_calls(timer, clock)
    return Calls(seconds, peak_memory(), core_wait())


def quick_latency_ms(network: nn.Module, device: torch.device) -> float:
    """The median time of a few calls with one test digit, for comparing many networks.

    Where the device computes it wrongly it is the CPU's, which then trained and judged it.
    """
    try:
        network = place_network(network, device)
    except EnvironmentFault:
        device = torch.device("cpu")
        network = place_network(network, device)
    image = as_input(torch.from_numpy(first_digits(1)).to(device))
    clock = synchronised_clock(device)
    seconds = []
    with torch.inference_mode():
        for _ in range(QUICK_WARM_UP + QUICK_CALLS):
            began = clock()
            network(image)
            seconds.append(clock() - began)
    return 1000 * statistics.median(seconds[QUICK_WARM_UP:])


def first_digits(batch_size: int) -> npt.NDArray[np.uint8]:
    """The first test digits, over and over if need be: (N, 28, 28)."""
    images = _test_digits().images
    return images[np.arange(batch_size) % len(images)]


def warm_up(call: Callable[[], object], clock: Callable[[], float]) -> None:
    """Call without keeping the times: the first calls allocate, choose algorithms, or compile."""

    def call_and_forget() -> None:
        call()  # its logits would count in the memory of the row

    _repeat(call_and_forget, WARM_UP_CALLS, WARM_UP_SECONDS, clock)


def time_calls(timer: Timer, clock: Callable[[], float]) -> list[float]:
    """Seconds of call after call: for a second, then on to 20 calls unless 5 seconds are over.

    Each call is timed by itself, since a slow one would vanish in the mean over a block of calls, which is
    what larger numbers for `timeit` and `blocked_autorange` give. Before each, `timeit` makes two calls that
    it does not time; the limits count them too, since they are what a person waits for.
    """
    return _repeat(lambda: timer.timeit(1).raw_times[0], LEAST_CALLS, LEAST_SECONDS, clock)


def _repeat(
    measure: Callable[[], T], least_times: int, least_seconds: float, clock: Callable[[], float]
) -> list[T]:
    """What it gives time after time: so often and so long at least, but no more after `MOST_SECONDS`.

    The clock, which waits for the device, is read after each.
    """
    results: list[T] = []
    began, passed = clock(), 0.0
    while passed < least_seconds or (len(results) < least_times and passed < MOST_SECONDS):
        results.append(measure())
        passed = clock() - began
    return results


def synchronised_clock(device: torch.device) -> Callable[[], float]:
    """A clock in seconds that is read when the device has done all it was asked to do.

    That of `torch.utils.benchmark` waits for the current GPU: the wrong one for `cuda:1`, and one that has
    nothing to do where the CPU computes.
    """
    if device.type == "cpu":
        return time.perf_counter

    def clock() -> float:
        torch.accelerator.synchronize(device)
        return time.perf_counter()

    return clock


def median_and_p95(seconds: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile, interpolated between neighbours."""
    median, p95 = np.percentile(seconds, [50, 95])
    return float(median), float(p95)


def interval_of_median(seconds: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median: values at ranks that follow from the binomial distribution."""
    ordered, n = sorted(seconds), len(seconds)
    reach = Z_95 * math.sqrt(n) / 2
    return ordered[max(0, math.floor(n / 2 - reach))], ordered[min(n - 1, math.ceil(n / 2 + reach))]


def watch_memory(device: torch.device) -> Callable[[], int | None]:
    """Start watching; what it gives returns the most memory used since, in bytes, or None if unknown.

    On CUDA that is what PyTorch allocated on the device. On the CPU it is the resident set of the whole
    process, with Python, the loaded libraries and all they keep: some hundred megabytes before any network.
    Linux keeps its highest value, and forgets it when 5 is written to `clear_refs`.
    """
    gc.collect()  # networks hold themselves in circles: those of the rows before may still be there
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    try:
        if device.type == "cpu":
            _trim_heap()
            CLEAR_REFS.write_text("5")
            return _largest_resident_bytes
    except OSError:
        pass  # not Linux, or a sandbox that forbids it
    return lambda: None


def _trim_heap() -> None:
    """Give back what the rows before have freed, which glibc keeps: else a row's memory depends on it."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _largest_resident_bytes() -> int | None:
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return None


def watch_waiting() -> Callable[[], float | None]:
    """Start watching; what it gives returns the share of the time since in which a thread waited for a core.

    It is near 0 unless other programs want the cores too, or there are more threads than cores. None where
    the system does not tell.
    """
    started, waited_before = time.perf_counter(), _waited_seconds()

    def share() -> float | None:
        waited = _waited_seconds()
        if waited is None or waited_before is None:
            return None
        thread_seconds = torch.get_num_threads() * (time.perf_counter() - started)
        return (waited - waited_before) / thread_seconds

    return share


def _waited_seconds() -> float | None:
    """How long all threads of this process were ready to run and had no core, since they began."""
    try:
        fields = [path.read_text().split() for path in THREADS.glob("*/schedstat")]
    except OSError:
        return None
    return sum(int(waited_ns) for _, waited_ns, _ in fields) / 1e9 if fields else None


def release_memory(device: torch.device) -> None:
    """Give back what a call that ran out of memory has left reserved on the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def accuracy_of(subject: Subject) -> float | None:
    """The accuracy on the 10,000 embedded test digits, as the network runs here; None for fresh weights."""
    if subject.model is None:
        return None
    digits = _test_digits()
    classifier = DigitClassifier([subject.model], [subject.runtime_for_digits()], ACCURACY_BATCH)
    return accuracy(classifier.logits(digits.images), digits.labels)


def training_config(name: str, header: Header | None, device: torch.device) -> TrainConfig | None:
    """The training of a model by its recipe; None where that would build another network than its own.

    Raises:
        ModelError: the recipe in its checkpoint is damaged.
    """
    if header is None:
        return TrainConfig(arch=name, device=str(device))
    with blaming_recipe(name):
        dtype = resolve_recipe(header.architecture).dtype  # the checkpoint has the best of another machine
        recipe = {**header.recipe, "dtype": dtype}
        config = TrainConfig(arch=header.architecture, recipe=recipe, device=str(device))
        trained = architecture_arguments(resolve_recipe(config.arch, **config.recipe))
    own = architecture_arguments(resolve_recipe(config.arch)) | header.arguments
    return config if own == trained else None


@contextlib.contextmanager
def blaming_recipe(name: str) -> Iterator[None]:
    """Within it a setting that cannot be meant is the model's fault: nobody has given it as an option.

    Raises:
        ModelError: there is such a setting.
    """
    try:
        yield
    except UsageError as error:
        cause = f"{name} cannot be trained by its recipe: {error.cause}"
        raise ModelError(cause, "Leave --train out, or fetch or train it again.") from error


def _runnable(subject: Subject) -> nn.Module:
    """The network as it is called, compiled for one shape if need be.

    What was compiled before is forgotten: after eight shapes PyTorch would stop compiling and say nothing.
    """
    if subject.runtime != "torch.compile":
        return subject.network
    torch.compiler.reset()
    return cast("nn.Module", torch.compile(subject.network, dynamic=False))
