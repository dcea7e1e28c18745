"""The steps of a compression as text, its goals, and what it has measured. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from digitcli.architectures.registry import find_architecture
from digitcli.charts import Panel, Series, draw_chart
from digitcli.errors import UsageError, did_you_mean
from digitcli.inference.checkpoint import RUNS

Kind = Literal["distill", "prune", "fold", "int8", "int4"]
BITS: dict[Kind, int] = {"int8": 8, "int4": 4}  # of the weights
# The steps after which the network is fine-tuned. With weights of 8 bits, fine-tuning made a network worse:
# docs/compression.md has the figures.
TRAINED: tuple[Kind, ...] = ("prune", "int4")
DEFAULT_EPOCHS = 5  # of fine-tuning after a step; chosen by hand
MOST_STEPS = 8  # their names become the name of a folder
COMPRESSIONS = RUNS / "compress"  # the folder of compressions that name no other
SPEED_FIGURES = ("latency_ms", "latency_ms_low", "latency_ms_high", "images_per_second")  # columns of CSV
LEAST_ERROR = 0.02  # percent; a logarithmic axis has no 0, and 0.02 % is one of 5,000 validation digits


@dataclass(frozen=True)
class Step:
    """One step. `share`, the channels that `prune` removes, lies between 0 and 1; `arch` is for `distill`."""

    kind: Kind
    share: float | None = None
    arch: str | None = None

    def __str__(self) -> str:
        value = self.arch if self.share is None else f"{self.share:g}"
        return self.kind if value is None else f"{self.kind}={value}"


def join_steps(steps: Sequence[Step]) -> str:
    """Return steps as `parse_steps` takes them; `original` for no step."""
    return ",".join(map(str, steps)) or "original"


def parse_steps(text: str) -> tuple[Step, ...]:
    """Return the steps that a text names.

    Raises:
        UsageError: a step is unknown, its value is missing or wrong, or the order is impossible.
    """
    steps = tuple(_parse_step(word.strip()) for word in text.split(",") if word.strip())
    if not 1 <= len(steps) <= MOST_STEPS:
        cause = f"{len(steps)} steps are given."
        raise UsageError(cause, f"Give 1 to {MOST_STEPS} steps, for example fold,prune=0.5,int8.")
    for step in steps[1:]:
        if step.kind == "distill":
            cause = f"{step} trains another network, which would not have the steps before it."
            raise UsageError(cause, "Give distill as the first step.")
    for step, following in zip(steps, steps[1:], strict=False):
        if step.kind in BITS:
            cause = f"{step} comes before {following}, but integers cannot be compressed further."
            raise UsageError(cause, f"Give one of {', '.join(BITS)}, as the last step.")
    return steps


def _parse_step(word: str) -> Step:
    name, _, value = word.partition("=")
    kind: Kind | None = next((kind for kind in get_args(Kind) if kind == name), None)
    if kind is None:
        raise UsageError(f"There is no step '{name}'.", did_you_mean(name, get_args(Kind)))
    if kind == "distill":
        if not value or find_architecture(value).task != "digit":
            cause = f"distill needs an architecture of single digits; {value or 'nothing'} is given."
            raise UsageError(cause, "Give, for example, distill=tiny.")
        return Step(kind, arch=value)
    if kind != "prune":
        if value:
            raise UsageError(f"{kind} takes no value, but {value} is given.", f"Give {kind} alone.")
        return Step(kind)
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        cause = (
            "prune is the share of all channels that is removed, more than 0 and less than 1; "
            f"{value or 'nothing'} is given."
        )
        raise UsageError(cause, "Give, for example, prune=0.5.")
    return Step(kind, share)


@dataclass(frozen=True)
class Speed:
    """How fast a runtime computes a model on the CPU.

    latency_ms, latency_ms_low, latency_ms_high: the median time of a call with one image: the middle, the
        lowest and the highest of several rounds.
    images_per_second: the throughput with a batch of `batch_size` images, by the middle round.
    """

    runtime: str
    latency_ms: float
    latency_ms_low: float
    latency_ms_high: float
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
class Goals:
    """What a compressed model must reach; None where there is no goal.

    max_accuracy_loss: the largest loss of validation accuracy, in percentage points.
    max_bytes: the largest number of bytes of the weights.
    """

    max_accuracy_loss: float | None = None
    max_bytes: int | None = None

    def __bool__(self) -> bool:
        return self.max_accuracy_loss is not None or self.max_bytes is not None

    def are_small_enough(self, weights_bytes: int) -> bool:
        """Return whether a number of bytes is accepted."""
        return self.max_bytes is None or weights_bytes <= self.max_bytes

    def are_accurate_enough(self, model: TriedModel, original: TriedModel) -> bool:
        """Return whether the accuracy of a model is accepted."""
        if self.max_accuracy_loss is None:
            return True
        loss = 100 * (original.accuracy - model.accuracy)
        return loss <= self.max_accuracy_loss + 1e-9  # a loss of 0.1 is not exact as a float

    def reached_by(self, model: TriedModel, original: TriedModel) -> bool:
        """Return whether a model reaches all goals."""
        return self.are_small_enough(model.weights_bytes) and self.are_accurate_enough(model, original)

    def __str__(self) -> str:
        parts = []
        if self.max_accuracy_loss is not None:
            parts.append(f"a loss of {self.max_accuracy_loss:g} points or less")
        if self.max_bytes is not None:
            parts.append(f"{self.max_bytes:,} bytes or less")
        return " and ".join(parts)


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
    goals: what was searched for; without any goal, the model of all steps is the chosen one.
    unit, n: what the accuracies of `tried` were measured on, and how many there are.
    tried: every model, the original one first.
    chosen: the index in `tried` of the chosen one; None if no model reaches the goals.
    test, test_before: the results of the chosen and of the original model on the test examples, which no
        choice depends on; None for models that do not read single digits.
    missing_runtimes: why runtimes were not measured.
    computed_bytes: the bytes of the weights of the models whose size alone was computed, by their steps.
    """

    model: str
    folder: str
    checkpoint: str | None
    goals: Goals
    unit: str
    n: int
    tried: tuple[TriedModel, ...]
    chosen: int | None
    test: TestResult | None
    test_before: TestResult | None
    missing_runtimes: tuple[str, ...] = ()
    computed_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def front(self) -> tuple[int, ...]:
        """The indices of the models on the Pareto front."""
        return pareto_front(self.tried)

    def missed(self) -> tuple[str, str]:
        """Return what is missed if no model reaches the goals, and what to do."""
        sizes = {**self.computed_bytes, **{each.steps: each.weights_bytes for each in self.tried}}
        steps, size = min(sizes.items(), key=lambda item: item[1])
        if not self.goals.are_small_enough(size):
            cause = f"No model reaches {self.goals}. The smallest, {steps}, has {size:,} bytes of weights."
            return cause, f"Give --max-size {size}B or more, or compress a model that is smaller."
        best = max(self.tried, key=lambda each: each.accuracy)
        cause = (
            f"No model reaches {self.goals}. Of those that were tried, {best.steps} reads most: "
            f"{100 * best.accuracy:.2f} % of the validation {self.unit}s, with {best.weights_bytes:,} bytes."
        )
        return cause, "Give other goals, or more --epochs."

    def record(self) -> dict[str, Any]:
        """Return the result as JSON shows it."""
        return {**dataclasses.asdict(self), "front": list(self.front)}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model as CSV shows them."""
        rows = [dataclasses.asdict(each) for each in self.tried]
        speeds = [{speed["runtime"]: speed for speed in row.pop("speeds")} for row in rows]
        for runtime in dict.fromkeys(name for each in speeds for name in each):
            for row, each in zip(rows, speeds, strict=True):  # a runtime may not take every model
                for figure in SPEED_FIGURES:
                    row[f"{runtime}_{figure}"] = each.get(runtime, {}).get(figure)
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
    """Return a chart, as SVG, of the error of all models by their size, with the front and the goal."""
    goals = result.goals
    errors = [100 * (1 - each.accuracy) for each in result.tried]
    points = [
        (each.weights_bytes / 1000, max(LEAST_ERROR, error))
        for each, error in zip(result.tried, errors, strict=True)
    ]
    largest = goals.max_accuracy_loss
    panel = Panel(
        f"error on {result.n:,} validation {result.unit}s in %",
        "weights in kB",
        [
            Series("Pareto front", [points[index] for index in result.front]),
            Series("tried", points, numbered=True, ringed=result.chosen),
        ],
        logarithmic=True,
        x_limit=goals.max_bytes and goals.max_bytes / 1000,
        y_limit=None if largest is None else max(LEAST_ERROR, errors[0] + largest),
    )
    names = [f"{each.steps}{' (chosen)' * (n == result.chosen)}" for n, each in enumerate(result.tried)]
    goal = f", goal: {goals} (dotted)" if goals else ""
    return draw_chart(f"Compression of {result.model}{goal}", [panel], names, (560, 400))
