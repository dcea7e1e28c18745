"""What is compared, from what a person types. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digitcli.checkpoint import find_checkpoint, read_header
from digitcli.config import TrainConfig, configured, spoken
from digitcli.errors import UsageError
from digitcli.registry import architectures, checked, find_architecture, is_architecture

SEEDS, OUT = 5, Path("runs") / "compare"
SHIPPED = "shipped/"  # before the name of a shipped model: alone it names the architecture
OF_ALL = ("arch", "data", "device", "seed", "patience", "strokes")  # cannot differ among what is compared
_WORDS = {"on": True, "true": True, "off": False, "false": False}


@dataclass(frozen=True)
class Contender:
    """What is compared: an architecture with its recipe, changed or not, or a `model` as it is."""

    label: str
    config: TrainConfig | None = None
    model: str | None = None


def contender(spec: str, data: str = TrainConfig.data, device: str = TrainConfig.device) -> Contender:
    """From `cnn`, `cnn:augment=off,dropout=0`, `shipped/cnn`, a run folder or a checkpoint file.

    Raises:
        UsageError: no such architecture or setting, or a value that is out of range.
        ModelError: no such model, or a damaged one.
    """
    name, _, changes = spec.partition(":")
    if not is_architecture(name) and (os.path.lexists(spec) or "/" in spec):
        model = spec.removeprefix(SHIPPED)
        if read_header(find_checkpoint(model)).task != "digit":
            raise UsageError(f"{spec} reads lines.", "Compare models of single digits.")
        return Contender(spec, model=model)
    if find_architecture(name).task != "digit":
        raise UsageError(f"Architecture '{name}' reads lines.", "Compare those of single digits.")
    if spec.endswith(":"):
        raise UsageError(f"'{spec}' names no setting.", f"Write it as {name}:epochs=3,augment=off.")
    settings: dict[str, Any] = {}
    for change in filter(None, changes.split(",")):
        key, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"'{change}' is no setting.", f"Write it as {name}:epochs=3,augment=off.")
        if key in OF_ALL:
            raise UsageError(f"{spoken(key)} is the same for all that is compared.", "Leave it out.")
        if key in settings:
            raise UsageError(f"{spec} says {key} twice.", "Say it once.")
        settings[key] = _value(value)
    config = TrainConfig(**configured({"arch": name, "data": data, "device": device, **settings}))
    return Contender(spec, config=checked(config))


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def contenders(specs: Sequence[str], data: str, device: str) -> list[Contender]:
    """All of them; `all` stands for every architecture of digits.

    Raises:
        UsageError, ModelError: as `contender`; one is named twice, or there is none.
    """
    every = [name for name, row in architectures().items() if row.task == "digit"]
    named = [name for spec in specs for name in (every if spec == "all" else [spec])]
    if not named:
        raise UsageError("Nothing is named to compare.", f"Name some of {', '.join(every)}.")
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise UsageError(f"{twice[0]} is named twice.", "Name each once.")
    return [contender(name, data, device) for name in named]
