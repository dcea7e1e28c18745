"""Run trained models, given by their names, on digits and lines.

ONNX Runtime runs shipped models on the CPU, since it starts and answers sooner. PyTorch runs models on other
devices, and models that have no graph for ONNX Runtime. PyTorch is loaded only where it is needed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import get_args

import numpy as np
import numpy.typing as npt

from digitcli.errors import ModelError, UsageError
from digitcli.inference.checkpoint import REPLACE_REMEDY, member_headers
from digitcli.inference.ctc import log_softmax
from digitcli.inference.devices import (
    check_device_name,
    choose_device,
    is_out_of_memory,
    may_have_accelerator,
)
from digitcli.inference.model_resolution import (
    ModelLike,
    ResolvedModel,
    check_task,
    resolve_model,
    resolve_models,
)
from digitcli.inference.runtime import (
    DIGIT_BATCH_SIZE,
    LINE_BATCH_SIZE,
    LazyRuntime,
    LineOutput,
    Runtime,
    RuntimeName,
    average_probabilities,
    import_onnxruntime,
    open_onnx_runtime,
    run_lines,
    width_step,
)

# Pixels of an input from which threads wait for each other, so that not all need memory at once.
LARGE_PAGE_PIXELS = 1_000_000


class DigitClassifier:
    """One or several trained models that classify single digits.

    models, headers: the models, and the headers of all their networks; an ensemble has several.
    name: the ids of the models, e.g. `cnn@1a2b3c4d+fast@5e6f7a8b`.
    runtimes: what computes each of the models.
    device, runtime: where and with which library they compute.
    batch_size: the number of images computed together; it is halved when the memory does not suffice.
    can_reject: whether all networks were also trained on letters, so that they can reject what is no digit.
    """

    def __init__(
        self,
        models: Sequence[ResolvedModel],
        runtimes: Sequence[Runtime],
        batch_size: int = DIGIT_BATCH_SIZE,
        temperature: float = 1.0,
    ) -> None:
        self.models, self.runtimes = tuple(models), tuple(runtimes)
        self.headers = tuple(part for model in models for part in member_headers(model.header))
        self.name = "+".join(model.id for model in models)
        self.device, self.runtime = runtimes[0].device, runtimes[0].name
        self.can_reject = all(header.recipe.get("synthetic") for header in self.headers)
        self.batch_size = batch_size
        self._temperature = np.float32(temperature)

    def logits(
        self, images: npt.NDArray[np.uint8], on_progress: Callable[[int], None] = lambda done: None
    ) -> npt.NDArray[np.float32]:
        """Return the calibrated logits (N, 10) of images (N, 28, 28), uint8 with ink 255.

        The logits of one model are divided by its temperature. Several models give the logarithm of the mean
        of their calibrated probabilities, divided by the temperature of the classifier. `on_progress`
        receives the number of images done after each batch.

        Raises:
            ModelError: the weights are such that the logits are not finite.
        """
        batches: list[npt.NDArray[np.float32]] = []
        done = 0
        while done < len(images):
            size = self.batch_size  # which another thread may halve meanwhile
            batch = images[done : done + size]
            try:
                batches.append(self._batch_logits(batch))
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size = max(1, min(self.batch_size, len(batch) // 2))
                continue
            _check_finite(self.name, batches[-1])
            done += len(batch)
            on_progress(done)
        return np.concatenate(batches) if batches else np.zeros((0, 10), np.float32)

    def _batch_logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        logits = [
            runtime.run(images)[0] / np.float32(model.header.temperature)
            for runtime, model in zip(self.runtimes, self.models, strict=True)
        ]
        if len(logits) == 1:
            return logits[0]
        return average_probabilities([*map(log_softmax, logits)]) / self._temperature

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probabilities (N, 10) of the digits in images (N, 28, 28), uint8 with ink 255."""
        return np.exp(log_softmax(self.logits(images)))


class LineRecognizer:
    """A trained model that reads strips.

    name, header: the id of the model, e.g. `reader@1a2b3c4d`, and its description.
    device, runtime: where and with which library it computes.
    batch_size: the number of strips computed together; it is halved when the memory does not suffice.
    """

    def __init__(self, model: ResolvedModel, runtime: Runtime) -> None:
        self.name, self.header = model.id, model.header
        self.device, self.runtime = runtime.device, runtime.name
        self.batch_size = LINE_BATCH_SIZE
        self._runtime = runtime
        self._width_step = width_step(self.header.architecture)

    def outputs(self, strips: Sequence[npt.NDArray[np.uint8]]) -> list[LineOutput]:
        """Return the output for each strip, uint8 (40, W) or (3, 40, W), before calibration.

        Raises:
            ModelError: the weights are such that an output is not finite.
        """
        while True:
            size = self.batch_size  # which another thread may halve meanwhile
            try:
                outputs = run_lines(self._runtime, strips, size, self._width_step)
                break
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size = max(1, min(self.batch_size, size // 2))
        for output in outputs:
            _check_finite(self.name, output.logits, output.distances)
        return outputs


class PageFinder:
    """A trained model that finds lines on pages. `name` to `runtime` are those of `LineRecognizer`."""

    def __init__(self, model: ResolvedModel, runtime: Runtime) -> None:
        self.name, self.header = model.id, model.header
        self.device, self.runtime = runtime.device, runtime.name
        self._runtime = runtime
        self._large_pages = threading.Lock()  # each takes much memory, and all cores compute one page

    def maps(self, page: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the maps (6, H / 4, W / 4) of a page, uint8 (4, H, W), see `page_format`.

        Raises:
            ModelError: the weights are such that an output is not finite.
        """
        with self._large_pages if page[0].size > LARGE_PAGE_PIXELS else contextlib.nullcontext():
            maps = np.asarray(self._runtime.run(page[None])[0][0], np.float32)
        _check_finite(self.name, maps)
        return maps


class GapSplitter:
    """A trained model that tells which digits form a number. `name` to `runtime` as in `LineRecognizer`."""

    def __init__(self, model: ResolvedModel, runtime: Runtime) -> None:
        self.name, self.header = model.id, model.header
        self.device, self.runtime = runtime.device, runtime.name
        self._runtime = runtime

    def __call__(self, gaps: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probability (G,) that each gap of a page, uint8 (1, G, 2329), separates two numbers.

        Raises:
            ModelError: the weights are such that an output is not finite.
        """
        (logits,) = self._runtime.run(gaps)
        _check_finite(self.name, logits)
        return np.asarray(1 / (1 + np.exp(-logits[0])), np.float32)


def _check_finite(name: str, *arrays: npt.NDArray[np.float32] | None) -> None:
    if not all(np.isfinite(array).all() for array in arrays if array is not None):
        raise ModelError(f"The answers of {name} are not finite numbers.", REPLACE_REMEDY)


def load_classifier(
    *models: ModelLike,
    device: str = "auto",
    batch_size: int = DIGIT_BATCH_SIZE,
    runtime: RuntimeName = "auto",
    threads: int = 0,
    temperature: float = 1.0,
) -> DigitClassifier:
    """Load models of single digits, whose probabilities are averaged, onto a device.

    A model is a shipped name (`cnn`), a checkpoint file or a run folder. The device `auto` is the fastest of
    this machine. `threads` of the CPU compute in ONNX Runtime, 0 means one for each core. `temperature`
    calibrates the average of several models.

    Raises:
        UsageError: no model is named, the batch size is below 1, there is no such kind of device, or the
            runtime does not compute on it.
        ModelError: there is no such model, its file is damaged or was not written by digitcli, or it has
            another task.
        EnvironmentFault: this machine does not have the device, or the device computes wrongly.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}.", "It must be at least 1.")
    if not models:
        raise UsageError("No model is named.", "Name one, e.g. cnn.")
    resolved = resolve_models(models)
    check_task(resolved, "digit")
    runtimes = _open_runtimes(resolved, device, runtime, threads, at_first_use=False)
    return DigitClassifier(resolved, runtimes, batch_size, temperature)


def load_line_recognizer(
    model: ModelLike,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    threads: int = 0,
    *,
    at_first_use: bool = False,
) -> LineRecognizer:
    """Load a line model onto a device, see `load_classifier`.

    With `at_first_use`, ONNX Runtime loads the weights only when the model reads for the first time.

    Raises:
        UsageError, ModelError, EnvironmentFault: see `load_classifier`.
    """
    return LineRecognizer(*_open_one(model, "line", device, runtime, threads, at_first_use))


def load_page_finder(
    model: ModelLike,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    threads: int = 0,
    *,
    at_first_use: bool = False,
) -> PageFinder:
    """Load a model that finds lines on pages onto a device, see `load_line_recognizer`."""
    return PageFinder(*_open_one(model, "page", device, runtime, threads, at_first_use))


def load_gap_splitter(
    model: ModelLike,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    threads: int = 0,
    *,
    at_first_use: bool = False,
) -> GapSplitter:
    """Load a model that tells which digits form a number onto a device, see `load_line_recognizer`."""
    return GapSplitter(*_open_one(model, "gaps", device, runtime, threads, at_first_use))


def _open_one(
    model: ModelLike, task: str, device: str, runtime: RuntimeName, threads: int, at_first_use: bool
) -> tuple[ResolvedModel, Runtime]:
    resolved = resolve_model(model)
    check_task([resolved], task)
    (opened,) = _open_runtimes((resolved,), device, runtime, threads, at_first_use)
    return resolved, opened


def _open_runtimes(
    models: Sequence[ResolvedModel], device: str, runtime: RuntimeName, threads: int, at_first_use: bool
) -> list[Runtime]:
    """Open all models with the same library; `auto` takes quantized graphs where there are some."""
    if choose_runtime(models, device, runtime) == "torch":
        from digitcli.inference.torch_runtime import open_torch_runtime

        return [open_torch_runtime(model, device) for model in models]
    quantized = runtime == "auto"
    openers = [partial(open_onnx_runtime, model, threads, quantized=quantized) for model in models]
    if at_first_use:
        return [LazyRuntime(opener, "onnxruntime", "cpu") for opener in openers]
    return [opener() for opener in openers]


def import_runtime(models: Sequence[ResolvedModel], device: str) -> None:
    """Import the library that will run these models, which takes long and should not be interrupted.

    Raises:
        UsageError, ModelError: see `choose_runtime`.
        EnvironmentFault: the library cannot be imported.
    """
    if choose_runtime(models, device) == "onnxruntime":
        import_onnxruntime()
    else:
        import digitcli.inference.torch_runtime  # noqa: F401


def choose_runtime(models: Sequence[ResolvedModel], device: str, runtime: RuntimeName = "auto") -> str:
    """Return the library that runs these models on a device: `torch` or `onnxruntime`.

    Raises:
        UsageError: there is no such runtime, or it does not compute on the device.
        ModelError: the runtime cannot run one of the models.
    """
    check_device_name(device)
    if runtime not in get_args(RuntimeName):
        raise UsageError(f"There is no runtime '{runtime}'.", "Give auto, torch or onnxruntime.")
    if runtime == "torch":
        return runtime
    without_graph = [model.name for model in models if model.graph_path is None]
    if runtime == "auto":
        if device == "auto" and may_have_accelerator():  # torch is loaded only where it may find one
            device = choose_device().type
        return "onnxruntime" if device in ("auto", "cpu") and not without_graph else "torch"
    if device not in ("auto", "cpu"):
        cause = f"onnxruntime computes on the CPU only, not on {device}."
        raise UsageError(cause, "Give --device cpu, or --runtime torch.")
    if without_graph:
        raise ModelError(f"{without_graph[0]} has no graph for onnxruntime.", "Give --runtime torch.")
    return runtime
