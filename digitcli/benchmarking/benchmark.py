"""Benchmark models on this machine: latency, throughput, memory and accuracy."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from digitcli.architectures.registry import create_model
from digitcli.architectures.summary import summarize
from digitcli.benchmarking.benchmark_results import (
    BenchmarkConfig,
    BenchmarkReport,
    BenchmarkResult,
    Candidate,
    Measuring,
    OnEvent,
    describe_environment,
    find_candidates,
)
from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist_test
from digitcli.errors import DigitcliError, EnvironmentFault, UsageError
from digitcli.evaluation.metrics import Z_95, accuracy
from digitcli.events import Notice
from digitcli.inference.devices import choose_device, is_out_of_memory
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.predictor import DigitClassifier
from digitcli.inference.runtime import (
    OnnxRuntime,
    TfliteRuntime,
    as_batch,
    import_litert,
    import_onnxruntime,
    open_onnx_runtime,
)
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


def benchmark(
    config: BenchmarkConfig,
    candidates: Sequence[Candidate] | None = None,
    *,
    export_graph: ExportGraph | None = None,
    on_event: OnEvent = lambda event: None,
) -> BenchmarkReport:
    """Measure every model at every batch size, one after the other. float32 is computed without TF32.

    candidates: the models that `find_candidates` returned for the configuration, if they are known.
    export_graph: makes the graphs for onnxruntime and tflite, e.g. `digitcli.export.export.runtime_graph`.
        Without it, onnxruntime measures shipped models alone.
    on_event: receives the report whenever it has grown, so that an error or Ctrl-C loses no result.

    Raises:
        UsageError: there is no model of a name, or no model can be measured with these runtimes.
        ModelError: a file is damaged or no checkpoint, or its model reads lines.
        EnvironmentFault: the device is missing or computes wrongly, or lacks memory for one image, or the
            package of a runtime is not installed.
    """
    candidates = find_candidates(config.archs) if candidates is None else candidates
    device = choose_device(config.device)
    for runtime in PACKAGES.keys() & config.runtimes:
        PACKAGES[runtime]()
    for candidate in candidates:  # a damaged file is an error before anything is measured
        open_candidate(candidate)
    report = BenchmarkReport(1, describe_environment(device), ())
    with without_tf32():
        for result in _measure_all(candidates, device, config, export_graph, on_event):
            report = replace(report, results=(*report.results, result))
            on_event(report)
    if not report.results:
        names = ", ".join(candidate.name for candidate in candidates)
        cause = f"{names} cannot be measured with {' or '.join(config.runtimes)} on {device}."
        raise UsageError(cause, "Give --runtime torch.")
    return report


def _measure_all(
    candidates: Sequence[Candidate],
    device: torch.device,
    config: BenchmarkConfig,
    export_graph: ExportGraph | None,
    on_event: OnEvent,
) -> Iterator[BenchmarkResult]:
    for done, candidate in enumerate(candidates):
        for runtime in dict.fromkeys(config.runtimes):
            loading = Measuring(candidate.name, f"{runtime}, loading", done, len(candidates))
            on_event(loading)
            prepared = _prepare(candidate, device, runtime, export_graph)
            if isinstance(prepared, str):
                on_event(Notice(f"{candidate.name} with {runtime} is left out: {prepared}"))
            else:
                with _explain_failures(prepared):
                    yield from _measure_model(prepared, config, loading, on_event)


def _prepare(
    candidate: Candidate, device: torch.device, runtime: str, export_graph: ExportGraph | None
) -> PreparedModel | str:
    """Load a model onto a device and for a runtime, or return the reason why a graph of it cannot be made.

    Raises:
        ModelError: its checkpoint is damaged.
        EnvironmentFault: the device computes wrongly.
    """
    if runtime in PACKAGES and device.type != "cpu":
        return f"{runtime} computes on the CPU."
    network, model, graph = open_candidate(candidate), candidate.model, None
    summary = summarize(network)
    size_bytes = model.path.stat().st_size if model else FLOAT_BYTES * summary.parameters
    if runtime in PACKAGES:
        try:
            graph, size_bytes = open_graph(runtime, candidate, network, export_graph)
        except UsageError as error:  # a layer that the format cannot hold
            return error.cause
        except EnvironmentFault as error:  # a package is missing that writes the graph
            return f"{error.cause} {error.remedy}"
        except DigitcliError:
            raise
        except Exception as error:  # exporters of other libraries raise anything
            return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    network = place_network(network, device)
    return PreparedModel(
        candidate, network, device, runtime, summary.parameters, summary.macs, size_bytes, graph
    )


@contextlib.contextmanager
def _explain_failures(model: PreparedModel) -> Iterator[None]:
    """Raise a failure of another runtime than PyTorch as a fault of the environment."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or model.runtime == "torch":
            raise
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        cause = f"{model.runtime} cannot run {model.candidate.name} on this machine: {first_line}"
        raise EnvironmentFault(cause, "Give --runtime torch.") from error


def _measure_model(
    model: PreparedModel, config: BenchmarkConfig, last_step: Measuring, on_event: OnEvent
) -> Iterator[BenchmarkResult]:
    """Measure one model with one runtime; its accuracy is the same at all batch sizes."""

    def announce(step: str) -> None:
        on_event(replace(last_step, step=f"{model.runtime}, {step}"))

    share = None
    if (trained := model.candidate.model) is not None:
        announce("accuracy")  # on the 10,000 MNIST test digits, computed as measured
        digits, runtime = _test_digits(), model.graph or TorchRuntime(model.network, model.device)
        classifier = DigitClassifier([trained], [runtime], ACCURACY_BATCH_SIZE)
        share = accuracy(classifier.logits(digits.images), digits.labels)
    for wanted in dict.fromkeys(config.batch_sizes):
        announce(f"batch {wanted:,}")
        batch_size, seconds, memory_bytes = _largest_fitting_batch(model, wanted, on_event)
        yield _result(model, batch_size, seconds, memory_bytes, share)


def _result(
    model: PreparedModel,
    batch_size: int,
    seconds: list[float],
    memory_bytes: int | None,
    accuracy: float | None,
) -> BenchmarkResult:
    median, p95 = median_and_p95(seconds)
    low, high = interval_of_median(seconds)
    return BenchmarkResult(
        architecture=model.architecture,
        device=str(model.device),
        dtype="float32",
        runtime=model.runtime,
        batch_size=batch_size,
        latency_ms_median=1000 * median,
        latency_ms_p95=1000 * p95,
        images_per_second=batch_size / median,
        parameters=model.parameters,
        macs=model.macs,
        size_bytes=model.size_bytes,
        peak_memory_bytes=memory_bytes,
        accuracy=accuracy,
        runs=len(seconds),
        latency_ms_low=1000 * low,
        latency_ms_high=1000 * high,
        name=model.candidate.name,
        model=model.candidate.model.id if model.candidate.model else None,
    )


def _largest_fitting_batch(
    model: PreparedModel, batch_size: int, on_event: OnEvent
) -> tuple[int, list[float], int | None]:
    """Measure the batch, halved until it fits into memory; return its size and `measure_calls` of it.

    Raises:
        EnvironmentFault: one image does not fit.
    """
    while True:
        try:
            return batch_size, *measure_calls(model, batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        name = model.candidate.name
        if batch_size == 1:
            cause = f"{model.device} lacks memory for one image in {name}."
            raise EnvironmentFault(cause, "Choose another device or a smaller model.")
        torch.cuda.empty_cache()
        batch_size //= 2
        on_event(Notice(f"{name}: a batch of {2 * batch_size:,} exceeds the memory; trying {batch_size:,}."))


def open_candidate(candidate: Candidate) -> nn.Module:
    """Return the network of a candidate on the CPU.

    Raises:
        ModelError: its checkpoint is damaged.
    """
    return open_network(candidate.model) if candidate.model else create_model(candidate.name).eval()


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


def measure_calls(model: PreparedModel, batch_size: int) -> tuple[list[float], int | None]:
    """Time one call after another, each with the same batch of test digits, after a warm-up.

    The first calls allocate memory and choose algorithms. The result is the seconds of each call, and the
    most memory in bytes that PyTorch had allocated on a CUDA device. It is None elsewhere: the resident set
    of a process includes the libraries and what earlier models left behind.
    """
    gc.collect()  # an earlier network may hold itself in a circle of references
    on_cuda = model.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(model.device)
    call, clock = model.call_with(batch_size), synchronized_clock(model.device)
    with torch.inference_mode():
        time_calls(call, clock, WARM_UP_CALLS, WARM_UP_SECONDS)
        seconds = time_calls(call, clock, MIN_CALLS, MIN_SECONDS)
    return seconds, torch.cuda.max_memory_allocated(model.device) if on_cuda else None


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
