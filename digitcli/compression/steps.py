"""The steps of a compression, and their form as text: `fold,prune=0.5,int8`. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from digitcli.architectures.registry import find_architecture
from digitcli.errors import UsageError, did_you_mean

Kind = Literal["distill", "prune", "low_rank", "fold", "int8", "int7", "int6", "int5", "int4", "int3"]
KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
SHARES: dict[Kind, str] = {
    "prune": "the share of all channels that is removed",
    "low_rank": "the share of the weights of each layer that is kept",
}
BITS: dict[Kind, int] = {"int8": 8, "int7": 7, "int6": 6, "int5": 5, "int4": 4, "int3": 3}  # of the weights
# The steps after which the network is fine-tuned. With weights of 5 bits or more, fine-tuning made a network
# worse: docs/compression.md has the figures.
TRAINED: tuple[Kind, ...] = ("prune", "low_rank", "int4", "int3")
DEFAULT_EPOCHS = 5  # of fine-tuning after a step; chosen by hand
MOST_STEPS = 8  # their names become the name of a folder
EXAMPLE = "Give steps as in --steps fold,prune=0.5,int8."


@dataclass(frozen=True)
class Step:
    """One step. `share` belongs to `prune` and `low_rank`, and lies between 0 and 1; `arch` to `distill`."""

    kind: Kind
    share: float | None = None
    arch: str | None = None

    def __str__(self) -> str:
        value = self.arch if self.share is None else f"{self.share:g}"
        return self.kind if value is None else f"{self.kind}={value}"


def join_steps(steps: tuple[Step, ...]) -> str:
    """Return steps as `parse_steps` takes them; `original` for no step."""
    return ",".join(map(str, steps)) or "original"


def parse_steps(text: str) -> tuple[Step, ...]:
    """Return the steps that a text names.

    Raises:
        UsageError: a step is unknown, its value is missing or wrong, or the order is impossible.
    """
    steps = tuple(_parse_step(word.strip()) for word in text.split(",") if word.strip())
    if not steps:
        raise UsageError("No step is given.", EXAMPLE)
    if len(steps) > MOST_STEPS:
        raise UsageError(f"{len(steps)} steps are given.", f"Give {MOST_STEPS} at most.")
    integers = [step.kind for step in steps if step.kind.startswith("int")]
    if len(integers) > 1:
        cause = f"{' and '.join(integers)} are given, but weights are stored in one kind of integers."
        raise UsageError(cause, "Give one of them, once, as the last step.")
    for place, step in enumerate(steps):
        if step.kind == "distill" and place:
            raise UsageError(
                f"{step} trains another network, which would not have the steps before it.",
                "Give distill as the first step.",
            )
        if step.kind in BITS and place < len(steps) - 1:
            cause = f"{step} comes before {steps[place + 1]}, but integers cannot be compressed further."
            raise UsageError(cause, f"Give one of {', '.join(BITS)}, as the last step.")
    return steps


def _parse_step(word: str) -> Step:
    name, _, value = word.partition("=")
    if name not in KINDS:
        raise UsageError(f"There is no step '{name}'.", _nearest_step(name))
    kind = KINDS[name]
    if kind == "distill":
        if not value:
            raise UsageError("distill needs an architecture.", "Give, for example, distill=tiny.")
        if find_architecture(value).task != "digit":
            cause = f"The architecture {value} does not read single digits."
            raise UsageError(cause, "Give, for example, distill=tiny.")
        return Step("distill", arch=value)
    if kind not in SHARES:
        if value:
            raise UsageError(f"{kind} takes no value, but {value} is given.", f"Give {kind} alone.")
        return Step(kind)
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        cause = f"{kind} is {SHARES[kind]}, more than 0 and less than 1; {value or 'nothing'} is given."
        raise UsageError(cause, f"Give, for example, {kind}=0.5.")
    return Step(kind, share)


def _nearest_step(name: str) -> str:
    """Return the remedy for an unknown step; integers have the nearest number of bits."""
    bits = name.removeprefix("int")
    if bits == name or not bits.isdecimal():
        return did_you_mean(name, KINDS)
    nearest = min(BITS, key=lambda kind: abs(BITS[kind] - int(bits)))
    return f"Did you mean {nearest}? Integers have {min(BITS.values())} to {max(BITS.values())} bits."


def is_name_of_steps(text: str) -> bool:
    """Return whether a text is what `join_steps` gives."""
    try:
        return join_steps(parse_steps(text)) == text
    except UsageError:
        return False
