"""What is compared, from what a person types. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from digitcli.architectures.registry import (
    architectures,
    check_together,
    find_architecture,
    is_architecture,
    located,
)
from digitcli.comparison.saved import SUFFIX, ComparedRun, SavedModel, read_comparison
from digitcli.config import TrainConfig, configured, spoken
from digitcli.errors import UsageError
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, shipped_models

SEEDS, OUT = 5, Path("runs") / "compare"
CHECKPOINT_SUFFIX = ".safetensors"
SHIPPED = "shipped/"  # before the name of a shipped model: alone it names the architecture
OF_ALL = ("arch", "data", "device", "seed", "patience", "strokes")  # cannot differ among what is compared
_WORDS = {"on": True, "true": True, "off": False, "false": False}


@dataclass(frozen=True)
class Contender:
    """What is compared: an architecture with its recipe, changed or not, or a `model` as it is.

    `saved` is what saved comparisons hold of it; where it is all there is, nothing more is trained.
    """

    label: str
    config: TrainConfig | None = None
    model: ResolvedModel | None = None
    saved: SavedModel | None = None

    def kept(self, wanted: int) -> list[ComparedRun]:
        """Of the saved runs those that are among the wanted ones."""
        runs = [] if self.saved is None else list(self.saved.runs)
        return runs if self.config is None else [run for run in runs if run.seed in range(wanted)]

    def seeds(self, wanted: int) -> list[int | None]:
        """Of the runs that are to be made or judged."""
        if self.config is None:
            return [] if self.model is None else [None]
        kept = [run.seed for run in self.kept(wanted)]
        return [seed for seed in range(wanted) if seed not in kept]


def contender(spec: str, data: str = TrainConfig.data, device: str = TrainConfig.device) -> Contender:
    """From `cnn`, `cnn:augment=off,dropout=0`, `shipped/cnn`, a run folder or a checkpoint file.

    A shipped model that has not the name of an architecture needs no `shipped/`.

    Raises:
        UsageError: no such architecture or setting, or a value that is out of range.
        ModelError: no such model, or a damaged one.
    """
    name, _, changes = spec.partition(":")
    if not is_architecture(name):
        shipped = spec.removeprefix(SHIPPED) in shipped_models()
        if shipped or os.path.lexists(spec) or "/" in spec or spec.endswith(CHECKPOINT_SUFFIX):
            model = resolve_model(spec.removeprefix(SHIPPED))
            if model.header.task != "digit":
                raise UsageError(f"{spec} reads lines.", "Compare models of single digits.")
            return Contender(f"{SHIPPED}{model.name}" if shipped else spec, model=model)
        if name in shipped_models():
            cause = f"'{name}' is a shipped model, whose recipe cannot be changed."
            raise UsageError(cause, f"Write it as {SHIPPED}{name}.")
    if find_architecture(name).task != "digit":
        raise UsageError(f"Architecture '{name}' reads lines.", "Compare those of single digits.")
    if spec.endswith(":"):
        raise UsageError(f"'{spec}' names no setting.", f"Write it as {name}:epochs=3,augment=off.")
    settings: dict[str, Any] = {}
    for change in filter(None, changes.split(",")):
        key, equals, value = change.partition("=")
        key = key.replace("-", "_")
        if not equals:
            raise UsageError(f"'{change}' is no setting.", f"Write it as {name}:epochs=3,augment=off.")
        if key in OF_ALL:
            raise UsageError(f"{spoken(key)} cannot be chosen for a part of the comparison.", "Leave it out.")
        if key in settings:
            raise UsageError(f"{spec} says {key} twice.", "Say it once.")
        settings[key] = _value(value)
    config = located(TrainConfig(**configured({"arch": name, "data": data, "device": device, **settings})))
    check_together(config)
    return Contender(spec, config=config)


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
    """All of them; `all` stands for every architecture of digits, a saved comparison for what it holds.

    Raises:
        UsageError, ModelError: as `contender`; one is named twice, or there is none.
        InputError: a saved comparison cannot be read.
    """
    every = [name for name, row in architectures().items() if row.task == "digit"]
    files = [spec for spec in specs if spec.lower().endswith(SUFFIX)]
    named = [name for spec in specs if spec not in files for name in (every if spec == "all" else [spec])]
    if not named and not files:
        raise UsageError("Nothing is named to compare.", f"Name some of {', '.join(every)}.")
    entered = [contender(name, data, device) for name in named]
    labels = [one.label for one in entered] + files
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UsageError(f"{twice[0]} is named twice.", "Name each once.")
    return _with_saved(entered, [model for file in files for model in read_comparison(Path(file))])


def _with_saved(entered: Sequence[Contender], saved: Iterable[SavedModel]) -> list[Contender]:
    """A model that is named as it is is judged as it is now."""
    every = {one.label: one for one in entered}
    for model in saved:
        one = every.get(model.label, Contender(model.label))
        if one.model is None:
            every[model.label] = replace(one, saved=model if one.saved is None else _joined(one.saved, model))
    return list(every.values())


def _joined(first: SavedModel, second: SavedModel) -> SavedModel:
    """The runs of both; one that both hold counts once."""
    if replace(first, runs=()) != replace(second, runs=()):
        raise UsageError(f"Two files hold {first.label} differently trained or judged.", "Name one of them.")
    there = {run.seed: run for run in first.runs}
    for run in second.runs:
        if run.misread != there.setdefault(run.seed, run).misread:
            seed = "" if run.seed is None else f" with seed {run.seed}"
            raise UsageError(f"Two files differ in what {first.label}{seed} misreads.", "Name one of them.")
    return replace(first, runs=tuple(there.values()))


def turns(entered: Sequence[Contender], seeds: int) -> list[tuple[Contender, int | None]]:
    """What is to be trained or judged: all contenders have their first run before any has its second."""
    waiting = [[(one, seed) for seed in one.seeds(seeds)] for one in entered]
    return [turn for some in zip_longest(*waiting) for turn in some if turn is not None]
