"""From a model's name to logits: the one place that knows how a model is run.

A shipped model is run by ONNX Runtime where the CPU computes, which loads and answers sooner, and by PyTorch
on other devices; a model that has no graph, such as one just trained, by PyTorch everywhere. PyTorch is
loaded only where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from digitcli.errors import ModelError, UsageError
from digitcli.inference.checkpoint import Header, checkpoint_id, find_checkpoint, read_header
from digitcli.inference.ctc import log_softmax
from digitcli.inference.devices import (
    check_device_name,
    choose_device,
    is_out_of_memory,
    may_have_accelerator,
)
from digitcli.inference.onnx_runtime import graph_of, import_onnxruntime, open_graph

BATCH_SIZE = 512
LINES_AT_ONCE = 32
WIDTH_STEP_PX = 32  # lines as wide but for less than this are answered together

RuntimeName = Literal["auto", "torch", "onnxruntime"]


class Runtime(Protocol):
    """A model ready to run; `device` is where it computes."""

    @property
    def name(self) -> str:
        """`torch` or `onnxruntime`."""

    @property
    def device(self) -> str:
        """Such as `cpu` or `cuda:0`."""

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        """Of images (N, H, W), ink 255: logits (N, 10); or of lines logits (N, T, A + 1), and distances
        (N, T, 4), see `Reader.locate`, from a network that tells them.

        Raises:
            RuntimeError, MemoryError: memory does not suffice.
        """


class Classifier:
    """One or several trained models as a function of digits, for whoever need not know how they are run.

    `name` says which weights answer (`cnn@1a2b3c4d`), `headers` what their checkpoints say, `device` where
    they compute, `doubts` whether all of them were taught that not everything is a digit. After running out
    of memory `batch_size` is what did fit.
    """

    def __init__(
        self, runtimes: Sequence[Runtime], name: str, headers: Sequence[Header], batch_size: int = BATCH_SIZE
    ) -> None:
        self.name = name
        self.headers = tuple(headers)
        self.device, self.runtime = runtimes[0].device, runtimes[0].name
        self.doubts = all(header.recipe.get("synthetic") for header in headers)
        self.batch_size = batch_size
        self._runtimes = runtimes

    def logits(
        self, images: npt.NDArray[np.uint8], on_progress: Callable[[int], None] = lambda done: None
    ) -> npt.NDArray[np.float32]:
        """Logits (N, 10) of images (N, 28, 28), uint8 with ink 255, divided by the model's temperature.

        Of several models it is the logarithm of the mean of their calibrated probabilities. `on_progress` is
        told the number of images done, batch by batch. Where memory does not suffice, the batch is halved
        for good.

        Raises:
            ModelError: the weights are such that the logits are no finite numbers.
        """
        parts: list[npt.NDArray[np.float32]] = []
        done = 0
        while done < len(images):
            batch = images[done : done + self.batch_size]
            try:
                parts.append(self._answer(batch))
            except (RuntimeError, MemoryError) as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size = max(1, min(self.batch_size, len(batch)) // 2)
                continue
            if not np.isfinite(parts[-1]).all():
                raise ModelError(f"{self.name} answers with what is no number.", "Fetch or train it again.")
            done += len(batch)
            on_progress(done)
        return np.concatenate(parts) if parts else np.zeros((0, 10), np.float32)

    def _answer(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        each = [
            runtime.run(images)[0] / np.float32(header.temperature)
            for runtime, header in zip(self._runtimes, self.headers, strict=True)
        ]
        if len(each) == 1:
            return each[0]
        together = np.logaddexp.reduce([log_softmax(logits) for logits in each], axis=0)
        return np.asarray(together - np.float32(np.log(len(each))), np.float32)

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (N, 10) of images (N, 28, 28), uint8 with ink 255: the softmax of the logits."""
        return np.exp(log_softmax(self.logits(images)))


@dataclass(frozen=True)
class LineAnswer:
    """Of a line of T columns the logits (T, A + 1) and the `distances` (T, 4), see `Reader.locate`, where the
    network tells them.
    """

    logits: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32] | None = None


class LineModel:
    """A trained line model as a function of lines; its fields are those of `Classifier`."""

    def __init__(self, runtime: Runtime, name: str, header: Header, batch_size: int = LINES_AT_ONCE) -> None:
        self.name = name
        self.header = header
        self.device, self.runtime = runtime.device, runtime.name
        self.batch_size = batch_size
        self._runtime = runtime

    def answers(self, lines: Sequence[npt.NDArray[np.uint8]]) -> list[LineAnswer]:
        """What it answers to lines (40, W), uint8 with ink 255; `Header.temperature` is not applied yet.

        Where memory does not suffice, the batch is halved for good.

        Raises:
            ModelError: the weights are such that the logits are no finite numbers.
        """
        while True:
            try:
                found = answer_lines(self._runtime, lines, self.batch_size)
            except (RuntimeError, MemoryError) as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size = max(1, self.batch_size // 2)
                continue
            numbers = [part for answer in found for part in (answer.logits, answer.distances)]
            if not all(np.isfinite(part).all() for part in numbers if part is not None):
                raise ModelError(f"{self.name} answers with what is no number.", "Fetch or train it again.")
            return found


def load_line_model(
    name: str,
    device: str = "auto",
    batch_size: int = LINES_AT_ONCE,
    runtime: RuntimeName = "auto",
    threads: int = 0,
) -> LineModel:
    """The line model of that name on a device (`auto` takes the fastest); for `threads` see `Reader`.

    Raises:
        UsageError: not the name of a device, or a runtime that does not compute there.
        ModelError: no such model, a damaged or foreign file, or a model that reads single digits.
        EnvironmentFault: the device is not there or computes wrongly.
    """
    if read_header(find_checkpoint(name)).task != "line":
        raise ModelError(f"{name} reads single digits, not lines.", "Name a model of the task line.")
    [(opened, header)] = _open_all((name,), device, runtime, threads)
    return LineModel(opened, checkpoint_id(name), header, batch_size)


def load_classifier(
    *names: str,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    runtime: RuntimeName = "auto",
    threads: int = 0,
) -> Classifier:
    """The digit models of those names, averaged, on a device (`auto` takes the fastest).

    A name is a shipped name (`cnn`), a checkpoint file or a run folder; `threads` compute on a CPU, 0 for as
    many as there are cores.

    Raises:
        UsageError: no name, a batch below 1, not the name of a device, or a runtime that does not compute
            there.
        ModelError: no such model, a damaged or foreign file, or a model that does not read single digits.
        EnvironmentFault: the device is not there or computes wrongly.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}.", "It must be at least 1.")
    if not names:
        raise UsageError("No model is named.", "Name one, e.g. cnn.")
    for name in names:
        if read_header(find_checkpoint(name)).task != "digit":
            raise ModelError(f"{name} reads lines, not single digits.", "Name a model of the task digit.")
    members = _open_all(names, device, runtime, threads)
    runtimes, headers = zip(*members, strict=True)
    return Classifier(runtimes, "+".join(checkpoint_id(name) for name in names), headers, batch_size)


def _open_all(
    names: Sequence[str], device: str, runtime: RuntimeName, threads: int
) -> list[tuple[Runtime, Header]]:
    """Every model, all of them run alike; PyTorch's threads are those of the whole process."""
    if choose_runtime(names, device, runtime) == "onnxruntime":
        return [open_graph(name, threads) for name in names]
    from digitcli.inference.torch_runtime import open_runtime

    return [open_runtime(name, device) for name in names]


def import_runtime(names: Sequence[str], device: str = "auto", runtime: RuntimeName = "auto") -> None:
    """Load what will run models of these names, which takes long and should not be interrupted.

    Raises:
        The errors of `choose_runtime`.
        EnvironmentFault: it cannot be loaded.
    """
    if choose_runtime(names, device, runtime) == "onnxruntime":
        import_onnxruntime()
    else:
        import digitcli.inference.torch_runtime  # noqa: F401


def choose_runtime(names: Sequence[str], device: str, runtime: RuntimeName = "auto") -> str:
    """What runs models of these names on that device, see above.

    Raises:
        UsageError: no such runtime, or one that does not compute there.
        ModelError: no such model, or one that the runtime asked for cannot run.
    """
    check_device_name(device)
    if runtime not in get_args(RuntimeName):
        raise UsageError(f"There is no runtime '{runtime}'.", "Take auto, torch or onnxruntime.")
    if runtime == "torch":
        return runtime
    without = [name for name in names if graph_of(name) is None]
    if runtime == "auto":
        return "torch" if without or not _computes_on_cpu(device) else "onnxruntime"
    if device not in ("auto", "cpu"):
        raise UsageError("onnxruntime computes on the CPU alone.", "Take --device cpu, or --runtime torch.")
    if without:
        raise ModelError(f"{without[0]} has no graph for onnxruntime.", "Take --runtime torch.")
    return runtime


def _computes_on_cpu(device: str) -> bool:
    """Whether the device of that name is the CPU; PyTorch is asked only where there may be another."""
    if device == "auto" and may_have_accelerator():
        return choose_device().type == "cpu"
    return device in ("auto", "cpu")


def answer_lines(
    runtime: Runtime, lines: Sequence[npt.NDArray[np.uint8]], batch_size: int = LINES_AT_ONCE
) -> list[LineAnswer]:
    """What a line network answers to lines (40, W), uint8 with ink 255, each of its own width.

    Lines are padded to a width that depends on their own alone, so that company changes no answer.
    """
    answers: list[LineAnswer | None] = [None] * len(lines)
    of_width: dict[int, list[int]] = {}
    for index, line in enumerate(lines):
        of_width.setdefault(-(-line.shape[1] // WIDTH_STEP_PX) * WIDTH_STEP_PX, []).append(index)
    for width, members in of_width.items():
        for start in range(0, len(members), batch_size):
            part = members[start : start + batch_size]
            images = np.zeros((len(part), lines[part[0]].shape[0], width), np.uint8)
            for image, index in zip(images, part, strict=True):
                image[:, : lines[index].shape[1]] = lines[index]
            logits, *distances = runtime.run(images)
            for row, index in enumerate(part):
                columns = -(-lines[index].shape[1] * logits.shape[1] // width)
                answers[index] = LineAnswer(
                    logits[row, :columns], distances[0][row, :columns] if distances else None
                )
    return [answer for answer in answers if answer is not None]
