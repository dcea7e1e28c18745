"""Measure a model: the time of its calls, its memory and its accuracy."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from digitcli.architectures.registry import create_model
from digitcli.architectures.summary import summarize
from digitcli.benchmarking.benchmark_results import Candidate
from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist_test
from digitcli.errors import EnvironmentFault
from digitcli.evaluation.metrics import Z_95, accuracy
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.onnx_runtime import OnnxRuntime, as_batch, import_onnxruntime, open_onnx_runtime
from digitcli.inference.predictor import DigitClassifier
from digitcli.inference.tflite_runtime import TfliteRuntime, import_litert
from digitcli.inference.torch_runtime import TorchRuntime, as_input, open_network, place_network

# Chosen by hand: the median of a row moves by about 1 % from run to run, and no row takes over 6 seconds.
WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.2
MIN_CALLS = 20
MIN_SECONDS = 1.0
MAX_SECONDS = 5.0
LEAST_CALLS = 6  # however slow: the least and the greatest of five hold the median with 94 % only
QUICK_WARM_UP_CALLS = 5
QUICK_CALLS = 30
FLOAT_BYTES = 4
ACCURACY_BATCH_SIZE = 500

GraphRuntime = OnnxRuntime | TfliteRuntime
# Returns the file with which a runtime computes a network: the runtime, a name for the network, the network,
# and the trained model that it is of, or None. A UsageError says why it cannot.
ExportGraph = Callable[[str, str, nn.Module, ResolvedModel | None], bytes]
# By runtime: the function that imports its package, or raises an EnvironmentFault.
PACKAGES: Mapping[str, Callable[[], None]] = {"onnxruntime": import_onnxruntime, "tflite": import_litert}


@dataclass(frozen=True)
class PreparedModel:
    """A model on its device and with a runtime, ready to be measured.

    size_bytes: the size of the files that the runtime loads; for new weights with PyTorch, the size of the
        parameters as float32.
    graph: what computes it in place of PyTorch, where `runtime` is onnxruntime or tflite.
    """

    candidate: Candidate
    network: nn.Module
    device: torch.device
    runtime: str
    parameters: int
    macs: int
    size_bytes: int
    graph: GraphRuntime | None = None

    @property
    def architecture(self) -> str:
        """The name of its architecture."""
        model = self.candidate.model
        return model.header.architecture if model else self.candidate.name

    def call_with(self, batch_size: int) -> Callable[[], object]:
        """Return a function that computes a batch of test digits, which are on the device already."""
        digits = first_digits(batch_size)
        if self.graph is not None:
            run_batch, batch = self.graph.run_batch, as_batch(digits)
            return lambda: run_batch(batch)
        images, network = as_input(torch.from_numpy(digits).to(self.device)), self.network
        return lambda: network(images)


@dataclass(frozen=True)
class Calls:
    """The seconds of each call, and the most memory that was used; None where that is unknown."""

    seconds: list[float]
    peak_memory_bytes: int | None


def open_candidate(candidate: Candidate) -> nn.Module:
    """Return the network of a candidate on the CPU.

    Raises:
        ModelError: its checkpoint is damaged.
    """
    return open_network(candidate.model) if candidate.model else create_model(candidate.name).eval()


def prepare_model(
    candidate: Candidate, device: torch.device, runtime: str, export_graph: ExportGraph | None
) -> PreparedModel:
    """Load a model onto a device and for a runtime.

    Raises:
        UsageError: the model cannot be measured in this way.
        ModelError: its checkpoint is damaged.
        EnvironmentFault: the device computes wrongly, or a package is not installed.
    """
    network, model = open_candidate(candidate), candidate.model
    summary, graph = summarize(network), None
    size_bytes = model.path.stat().st_size if model else FLOAT_BYTES * summary.parameters
    if runtime in PACKAGES:
        graph, size_bytes = open_graph(runtime, candidate, network, export_graph)
    network = place_network(network, device)
    return PreparedModel(
        candidate, network, device, runtime, summary.parameters, summary.macs, size_bytes, graph
    )


def open_graph(
    runtime: str, candidate: Candidate, network: nn.Module, export_graph: ExportGraph | None
) -> tuple[GraphRuntime, int]:
    """Return a runtime with the graph of a network on the CPU, and the bytes of the files that it needs.

    ONNX Runtime takes the graph that is shipped with a model; any other graph is exported.

    Raises:
        UsageError, EnvironmentFault: there is no graph, and none can be exported.
        ModelError: a shipped graph is damaged.
    """
    model, threads = candidate.model, torch.get_num_threads()
    if runtime == "onnxruntime" and model is not None and model.graph_path is not None:
        size_bytes = sum(path.stat().st_size for path in (model.path, model.graph_path))
        return open_onnx_runtime(model, threads), size_bytes
    if export_graph is None:
        raise EnvironmentFault(
            f"{candidate.name} has no graph for {runtime}.", "Pass a function that exports."
        )
    content = export_graph(runtime, candidate.name, network, model)
    opened = TfliteRuntime(content, threads) if runtime == "tflite" else OnnxRuntime(content, {}, threads)
    return opened, len(content)


@functools.cache
def _test_digits() -> Digits:
    return load_mnist_test()


def first_digits(batch_size: int) -> npt.NDArray[np.uint8]:
    """Return the first test digits (N, 28, 28), repeated if there are too few."""
    images = _test_digits().images
    return images[np.arange(batch_size) % len(images)]


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Let cuDNN compute float32 with all its bits; by default it rounds the inputs to TF32."""
    cudnn = torch.backends.cudnn
    # Reading `allow_tf32` fails where somebody has set `fp32_precision`; setting it does not.
    before = cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def measure_calls(model: PreparedModel, batch_size: int) -> Calls:
    """Time one call after another, each with the same batch of test digits, after a warm-up.

    The first calls allocate memory and choose algorithms. The memory is the most that PyTorch had
    allocated on a CUDA device. It is unknown elsewhere: the resident set of a process includes the libraries
    and what earlier models left behind.
    """
    gc.collect()  # an earlier network may hold itself in a circle of references
    on_cuda = model.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(model.device)
    call, clock = model.call_with(batch_size), synchronized_clock(model.device)
    with torch.inference_mode():
        time_calls(call, clock, WARM_UP_CALLS, WARM_UP_SECONDS)
        seconds = time_calls(call, clock, MIN_CALLS, MIN_SECONDS)
    return Calls(seconds, torch.cuda.max_memory_allocated(model.device) if on_cuda else None)


def time_calls(
    call: Callable[[], object], clock: Callable[[], float], min_calls: int, min_seconds: float
) -> list[float]:
    """Return the seconds of each call: the least number in the least time, but few more after 5 seconds.

    `blocked_autorange` of `torch.utils.benchmark` gives the mean of a block of calls, in which a slow call
    would vanish.
    """
    seconds: list[float] = []
    begin = end = clock()
    least_calls = min(min_calls, LEAST_CALLS)
    while (
        len(seconds) < least_calls
        or end - begin < min_seconds
        or (len(seconds) < min_calls and end - begin < MAX_SECONDS)
    ):
        start = clock()
        call()
        end = clock()
        seconds.append(end - start)
    return seconds


def synchronized_clock(device: torch.device) -> Callable[[], float]:
    """Return a clock in seconds that first waits until the device has finished."""
    if device.type == "cpu":
        return time.perf_counter

    def clock() -> float:
        torch.accelerator.synchronize(device)
        return time.perf_counter()

    return clock


def quick_latency_ms(network: nn.Module, device: torch.device) -> float:
    """Return the median time of a few calls with one test digit, to compare many networks.

    Where the device computes wrongly, the CPU is measured, which then also trained and evaluated the network.
    """
    try:
        network = place_network(network, device)
    except EnvironmentFault:
        device = torch.device("cpu")
        network = place_network(network, device)
    image, clock = as_input(torch.from_numpy(first_digits(1)).to(device)), synchronized_clock(device)
    with torch.inference_mode():
        time_calls(lambda: network(image), clock, QUICK_WARM_UP_CALLS, min_seconds=0.0)
        seconds = time_calls(lambda: network(image), clock, QUICK_CALLS, min_seconds=0.0)
    return 1000 * statistics.median(seconds)


def median_and_p95(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile, interpolated between neighbours."""
    median, p95 = np.percentile(seconds, [50, 95])
    return float(median), float(p95)


def interval_of_median(seconds: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median: the values at ranks of the binomial distribution."""
    ordered, n = sorted(seconds), len(seconds)
    reach = Z_95 * math.sqrt(n) / 2
    return ordered[max(0, math.floor(n / 2 - reach))], ordered[min(n - 1, math.ceil(n / 2 + reach))]


def measure_accuracy(model: PreparedModel, trained: ResolvedModel) -> float:
    """Return the accuracy of the trained model on the 10,000 MNIST test digits, computed as measured."""
    digits, runtime = _test_digits(), model.graph or TorchRuntime(model.network, model.device)
    classifier = DigitClassifier([trained], [runtime], ACCURACY_BATCH_SIZE)
    return accuracy(classifier.logits(digits.images), digits.labels)
