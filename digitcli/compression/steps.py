"""The steps of a compression as text, and what it has measured. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from digitcli.errors import UsageError, did_you_mean
from digitcli.inference.checkpoint import RUNS

Kind = Literal["prune", "fold", "int8", "int4"]
INTEGERS: tuple[Kind, ...] = ("int8", "int4")  # the steps after which nothing can be compressed further
# The steps after which the network is fine-tuned. With weights of 8 bits, fine-tuning made a network worse:
# docs/compression.md has the figures.
TRAINED: tuple[Kind, ...] = ("prune", "int4")
DEFAULT_EPOCHS = 5  # of fine-tuning after a step; chosen by hand
MOST_STEPS = 8  # their names become the name of a folder
COMPRESSIONS = RUNS / "compress"  # the folder of compressions that name no other


@dataclass(frozen=True)
class Step:
    """One step. `share`, the channels that `prune` removes, lies between 0 and 1."""

    kind: Kind
    share: float | None = None

    def __str__(self) -> str:
        return self.kind if self.share is None else f"{self.kind}={self.share:g}"


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
        cause = f"--steps names {len(steps)} steps."
        raise UsageError(cause, f"Give 1 to {MOST_STEPS} steps, for example fold,prune=0.5,int8.")
    for step, following in zip(steps, steps[1:], strict=False):
        if step.kind in INTEGERS:
            cause = f"{step} comes before {following}, but integers cannot be compressed further."
            raise UsageError(cause, f"Give one of {', '.join(INTEGERS)}, as the last step.")
    return steps


def _parse_step(word: str) -> Step:
    name, _, value = word.partition("=")
    kind: Kind | None = next((kind for kind in get_args(Kind) if kind == name), None)
    if kind is None:
        raise UsageError(f"There is no step '{name}'.", did_you_mean(name, get_args(Kind)))
    if kind != "prune":
        if value:
            raise UsageError(f"{kind} takes no value, but {value} is given.", f"Give {kind} alone.")
        return Step(kind)
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        cause = "prune is the share of all channels that is removed, more than 0 and less than 1"
        raise UsageError(f"{cause}; {value or 'nothing'} is given.", "Give, for example, prune=0.5.")
    return Step(kind, share)


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
    folder, checkpoint: the folder of the compression, and the file of the compressed model in it.
    unit, n: what the accuracies of `tried` were measured on, and how many there are.
    tried: the original, and the model after each step.
    chosen: the index in `tried` of the compressed model, which is the last.
    test, test_before: the results of the compressed and of the original model on the test examples; None
        for models that do not read single digits.
    """

    model: str
    folder: str
    checkpoint: str
    unit: str
    n: int
    tried: tuple[TriedModel, ...]
    chosen: int
    test: TestResult | None
    test_before: TestResult | None

    def record(self) -> dict[str, Any]:
        """Return the result as JSON shows it."""
        return dataclasses.asdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model as CSV shows them."""
        return [dataclasses.asdict(each) for each in self.tried]
