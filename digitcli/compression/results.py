"""What a compression has measured, and which of the tried models are on the Pareto front. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from digitcli.charts import Panel, Series, draw_chart

LEAST_ERROR = 0.02  # percent; a logarithmic axis has no 0, and 0.02 % is one of 5,000 validation digits


@dataclass(frozen=True)
class Speed:
    """How fast a runtime computes a model on the CPU.

    latency_ms: the median time of a call with one image.
    images_per_second: the throughput with a batch of `batch_size` images.
    """

    runtime: str
    latency_ms: float
    images_per_second: float
    batch_size: int


@dataclass(frozen=True)
class TriedModel:
    """A model that a compression has made, or the one that it started from.

    steps: the steps that led to it, as `--steps` takes them; `original` for none.
    checkpoint: its checkpoint file.
    accuracy, accuracy_low, accuracy_high: the accuracy on the validation examples and its 95 % interval.
    ece: the expected calibration error there; None for models that do not read single digits.
    weights_bytes: the bytes of its tensors.
    size_bytes: the bytes of its file, which also says how the model is built and where it comes from.
    parameters, macs: the number of its parameters, and of multiplications for one image.
    speeds: how fast each runtime computes it; empty until it is measured.
    """

    steps: str
    checkpoint: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    ece: float | None
    weights_bytes: int
    size_bytes: int
    parameters: int
    macs: int
    speeds: tuple[Speed, ...] = ()


@dataclass(frozen=True)
class TestResult:
    """The accuracy of a model on the test examples, its 95 % interval and its expected calibration error."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    ece: float | None


@dataclass(frozen=True)
class CompressionResult:
    """The result of a compression.

    model: the model that was compressed, e.g. `cnn@1a2b3c4d`.
    folder, checkpoint: the folder of the compression, and the file of the chosen model in it; None if no
        model reaches the goals.
    unit, n: what the accuracies of `tried` were measured on, and how many there are.
    tried: every model, the original one first.
    chosen: the index in `tried` of the chosen one; None if no model reaches the goals.
    test, test_before: the results of the chosen and of the original model on the test examples, which no
        choice depends on; None for models that do not read single digits.
    missing_runtimes: why runtimes were not measured.
    """

    model: str
    folder: str
    checkpoint: str | None
    unit: str
    n: int
    tried: tuple[TriedModel, ...]
    chosen: int | None
    test: TestResult | None
    test_before: TestResult | None
    missing_runtimes: tuple[str, ...] = ()

    @property
    def front(self) -> tuple[int, ...]:
        """The indices of the models on the Pareto front."""
        return pareto_front(self.tried)

    def record(self) -> dict[str, Any]:
        """Return the result as JSON shows it."""
        return {**dataclasses.asdict(self), "front": list(self.front)}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model as CSV shows them."""
        rows = [dataclasses.asdict(each) for each in self.tried]
        for row, each in zip(rows, self.tried, strict=True):
            del row["speeds"]
            for speed in each.speeds:
                row |= {
                    f"{speed.runtime}_latency_ms": speed.latency_ms,
                    f"{speed.runtime}_images_per_second": speed.images_per_second,
                }
        return rows


def pareto_front(tried: Sequence[TriedModel]) -> tuple[int, ...]:
    """Return the models such that none with as few bytes of weights is more accurate, the smallest first."""
    order = sorted(range(len(tried)), key=lambda i: (tried[i].weights_bytes, -tried[i].accuracy))
    front: list[int] = []
    for index in order:
        if not front or tried[index].accuracy > tried[front[-1]].accuracy:
            front.append(index)
    return tuple(front)


def draw_pareto(result: CompressionResult) -> str:
    """Return a chart, as SVG, of the validation error by the size of all models, with the Pareto front."""
    points = [
        (each.weights_bytes / 1000, max(LEAST_ERROR, 100 * (1 - each.accuracy))) for each in result.tried
    ]
    front = Series("Pareto front", [points[index] for index in result.front])
    panel = Panel(
        f"error on {result.n:,} validation {result.unit}s in %",
        "weights in kB",
        [front, Series("tried", points, numbered=True)],
        logarithmic=True,
    )
    return draw_chart(
        f"Compression of {result.model}", [panel], [each.steps for each in result.tried], (560, 400)
    )
